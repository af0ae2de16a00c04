"""A function that a GPU computes with fewer kernels: torch compiles it, or it stays as it is.

    step = Compiled(self._step)     # nothing happens yet
    step(x, where)                  # the first call compiles, and another one where shapes differ

A kernel's launch costs more than what a small one computes. torch's compiler joins those that go through the same
numbers: what turns a position, writes it to the cache and lays out the query is one instead of six. It needs a C
compiler and triton, and its first call takes a while; where it fails, a line says so and the voice speaks on,
uncompiled. Graphs are captured by `timbre.families.frame_loop`, not by the compiler. Nothing is compiled on a CPU,
and the compiler is not even imported there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch

from timbre.core.safe_text import warn

SWITCH = "TIMBRE_COMPILE"  # in the environment: 0 compiles nothing
MOST = 64  # shapes that a function is compiled for in a process


def is_wanted(device: torch.device) -> bool:
    return device.type == "cuda" and os.environ.get(SWITCH) != "0"


class Compiled:
    """`plain`, compiled when it is first called."""

    fails = ""  # why, where it does; then nothing else is tried in this process

    def __init__(self, plain: Callable[..., Any]) -> None:
        self.plain = plain
        self.compiled: Callable[..., Any] | None = None

    def __call__(self, *args: Any) -> Any:
        if not Compiled.fails:
            try:
                self.compiled = self.compiled or torch.compile(
                    self.plain, fullgraph=True, dynamic=False, recompile_limit=MOST
                )
                return self.compiled(*args)
            except Exception as error:  # the compiler's own are many, and so are those of a machine without one
                Compiled.fails = reason(error)
                warn(
                    f"the decode loop runs uncompiled, which is slower ({Compiled.fails}); mend that, "
                    f"or set {SWITCH}=0 to see this no more"
                )
        return self.plain(*args)


def reason(error: Exception) -> str:
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return first[:160].rstrip(".")
