"""Mimi piece by piece: sound as soon as there are frames, the same as from all the frames at once; and codes likewise.

Nothing in the codec looks ahead. Each convolution keeps the end of what it heard, the transformer its keys and values
as far back as its window reaches. So a piece costs what its own frames cost, however long the sentence is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from timbre.core.errors import ModelError
from timbre.families.protocol import Audio, Codes

LONGEST_PIECE = 16  # frames; longer ones cost as much a frame
HEARD_AT_ONCE = 2  # seconds of sound that a CPU encodes at once: what a layer makes of it stays in the cache


def pieces(frames: Iterable[Codes]) -> Iterator[Codes]:
    """Frames (codebooks) as they come, in pieces (frames, codebooks) for `CodecStream.feed`.

    The first is one frame, so that sound begins at once; each further one is half as long as all before it, which are
    heard while it is made: no gap where speaking takes up to two thirds of the time that it lasts.
    """
    waiting: list[Codes] = []
    made = 0
    for frame in frames:
        waiting.append(frame)
        if len(waiting) >= min(max(made // 2, 1), LONGEST_PIECE):
            yield np.stack(waiting)
            made, waiting = made + len(waiting), []
    if waiting:
        yield np.stack(waiting)


def encoded(codec: Any, sounds: Tensor, codebooks: int) -> Tensor:
    """sounds (B, 1, samples), of whole frames → codes (B, codebooks, frames)."""
    if sounds.device.type != "cpu":
        return torch.as_tensor(codec.encode(sounds, num_quantizers=codebooks).audio_codes)
    return torch.cat([_encoded_in_pieces(codec, sound, codebooks) for sound in sounds.split(1)])


def _encoded_in_pieces(codec: Any, sound: Tensor, codebooks: int) -> Tensor:
    frame = codec.config.frame_size  # samples
    piece = max(1, int(HEARD_AT_ONCE * codec.config.sampling_rate / frame)) * frame
    keys = ends = None  # of the transformer, and of what the convolutions heard
    made = []
    for part in sound.split(piece, -1):
        out = codec.encode(
            part, num_quantizers=codebooks, encoder_past_key_values=keys, padding_cache=ends, use_streaming=True
        )
        keys, ends = out.encoder_past_key_values, out.padding_cache
        made.append(out.audio_codes)
    return torch.cat(made, -1)


class CodecStream:
    """The decoder of a MimiModel for one sentence; `feed` gives the sound of the next frames."""

    def __init__(self, codec: Any) -> None:
        from transformers import DynamicCache

        config = codec.config
        if not (config.use_causal_conv and config.pad_mode == "constant" and config.trim_right_ratio == 1):
            raise ModelError("the codec's convolutions look ahead, so it cannot speak piece by piece; speak whole")
        half = codec.decoder if hasattr(codec.decoder, "decoder_seanet") else codec  # one model in older transformers
        self.quantizer, self.upsample, self.transformer = codec.quantizer, half.upsample, half.decoder_transformer
        self.layers = getattr(half, "decoder_seanet", codec.decoder).layers
        self.device = codec.device
        self.cache = DynamicCache(config=self.transformer.config)  # forgets what is beyond the sliding window
        self.heard: dict[nn.Module, Tensor] = {}  # the end of each convolution's input so far

    def feed(self, codes: Codes) -> Audio:
        """codes (frames, codebooks) that follow those fed before."""
        if not len(codes):
            return np.zeros(0, np.float32)
        values = torch.from_numpy(codes.astype(np.int64)).T[None].to(self.device)  # (1, codebooks, frames)
        with torch.no_grad():
            latents = self._convolve(self.upsample.conv, self.quantizer.decode(values)).transpose(1, 2)
            x = self.transformer(latents, past_key_values=self.cache).last_hidden_state.transpose(1, 2)
            for layer in self.layers:
                x = self._pass(layer, x)
            sound: Audio = x[0, 0].float().cpu().numpy()
        return sound

    def _pass(self, layer: Any, x: Tensor) -> Tensor:
        if hasattr(layer, "conv"):
            return self._convolve(layer.conv, x)
        if not hasattr(layer, "block"):
            return torch.as_tensor(layer(x))
        y = x
        for part in layer.block:
            y = self._pass(part, y)
        return self._pass(layer.shortcut, x) + y

    def _convolve(self, conv: Any, x: Tensor) -> Tensor:
        """What `conv` makes of x (1, channels, T) when it has heard what came before; at first silence."""
        (kernel,), (stride,), (dilation,) = conv.kernel_size, conv.stride, conv.dilation
        upwards = isinstance(conv, nn.ConvTranspose1d)
        past = -(-kernel // stride) - 1 if upwards else (kernel - 1) * dilation  # inputs before the first of x
        x = torch.cat((self.heard.get(conv, x.new_zeros(*x.shape[:2], past)), x), -1)
        self.heard[conv] = x[..., x.shape[-1] - past :].clone()  # a view would hold all of x
        y = torch.as_tensor(conv(x))
        return y[..., past * stride : x.shape[-1] * stride] if upwards else y
