"""How a stage or a command runs on this machine: its errors and time, and the threads that a model gets.

`run` is the entry point of every command, and of every stage by `run_stage` (timbre/mapping/stage.py). What it says on
stderr of an error, be it a message or the traceback of a bug, has no password of an address in it. The number of
threads depends on the model's size and the machine, never on the number of workers: with other threads, sums come in
another order and their last digits differ, and so would the outputs.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from timbre.core.errors import TimbreError
from timbre.core.safe_text import redacted

TIMES = Path(".timbre/times.json")  # stage → seconds of its last run on this machine; git and DVC know nothing of it
SMALL = 30e6  # parameters, below which a second thread costs more than it brings; on a busy machine, many times more
MOST = 8  # threads, beyond which they bring a larger model little; another worker brings more


def run(main: Callable[[], int | None]) -> None:
    """Run a stage or command: a user's mistake ends in its message on stderr and exit code 1."""
    begun, sys.excepthook = time.monotonic(), _traceback
    try:
        code = main() or 0
        if not code:
            remember(time.monotonic() - begun)
        sys.exit(code)
    except TimbreError as error:
        for line in str(error).splitlines():
            print(f"error: {redacted(line)}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("stopped; what is finished is kept, the next run goes on from there", file=sys.stderr)
        sys.exit(130)


def _traceback(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
    """As Python shows it; the library that failed may have put an address with its password into its message."""
    sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, at))))


def remember(seconds: float) -> None:
    """What a stage took, so that `timbre diff` can say what a change will cost; of a command nobody asks it."""
    package, _, stage = getattr(getattr(sys.modules["__main__"], "__spec__", None), "name", "").rpartition(".")
    if package == "stages":
        with contextlib.suppress(OSError):  # a stage that did its work does not fail for a note about it
            write_times({**times(), stage: round(seconds, 1)})


def times(path: Path = TIMES) -> dict[str, float]:
    """Stage → seconds; empty where none ran here yet."""
    try:
        found: Any = json.loads(path.read_bytes())
        return {str(stage): float(seconds) for stage, seconds in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def write_times(seconds: dict[str, float], path: Path = TIMES) -> None:
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")  # stages may run side by side
    temporary.write_text(json.dumps(seconds, indent=1, sort_keys=True) + "\n")
    temporary.replace(path)


def cores() -> int:
    """That this process may use: in a container or under `taskset`, fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads(parameters: float) -> int:
    return 1 if parameters < SMALL else min(MOST, cores())


def settle(model: Any) -> None:
    """Give a torch module its threads; whatever ran before in this process may have asked for others."""
    import torch

    torch.set_num_threads(threads(sum(weight.numel() for weight in model.parameters())))
