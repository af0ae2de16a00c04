"""What this device can do at best, measured: the limit that a benchmark holds its seconds against.

arithmetic("cuda", torch.bfloat16)      # floating-point operations a second of a large matrix product
bandwidth("cpu")                        # bytes a second of reading what is in no cache
"""

from __future__ import annotations

import functools

import torch

from benchmarks.table import race


@functools.cache
def arithmetic(device: str, dtype: torch.dtype = torch.float32) -> float:
    size = 1024 if device == "cpu" else 8192
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / min(race({"product": lambda: a @ b}, runs=5)["product"])


@functools.cache
def bandwidth(device: str) -> float:
    """By whichever way of reading is the fastest here: some libraries take one core for a product with a vector."""
    size = 2**29 if device == "cpu" else 2**32  # bytes: far more than any cache
    x, v = torch.ones(size // 4096, 1024, device=device), torch.ones(1024, device=device)
    parts = x.view(16, -1)
    ways = {"product": lambda: x @ v, "sum": x.sum, "sums": lambda: parts.sum(1), "largest": x.amax}
    return size / min(map(min, race(ways, runs=5).values()))
