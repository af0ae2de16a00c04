"""A real Whisper on real speech: what `check` hears in correct clips, and how many words of a recording are wrong.

    python -m benchmarks.real_speech [--model base] [--only check]

It first brings the materials that are missing (benchmarks/real_materials.py). On a core
of a CPU, hearing takes as long as the sound or longer: a quarter of an hour in all, or more. docs/real-speech.md says
which of its numbers come from here.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator

from benchmarks import real_materials as materials
from timbre import asr
from timbre.asr.alignment import characters
from timbre.core.sections import WhisperParams
from timbre.evaluation import word_errors

BATCH = 4  # clips at once
WRONG = 0.15  # CER above which a correct clip was not heard


def check(model: str) -> Iterator[str]:
    """Correct clips: the rate of errors that are the recogniser's or ours."""
    loaded = asr.load(WhisperParams(model))
    rates: list[tuple[float, str]] = []
    clips = materials.clips()
    for some in [clips[first : first + BATCH] for first in range(0, len(clips), BATCH)]:
        heard = asr.hear(loaded, [sound for *_, sound in some], ["en"] * len(some))
        rates += [(characters(text, one.text).rate, one.text) for (_, text, _), one in zip(some, heard, strict=True)]
    mean, wrong = statistics.mean(rate for rate, _ in rates), sum(rate > WRONG for rate, _ in rates)
    yield f"{len(rates)} correct clips: mean CER {mean:.1%}, {wrong} over {WRONG:.0%}; worst {max(rates)[0]:.1%}"


def words(model: str) -> Iterator[str]:
    """Whole recordings: the words that are wrong where nobody corrects them."""
    loaded = asr.load(WhisperParams(model))
    for name, language, text, samples in materials.recordings():
        if language == "en" or loaded.is_multilingual:
            heard = asr.transcribe(loaded, samples, language=language).text
            reading = word_errors.compare(text, heard, language)
            yield f"{name} ({language}): {reading.errors} of {reading.words} words wrong, {reading.wer:.1%}"


MEASURES: dict[str, Callable[[str], Iterator[str]]] = {"check": check, "words": words}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="base", choices=["base", "tiny.en"], help="which recogniser")
    parser.add_argument("--only", nargs="+", default=list(MEASURES), choices=list(MEASURES), help="which measures")
    options = parser.parse_args()
    missing = materials.get()
    for problem in missing:
        print(f"not here: {problem}")
    folder = materials.whisper(options.model)
    if folder is None or not materials.clips():
        sys.exit(f"{materials.FOLDER}: no recogniser or no speech to measure with")
    for name in options.only:
        for line in MEASURES[name](str(folder)):
            print(f"{name}: {line}", flush=True)


if __name__ == "__main__":
    main()
