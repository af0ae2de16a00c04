"""openai-whisper without numba, which costs every process a second of CPU time, and is used for word times alone.

    whisper = lean_whisper.load()        # the package, whose word times follow `dtw` and `medians`

numba compiles two small loops of whisper/timing.py. While whisper is imported, something that compiles nothing stands
in numba's place; the longer loop is then ours, in numpy, and the other is fast enough as it is. The medians of what the
words look at are found without sorting.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from timbre.asr import greedy

NUMBA = "numba"
MARK = "<|"  # begins each of Whisper's special tokens
WIDTH = 7  # frames of a median
# Pairs to be put in order, one after the other; then the fourth of seven is in its place
ORDERED = ((0, 5), (0, 3), (1, 6), (2, 4), (0, 1), (3, 5), (2, 6), (2, 3), (3, 6), (4, 5), (1, 4), (1, 3), (3, 4))
Costs = npt.NDArray[np.float64]  # (tokens, frames)
Path = npt.NDArray[np.int64]  # (2, steps): which token goes with which frame


@functools.cache
def load() -> Any:
    whisper: Any = _imported()
    whisper.timing.dtw_cpu = dtw
    if filtered := getattr(whisper.timing, "median_filter", None):
        whisper.timing.median_filter = functools.partial(medians, filtered)
    if tokenizer := getattr(whisper, "tokenizer", None):
        tokenizer.get_encoding = functools.cache(functools.partial(_encoding, tokenizer.get_encoding))
    if decoding := getattr(whisper, "decoding", None):
        greedy.lighten(decoding)
    return whisper


def _imported() -> ModuleType:
    if NUMBA in sys.modules:  # it is here already, and costs no more
        return importlib.import_module("whisper")
    uncompiled = ModuleType(NUMBA)
    uncompiled.jit = lambda **_: _unchanged  # type: ignore[attr-defined]
    sys.modules[NUMBA] = uncompiled
    try:
        return importlib.import_module("whisper")
    except (ImportError, AttributeError):  # another release wants more of numba
        for name in [name for name in sys.modules if name.partition(".")[0] == "whisper"]:
            del sys.modules[name]
    finally:
        del sys.modules[NUMBA]
    return importlib.import_module("whisper")


def _unchanged(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def _encoding(whispers: Callable[..., Any], *named: Any, **more: Any) -> Any:
    """Whisper's, which looks for special tokens, 1,600 of which take a while to be put into a pattern, only in text
    that may hold one."""
    encoding = whispers(*named, **more)
    encode = encoding.encode
    encoding.encode = lambda text, **how: encode(text, **how) if how or MARK in text else encoding.encode_ordinary(text)
    return encoding


@contextmanager
def unfilled() -> Iterator[None]:
    """A model's layers are made without the random weights that a file's take the place of."""
    import torch

    kinds = (torch.nn.Linear, torch.nn.Embedding, torch.nn.modules.conv._ConvNd)
    fillings = [kind.reset_parameters for kind in kinds]
    for kind in kinds:
        kind.reset_parameters = lambda _: None
    try:
        yield
    finally:
        for kind, filling in zip(kinds, fillings, strict=True):
            kind.reset_parameters = filling


def medians(whispers: Callable[..., Any], x: Any, width: int) -> Any:
    """Of each seven neighbours along the last axis, as whisper.timing.median_filter, to which the unusual is left."""
    import torch

    if x.is_cuda or width != WIDTH or x.ndim != 3 or x.shape[-1] < WIDTH or bool(x.isnan().any()):
        return whispers(x, width)
    padded, count = torch.nn.functional.pad(x, (WIDTH // 2, WIDTH // 2), mode="reflect"), x.shape[-1]
    shifted = [padded[..., place : place + count] for place in range(WIDTH)]
    for one, other in ORDERED:
        low, high = shifted[one], shifted[other]
        shifted[one], shifted[other] = torch.minimum(low, high), torch.maximum(low, high)
    return shifted[WIDTH // 2]


def dtw(costs: Costs) -> Path:
    """The cheapest way through the costs, as whisper.timing.dtw_cpu finds it: equal ones are told apart as there.

    Cells whose token and frame add up to the same number depend on none of each other, so they are computed at once.
    """
    tokens, frames = costs.shape
    both, token_only = (np.zeros((tokens + frames + 1, tokens + 1), bool) for _ in range(2))  # (sum, token)
    along = _diagonals(costs)
    before, last, now = (np.full(tokens + 1, np.inf) for _ in range(3))  # cheapest so far, by token
    before[0] = 0
    for number in range(2, tokens + frames + 1):
        first, end = max(1, number - frames), min(tokens, number - 1) + 1
        diagonal, above, left = before[first - 1 : end - 1], last[first - 1 : end - 1], last[first:end]
        is_both, is_above, cheapest = both[number, first:end], token_only[number, first:end], now[first:end]
        np.logical_and(diagonal < above, diagonal < left, out=is_both)
        np.logical_and(above < diagonal, above < left, out=is_above)
        np.copyto(cheapest, left)
        np.copyto(cheapest, above, where=is_above)
        np.copyto(cheapest, diagonal, where=is_both)
        cheapest += along[number - 2, first - 1 : end - 1]
        now[0] = np.inf
        before, last, now = last, now, before
    return _back(both, token_only, tokens, frames)


def _diagonals(costs: Costs) -> Costs:
    """(token + frame, token): row by row moved one further, and turned."""
    tokens, frames = costs.shape
    padded = np.pad(costs, ((0, 0), (0, tokens)))
    width = tokens + frames - 1
    return np.ascontiguousarray(padded.reshape(-1)[: tokens * width].reshape(tokens, width).T)


def _back(both: npt.NDArray[np.bool_], token_only: npt.NDArray[np.bool_], token: int, frame: int) -> Path:
    steps = []
    while token > 0 or frame > 0:
        steps.append((token - 1, frame - 1))
        is_both = token > 0 and frame > 0 and both[token + frame, token]
        is_token = frame == 0 or (token > 0 and token_only[token + frame, token])
        token -= bool(is_both or is_token)
        frame -= not is_token
    return np.array(steps[::-1]).T
