"""The silence that all clips of a batch end with, as Whisper's decoder looks at it: once for the batch.

    with shared_silence.seen_once(model, 240):         # features are the same in all clips from position 240 on
        whisper.decode(model, features, options)

For each token that it writes, the decoder looks at all 1,500 positions of the window. Behind a short clip most of them
are silent, and their keys and values the same in every clip (timbre/asr/silent_tail.py): those are computed once, and
read once for all clips.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple


class Seen(NamedTuple):
    """What a layer looks at; channels are those of a head."""

    keys: Any  # (batch, heads, channels, positions)
    values: Any  # (batch, heads, positions, channels)
    silent_keys: Any  # (heads, channels, positions)
    silent_values: Any  # (heads, positions, channels)


@contextmanager
def seen_once(model: Any, sounding: int | None) -> Iterator[None]:
    """None: nothing is shared, and the decoder left as it is."""
    if sounding is None:
        yield
        return
    layers = [block.cross_attn for block in model.decoder.blocks]
    for layer in layers:
        layer.forward = partial(_attend, layer, sounding)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _attend(layer: Any, sounding: int, x: Any, features: Any, *, kv_cache: Any = None, **_: Any) -> tuple[Any, None]:
    """As MultiHeadAttention does; its cache lives as long as the windows are decoded."""
    import torch

    cache = {} if kv_cache is None else kv_cache
    if layer not in cache:
        cache[layer] = _seen(layer, features, sounding)
    seen: Seen = cache[layer]
    query = _by_head(layer, layer.query(x))  # (batch, heads, tokens, channels)
    query = query * query.shape[-1] ** -0.5
    scores = (query @ seen.keys, _for_all(query, seen.silent_keys))
    own, silent = torch.cat(scores, -1).softmax(-1).split([sounding, scores[1].shape[-1]], -1)
    heard = own @ seen.values + _for_all(silent, seen.silent_values)
    return layer.out(heard.permute(0, 2, 1, 3).flatten(2)), None


def _for_all(rows: Any, shared: Any) -> Any:
    """Of every clip (batch, heads, tokens, n) with what all share (heads, n, m)."""
    batch, heads, tokens, size = rows.shape
    product = rows.transpose(0, 1).reshape(heads, batch * tokens, size) @ shared
    return product.unflatten(1, (batch, tokens)).transpose(0, 1)


def _seen(layer: Any, features: Any, sounding: int) -> Seen:
    # `forward`, since whisper's own cache listens to calls
    keys, values = (
        (_by_head(layer, part.forward(features[:, :sounding])), _by_head(layer, part.forward(features[:1, sounding:])))
        for part in (layer.key, layer.value)
    )
    return Seen(
        keys[0].transpose(2, 3).contiguous(), values[0].contiguous(),
        keys[1][0].transpose(1, 2).contiguous(), values[1][0].contiguous(),
    )  # fmt: skip


def _by_head(layer: Any, x: Any) -> Any:
    return x.unflatten(2, (layer.n_head, -1)).permute(0, 2, 1, 3)
