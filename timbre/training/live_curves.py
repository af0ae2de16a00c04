"""Curves that MLflow shows while the training runs: rows go to `timbre.tracking.live`, which is another process.

It begins after a minute, with all that was told till then: MLflow takes seconds to load, and who trains for less sees
the curves at the end. A training never waits for it. What the pipe cannot take at once is left out, a process that has
ended is told nothing more, and at the end it has a few seconds to write what is left. No result depends on any of it.
TIMBRE_LIVE=0 starts none.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from timbre.core.safe_text import warn

SWITCH = "TIMBRE_LIVE"
SOON = 60.0  # seconds of training, after which it begins
PATIENCE = 5.0  # seconds, after the end of the training


class Curves(Protocol):
    """What a training tells of itself while it runs."""

    def begin(self, step: int, steps: int) -> None:
        """It goes on from `step`, to `steps` at most."""

    def rows(self, rows: Sequence[Mapping[str, float]]) -> None: ...


class LiveCurves:
    """Of one training; use it as a context."""

    def __init__(
        self, key: str, family: str, params: Mapping[str, Any], patience: float = PATIENCE, soon: float = SOON
    ) -> None:
        self.about = {"key": key, "family": family, "params": dict(params)}
        self.patience, self.soon = patience, soon
        self.tags: dict[str, str] = {}  # to be set at the end
        self.process: subprocess.Popen[bytes] | None = None
        self.begun: float | None = None  # when the training began
        self.waiting: list[Mapping[str, Any]] = []  # what the process is to be told once it is there

    def begin(self, step: int, steps: int) -> None:
        if os.environ.get(SWITCH) == "0" or self.begun is not None:
            return
        self.begun = time.monotonic()
        self.waiting = [{"begin": {**self.about, "from": step, "steps": steps}}]
        self._start_in_time()

    def rows(self, rows: Sequence[Mapping[str, float]]) -> None:
        messages = [{"row": dict(row)} for row in rows]
        if self.process:
            self._send(messages)
        elif self.begun is not None:
            self.waiting += messages
            self._start_in_time()

    def _start_in_time(self) -> None:
        if self.begun is None or time.monotonic() - self.begun < self.soon:
            return
        with contextlib.suppress(OSError):  # no more processes or files: then without curves
            self.process = subprocess.Popen(
                [sys.executable, "-m", "timbre.tracking.live"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is the training's
            )  # fmt: skip
            assert self.process.stdin
            os.set_blocking(self.process.stdin.fileno(), False)
            self._send(self.waiting)
        self.waiting = []

    def _send(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Each of at most a few hundred bytes, which a pipe takes whole or not at all."""
        for message in messages:
            if self.process and self.process.stdin:
                with contextlib.suppress(OSError):  # full, or nobody reads any more
                    os.write(self.process.stdin.fileno(), f"{json.dumps(message)}\n".encode())

    def __enter__(self) -> LiveCurves:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not self.process:
            return
        self._send([{"end": "FAILED" if kind else "FINISHED", "tags": self.tags}])
        with self.process as process:
            try:
                reason = process.communicate(timeout=self.patience)[0].decode(errors="replace").strip()
            except subprocess.TimeoutExpired:
                process.kill()
                reason = "the MLflow store did not answer in time"
        if process.returncode:
            warn(f"train: no live curves: {reason or 'the process that writes them failed'}")
