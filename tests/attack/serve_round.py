"""Start `timbre serve` here, let it say a sentence, and end it: what a person does again whose server was killed.

    python -m tests.attack.serve_round said.pcm

Every line of the log of what was spoken must still be one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.support.servers import free_port, wait_for
from timbre.synthesis import spoken_log

ASKED = {"input": "The ferry waits.", "model": "timbre", "voice": "alloy", "response_format": "pcm", "seed": 3}


def main(out: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "timbre.commands.cli", "serve", "--voice", "models/adapter", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/ready", server)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/audio/speech",
            json.dumps(ASKED).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            out.write_bytes(answer.read())
    finally:
        server.terminate()
        code = server.wait(30)
    assert code == 0, f"SIGTERM, and the server ended with {code}"
    for line in spoken_log.PATH.read_text().splitlines():
        assert json.loads(line)["characters"], line


if __name__ == "__main__":
    main(Path(sys.argv[1]))
