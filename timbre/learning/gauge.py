"""What learning costs on this machine: time, frames per second, memory. To look at, and no part of any result.

The numbers differ from run to run, so they are in no output that DVC hashes and in no key. The file names the adapter
that they belong to: whoever shows them can tell whether they are of this voice or of one before.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from timbre.mapping import file_sha256, write_atomic

Row = dict[str, float]
MIB = 2**20
WEIGHTS = "adapter_model.safetensors"


class Gauge:
    """A row of numbers per step: `start`, the step, `row`."""

    def __init__(self) -> None:
        import psutil

        self.process = psutil.Process()
        self.start()

    def start(self) -> None:
        self.process.cpu_percent()  # counts from its last call
        self.began = time.perf_counter()

    def row(self, step: int, frames: int) -> Row:
        import torch

        seconds = time.perf_counter() - self.began
        row = {
            "step": step,
            "seconds": round(seconds, 4),
            "frames_per_second": round(frames / seconds, 2),
            "memory_mb": round(self.process.memory_info().rss / MIB, 1),
            "cpu_percent": self.process.cpu_percent(),
        }
        if torch.cuda.is_available():
            row["gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / MIB, 1)
        return row


def write(path: Path, adapter: Path, rows: Sequence[Row]) -> None:
    write_atomic(path, json.dumps({"adapter": file_sha256(adapter / WEIGHTS), "steps": list(rows)}, indent=1) + "\n")


def read(path: Path, adapter: Path) -> list[Row]:
    """The rows of this adapter's training; none where the file is of another's, or not here: in a clone, say."""
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        return list(content["steps"]) if content["adapter"] == file_sha256(adapter / WEIGHTS) else []
    except (OSError, ValueError, KeyError, TypeError):
        return []
