"""A short clip in Whisper's window of 30 s, at a fifth of the cost: the silence behind the clip is encoded only once.

    features = embed(model, mels, [2.4, 3.1])       # as model.embed_audio(mels), for clips of so many seconds

Whisper's encoder lets every position of the window see every other one, so that a clip of three seconds costs as much
as one of thirty. Where a model's positions look at what is near, as those of models/tiny/whisper.pt were taught, the
silence behind a clip comes out as it does in a window without sound: it is taken from there, and the decoder has the
whole window before it, as it learnt to. (A window cut short gives other words.) Whether a model is like that is tried
once, on noise; one that is not gets the whole window. Large models are not tried: that would cost two windows.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

from timbre.core.running import SMALL

SECOND = 50  # positions of the encoder
MARGIN = 1.0  # seconds behind a clip that are still encoded with it
NEAR = 100  # positions behind these, in silence, that they see
ALIKE = 0.02  # of the features' size: by how much they may differ at the root mean square
TRIED = 3.0  # seconds of noise by which a model is tried
Features = Any  # (batch, positions, channels)


class Silence(NamedTuple):
    """What the encoder makes of a window without sound."""

    layers: list[tuple[Any, Any]]  # of each, keys and values (1, heads, positions, channels of a head)
    features: Features


def embed(model: Any, mels: Any, seconds: Sequence[float]) -> Features:
    """`mels` are (batch, mel bands, 2 * positions) of clips that are silent after so many `seconds`."""
    sounding = shared_from(model, seconds)
    return model.embed_audio(mels) if sounding is None else _embed(model, mels, sounding)


def shared_from(model: Any, seconds: Sequence[float]) -> int | None:
    """The position from where on the clips' features are the same silence; None where there is no such one."""
    sounding = positions(max(seconds))
    return sounding if sounding + NEAR < model.dims.n_audio_ctx and looks_near(model) else None


def positions(seconds: float) -> int:
    """That are encoded of a clip."""
    return round(SECOND * (seconds + MARGIN))


@functools.lru_cache(maxsize=1)
def looks_near(model: Any) -> bool:
    """Whether noise comes out as in a whole window."""
    import torch

    if model.device.type != "cpu" or sum(weight.numel() for weight in model.encoder.parameters()) > SMALL:
        return False
    noise, bands = torch.zeros(1, model.dims.n_mels, 2 * model.dims.n_audio_ctx), torch.Generator().manual_seed(0)
    sounding = round(2 * SECOND * TRIED)
    noise[:, :, :sounding] = torch.rand(1, model.dims.n_mels, sounding, generator=bands)
    with torch.inference_mode():
        whole, quick = model.embed_audio(noise), _embed(model, noise, positions(TRIED))
        return bool((whole - quick).square().mean() <= ALIKE**2 * whole.square().mean())


def _embed(model: Any, mels: Any, sounding: int) -> Features:
    """The first positions as they are heard, the others as silence."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    encoder, silent = model.encoder, _silence(model)
    x = _stem(encoder, mels[:, :, : 2 * sounding + 2])[:, :sounding] + encoder.positional_embedding[:sounding]
    behind = slice(sounding, sounding + NEAR)
    for block, (silent_keys, silent_values) in zip(encoder.blocks, silent.layers, strict=True):
        query, key, value = _attended(block, x)
        key, value = (
            torch.cat((own, shared[:, :, behind].expand(len(own), -1, -1, -1)), 2)
            for own, shared in ((key, silent_keys), (value, silent_values))
        )
        heard = scaled_dot_product_attention(query, key, value)
        x = x + block.attn.out(heard.permute(0, 2, 1, 3).flatten(2))
        x = x + block.mlp(block.mlp_ln(x))
    return torch.cat((encoder.ln_post(x), silent.features[:, sounding:].expand(len(x), -1, -1)), 1)


@functools.lru_cache(maxsize=1)
def _silence(model: Any) -> Silence:
    import torch

    encoder, layers = model.encoder, []
    x = _stem(encoder, torch.zeros(1, model.dims.n_mels, 2 * model.dims.n_audio_ctx)) + encoder.positional_embedding
    for block in encoder.blocks:
        _, *keys_and_values = _attended(block, x)
        layers.append(tuple(keys_and_values))
        x = block(x)
    return Silence(layers, encoder.ln_post(x))


def _stem(encoder: Any, mels: Any) -> Features:
    from torch.nn.functional import gelu

    return gelu(encoder.conv2(gelu(encoder.conv1(mels)))).permute(0, 2, 1)


def _attended(block: Any, x: Features) -> list[Any]:
    """Query, key and value (batch, heads, positions, channels of a head)."""
    attention, normal = block.attn, block.attn_ln(x)
    parts = (attention.query, attention.key, attention.value)
    return [part(normal).unflatten(2, (attention.n_head, -1)).permute(0, 2, 1, 3) for part in parts]
