"""What learning costs on this machine: time, frames per second, memory. To look at, and no part of any result.

The numbers differ from run to run, so they are in no output that DVC hashes and in no key. The file names the adapter
that they belong to: whoever shows them can tell whether they are of this voice or of one before.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from timbre.core.content import file_sha256, write_atomic

Row = dict[str, float]
MIB = 2**20
WEIGHTS = "adapter_model.safetensors"


class StepTimer:
    """A row of numbers per step: `start`, work, `stop`; `rows`, where the losses are fetched, gives those since then.

    On a GPU the seconds are between marks in its own queue of work, so that nothing waits for it to be measured.
    """

    def __init__(self) -> None:
        import psutil

        self.process = psutil.Process()
        self.stopped: list[tuple[Any, Any, int, Row]] = []
        self.start()

    def start(self) -> None:
        self.process.cpu_percent()  # counts from its last call
        self.waited = 0.0
        self.began = _mark()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Seconds in which the loop has nothing to learn from, because the next batch is not made yet."""
        began = time.perf_counter()
        yield
        self.waited += time.perf_counter() - began

    def stop(self, step: int, frames: int) -> None:
        import torch

        row: Row = {
            "step": step,
            "waiting": self.waited,
            "memory_mb": round(self.process.memory_info().rss / MIB, 1),
            "cpu_percent": self.process.cpu_percent(),
        }
        if torch.cuda.is_available():
            row["gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / MIB, 1)
        self.stopped.append((self.began, _mark(), frames, row))

    def rows(self) -> list[Row]:
        """Of the steps since the last call; the GPU has done them by now."""
        stopped, self.stopped = self.stopped, []
        return [_measured(_seconds(began, ended), frames, row) for began, ended, frames, row in stopped]


def _measured(seconds: float, frames: int, row: Row) -> Row:
    return {
        "step": row.pop("step"),
        "seconds": round(seconds, 4),
        "frames_per_second": round(frames / seconds, 2),
        "waiting_percent": round(100 * row.pop("waiting") / seconds, 2),
        **row,
    }


def _mark() -> Any:
    """A moment: on a GPU the one at which it has done what it was given so far."""
    import torch

    if not torch.cuda.is_available():
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _seconds(began: Any, ended: Any) -> float:
    if isinstance(began, float):
        return float(ended - began)
    ended.synchronize()  # over already, where the losses before it were fetched
    return float(began.elapsed_time(ended)) / 1000


def write(path: Path, adapter: Path, rows: Sequence[Row]) -> None:
    write_atomic(path, json.dumps({"adapter": file_sha256(adapter / WEIGHTS), "steps": list(rows)}, indent=1) + "\n")


def read(path: Path, adapter: Path) -> list[Row]:
    """The rows of this adapter's training; none where the file is of another's, or not here: in a clone, say."""
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        return list(content["steps"]) if content["adapter"] == file_sha256(adapter / WEIGHTS) else []
    except (OSError, ValueError, KeyError, TypeError):
        return []
