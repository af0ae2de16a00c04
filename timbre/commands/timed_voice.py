"""Speaks a line of stdin after the other, and says what each took; `timbre speed` starts one for each version.

    python -P timed_voice.py ADAPTER < {"text": …} > {"cpu": …, "clock": …, "sound": …}

It is started as a file, in the folder and with the library of the version that is measured. So it imports nothing but
`timbre.speech`, which programs are promised, and all that a caller of it waits for is measured.
"""

from __future__ import annotations

import importlib
import json
import sys
import time


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    speech = importlib.import_module("timbre.speech")  # that of the version, which is not this library's
    voice = speech.load(sys.argv[1])
    torch = sys.modules.get("torch")
    print(json.dumps({"gpu": bool(torch and torch.cuda.is_available())}), file=answers, flush=True)
    for line in sys.stdin:
        cpu, clock = time.process_time(), time.perf_counter()
        sound = voice.say(json.loads(line)["text"])
        took = {"cpu": time.process_time() - cpu, "clock": time.perf_counter() - clock}
        print(json.dumps({**took, "sound": len(sound) / voice.sample_rate}), file=answers, flush=True)


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
