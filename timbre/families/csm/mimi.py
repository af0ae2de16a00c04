"""Mimi piece by piece: sound as soon as there are frames, the same as from all the frames at once; and codes likewise.

Nothing in the codec looks ahead. Each convolution keeps the end of what it heard, the transformer its keys and values
as far back as its window reaches. So a piece costs what its own frames cost, however long the sentence is.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from timbre.core.errors import ModelError
from timbre.families.csm.mimi_layers import convolved, elu, latents, products_of
from timbre.families.frame_loop import Frames
from timbre.families.protocol import Audio
from timbre.families.side_stream import SideStream

LONGEST_PIECE = 32  # frames; longer ones cost as much a frame
HEARD_AT_ONCE = 2  # seconds of sound that a CPU encodes at once: what a layer makes of it stays in the cache


def pieces(frames: Iterable[Frames]) -> Iterator[Frames]:
    """Frames (codebooks) as they come, in pieces (frames, codebooks) for `CodecStream.feed`.

    The first is one frame, so that sound begins at once; each further one is half as long as all before it, which are
    heard while it is made: no gap where speaking takes up to two thirds of the time that it lasts.
    """
    waiting: list[Frames] = []
    count = 0
    for frame in frames:
        waiting.append(frame)
        if len(waiting) >= min(max(count // 2, 1), LONGEST_PIECE):
            yield np.stack(waiting)
            count, waiting = count + len(waiting), []
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
    encoded_pieces = []
    for part in sound.split(piece, -1):
        out = codec.encode(
            part, num_quantizers=codebooks, encoder_past_key_values=keys, padding_cache=ends, use_streaming=True
        )
        keys, ends = out.encoder_past_key_values, out.padding_cache
        encoded_pieces.append(out.audio_codes)
    return torch.cat(encoded_pieces, -1)


def decoded(codec: Any, codes: Frames) -> Audio:
    """The sound of a whole sentence's codes (frames, codebooks).

    Piece by piece on a CPU: oneDNN prepares itself anew for each length of a sound, which costs as much as the sound.
    """
    if codec.device.type == "cpu" and is_causal(codec):
        stream = CodecStream(codec)
        return np.concatenate(
            [stream.feed(piece) for piece in np.split(codes, range(LONGEST_PIECE, len(codes), LONGEST_PIECE))]
        )
    values = torch.from_numpy(codes.astype(np.int64)).T[None].to(codec.device)  # (1, codebooks, frames)
    with torch.no_grad():
        sound: Audio = codec.decode(values).audio_values[0, 0].float().cpu().numpy()
    return sound


def is_causal(codec: Any) -> bool:
    config = codec.config
    return bool(config.use_causal_conv and config.pad_mode == "constant" and config.trim_right_ratio == 1)


class CodecRows:
    """The decoder of a MimiModel for several sentences side by side, each at a place of its own.

    All that it remembers has a row for each sentence: the end of each convolution's input, and keys and values as far
    back as the window reaches. With the same number of rows and frames in a call, a row's sound does not depend on
    what the other rows hold.
    """

    def __init__(self, codec: Any, rows: int = 1) -> None:
        config = codec.config
        if not is_causal(codec):
            raise ModelError("the codec's convolutions look ahead, so it cannot speak piece by piece; speak whole")
        half = codec.decoder if hasattr(codec.decoder, "decoder_seanet") else codec  # one model in older transformers
        self.quantizer, self.upsample, self.transformer = codec.quantizer, half.upsample, half.decoder_transformer
        self.layers = getattr(half, "decoder_seanet", codec.decoder).layers
        self.device, self.window, self.codebooks = codec.device, config.sliding_window, config.num_quantizers
        self.side = SideStream(self.device)
        shape = rows, 2, config.num_attention_heads, self.window - 1, config.head_dim  # keys and values
        self.past: dict[nn.Module, Tensor] = {}  # (rows, past, channels)
        with self.side.following():
            self.kept = [torch.zeros(shape, device=self.device) for _ in self.transformer.layers]
            self.age = torch.zeros(rows, dtype=torch.int64, device=self.device)  # positions of the transformer so far
            self.products = [products_of(layer) for layer in self.transformer.layers]

    @property
    def memory(self) -> list[Tensor]:
        return [self.age, *self.kept, *self.past.values()]

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def clear(self, rows: int | slice) -> None:
        with self.side.beside():
            for part in self.memory:
                part[rows] = 0

    def row(self, number: int) -> CodecRows:
        """The same codec over one row's part of what is remembered."""
        if not self.past:  # a convolution's place is made when it first hears
            rows = len(self.age)
            with self.side.following():
                self.feed(torch.zeros(rows, self.codebooks, 1, dtype=torch.int64, device=self.device))
            self.clear(slice(rows))
        part, only = copy.copy(self), slice(number, number + 1)
        part.age = self.age[only]
        part.kept = [tensor[only] for tensor in self.kept]
        part.past = {conv: tensor[only] for conv, tensor in self.past.items()}
        return part

    def sound(self, codes: Tensor, busy: Tensor | None = None) -> Audio:
        """`feed` of what lies in the machine's memory, brought back there. The host waits for this alone, not for a
        frame that a GPU is making meanwhile."""
        with self.side.beside():
            there = None if busy is None else busy.to(self.device)
            made: Audio = self.feed(codes.to(self.device), there).cpu().numpy()
        return made

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def feed(self, codes: Tensor, busy: Tensor | None = None) -> Tensor:
        """codes (rows, codebooks, frames) after those fed before → (rows, samples).

        Rows that are not `busy` (rows) remember nothing of it, and their sound means nothing.
        """
        x = self._convolve(self.upsample.conv, latents(self.quantizer, codes), busy)
        return self._pass(self.layers, self._attend(x, busy), busy)[..., 0].float()

    def _attend(self, x: Tensor, busy: Tensor | None) -> Tensor:
        count, past = x.shape[1], self.window - 1
        new = torch.arange(count, device=self.device)
        cosine, sine = (part[:, None, None] for part in self.transformer.rotary_emb(x, self.age[:, None] + new))
        sine = torch.cat((-sine[..., : sine.shape[-1] // 2], sine[..., sine.shape[-1] // 2 :]), -1)
        place = torch.arange(past + count, device=self.device)
        near = (place <= past + new[:, None]) & (place >= new[:, None])  # (T, past + T)
        heard = (near & (place >= past - self.age[:, None, None]))[:, None]  # what lies before the first was never said
        mask = torch.zeros_like(heard, dtype=x.dtype).masked_fill_(~heard, -torch.inf)
        for layer, product, kept in zip(self.transformer.layers, self.products, self.kept, strict=True):
            each = product.qkv(layer.input_layernorm(x)).unflatten(2, (3, -1, layer.self_attn.head_dim))
            each = each.permute(0, 2, 3, 1, 4)  # (rows, 3, heads, T, width)
            turned = each[:, :2]
            torch.addcmul(turned * cosine, turned.roll(turned.shape[-1] // 2, -1), sine, out=turned)
            both = torch.cat((kept, each[:, 1:]), 3)
            attended = F.scaled_dot_product_attention(each[:, 0], both[:, 0], both[:, 1], attn_mask=mask)
            remember(kept, both[:, :, :, count:], busy)
            y = product.output(attended.transpose(1, 2).flatten(2))
            x = torch.addcmul(x, layer.self_attn_layer_scale.scale, y)
            y = product.down(layer.mlp.activation_fn(product.up(layer.post_attention_layernorm(x))))
            x = torch.addcmul(x, layer.mlp_layer_scale.scale, y)
        remember(self.age, self.age + count, busy)
        return x

    def _pass(self, layers: Iterable[Any], x: Tensor, busy: Tensor | None) -> Tensor:
        """x (rows, T, channels) through convolutions, the activations before them and blocks of both."""
        active = False  # the next convolution hears what the activation makes of x
        for layer in layers:
            if isinstance(layer, nn.ELU):
                active = True
            elif hasattr(layer, "block"):
                beside = x if isinstance(layer.shortcut, nn.Identity) else self._pass([layer.shortcut], x, busy)
                x = self._pass(layer.block, x, busy).add_(beside)
            else:
                x, active = self._convolve(layer.conv, x, busy, active=active), False
        return x

    def _convolve(self, conv: Any, x: Tensor, busy: Tensor | None, *, active: bool = False) -> Tensor:
        """What `conv` makes of x (rows, T, channels) when it has heard what came before; at first silence."""
        (kernel,), (stride,), (dilation,) = conv.kernel_size, conv.stride, conv.dilation
        upwards = isinstance(conv, nn.ConvTranspose1d)
        past = -(-kernel // stride) - 1 if upwards else (kernel - 1) * dilation  # inputs before the first of x
        rows, count, channels = x.shape
        if conv not in self.past:
            self.past[conv] = x.new_zeros(rows, past, channels)
        heard = x.new_empty(rows, past + count, channels)
        heard[:, :past] = self.past[conv]
        if active:
            elu(x, heard[:, past:])
        else:
            heard[:, past:] = x
        remember(self.past[conv], heard[:, count:], busy)
        return convolved(conv, heard, past)


def remember(buffer: Tensor, new: Tensor, busy: Tensor | None) -> None:
    buffer.copy_(new if busy is None else torch.where(busy.view(-1, *[1] * (new.dim() - 1)), new, buffer))


class CodecStream:
    """The decoder of a MimiModel for one sentence; `feed` gives the sound of the next frames."""

    def __init__(self, codec: Any) -> None:
        self.rows = CodecRows(codec)

    def feed(self, codes: Frames) -> Audio:
        """codes (frames, codebooks) that follow those fed before."""
        if not len(codes):
            return np.zeros(0, np.float32)
        sound: Audio = self.rows.sound(torch.from_numpy(codes.astype(np.int64)).T[None])[0]  # (1, codebooks, frames)
        return sound
