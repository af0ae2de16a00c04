"""Mimi piece by piece: sound as soon as there are frames, the same as from all the frames at once; and codes likewise.

Nothing in the codec looks ahead. Each convolution keeps the end of what it heard, the transformer its keys and values
as far back as its window reaches. So a piece costs what its own frames cost, however long the sentence is.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from timbre.core.errors import ModelError
from timbre.families.frame_loop import Frames
from timbre.families.llama import Product, joined
from timbre.families.protocol import Audio

LONGEST_PIECE = 16  # frames; longer ones cost as much a frame
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


class LayerProducts(NamedTuple):
    """The linear layers of one of the codec's transformer layers, laid out for few positions."""

    qkv: Product
    output: Product
    up: Product
    down: Product


class Taps:
    """A convolution as a product for each place of its kernel: for the few inputs of a piece that costs a CPU half of
    what oneDNN takes, which lays out weights and columns anew in each call."""

    def __init__(self, conv: Any) -> None:
        weight = conv.weight.detach()
        self.upwards = isinstance(conv, nn.ConvTranspose1d)
        self.stride, self.dilation = conv.stride[0], conv.dilation[0]
        if self.upwards:  # (in, out, 2 * stride) → each input's own stride of outputs, and the next one
            parts = weight.unflatten(2, (2, self.stride)).permute(2, 1, 3, 0)  # (2, out, stride, in)
            self.weights = [part.flatten(0, 1).contiguous() for part in parts.flip(0)]  # the earlier input first
        else:
            self.weights = [part.contiguous() for part in weight.unbind(2)]
        bias = weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias.detach()
        self.bias = bias.repeat_interleave(self.stride)[:, None] if self.upwards else bias[:, None]

    @staticmethod
    def fits(conv: Any) -> bool:
        (kernel,), (stride,) = conv.kernel_size, conv.stride
        of_two = kernel == 2 * stride and conv.dilation == (1,) and not any(conv.output_padding)
        return conv.groups == 1 and (of_two if isinstance(conv, nn.ConvTranspose1d) else stride == 1 and kernel <= 3)

    def __call__(self, x: Tensor) -> Tensor:
        """x (rows, in, past + T) → (rows, out, T), upwards T * stride."""
        count = x.shape[-1] - (len(self.weights) - 1) * self.dilation
        y = self.bias
        for place, weight in enumerate(self.weights):
            heard = x.narrow(-1, place * self.dilation, count)
            each = weight.expand(len(x), -1, -1)
            y = torch.baddbmm(y, each, heard) if place == 0 else y.baddbmm_(each, heard)
        return y.unflatten(1, (-1, self.stride)).transpose(2, 3).flatten(2) if self.upwards else y


# Of each of the codec's parts, made when it is first spoken with on a CPU.
TAPS: WeakKeyDictionary[nn.Module, Taps] = WeakKeyDictionary()
PRODUCTS: WeakKeyDictionary[nn.Module, LayerProducts] = WeakKeyDictionary()


def products_of(layer: Any) -> LayerProducts:
    if layer not in PRODUCTS:
        own = layer.self_attn
        PRODUCTS[layer] = LayerProducts(
            joined(own.q_proj, own.k_proj, own.v_proj), joined(own.o_proj), joined(layer.mlp.fc1), joined(layer.mlp.fc2)
        )
    return PRODUCTS[layer]


class CodecRows:
    """The decoder of a MimiModel for several sentences side by side, each at a place of its own.

    All that it remembers has a row for each sentence: the end of each convolution's input, and keys and values as far
    back as the window reaches. With the same number of rows and frames in a call, a row's sound does not depend on
    what the other rows hold.
    """

    def __init__(self, codec: Any, rows: int = 1) -> None:
        config = codec.config
        if not (config.use_causal_conv and config.pad_mode == "constant" and config.trim_right_ratio == 1):
            raise ModelError("the codec's convolutions look ahead, so it cannot speak piece by piece; speak whole")
        half = codec.decoder if hasattr(codec.decoder, "decoder_seanet") else codec  # one model in older transformers
        self.quantizer, self.upsample, self.transformer = codec.quantizer, half.upsample, half.decoder_transformer
        self.layers = getattr(half, "decoder_seanet", codec.decoder).layers
        self.device, self.window = codec.device, config.sliding_window
        shape = rows, config.num_attention_heads, self.window - 1, config.head_dim
        self.keys, self.values = (
            [torch.zeros(shape, device=self.device) for _ in self.transformer.layers] for _ in range(2)
        )
        self.age = torch.zeros(rows, dtype=torch.int64, device=self.device)  # positions of the transformer so far
        self.past: dict[nn.Module, Tensor] = {}  # (rows, channels, past)
        self.products = [products_of(layer) for layer in self.transformer.layers]
        self.feed(torch.zeros(rows, config.num_quantizers, 1, dtype=torch.int64, device=self.device))
        self.clear(slice(rows))

    @property
    def memory(self) -> list[Tensor]:
        return [self.age, *self.keys, *self.values, *self.past.values()]

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def clear(self, rows: int | slice) -> None:
        for part in self.memory:
            part[rows] = 0

    def row(self, number: int) -> CodecRows:
        """The same codec over one row's part of what is remembered."""
        part, only = copy.copy(self), slice(number, number + 1)
        part.age = self.age[only]
        part.keys, part.values = ([tensor[only] for tensor in every] for every in (self.keys, self.values))
        part.past = {conv: tensor[only] for conv, tensor in self.past.items()}
        return part

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def feed(self, codes: Tensor, busy: Tensor | None = None) -> Tensor:
        """codes (rows, codebooks, frames) after those fed before → (rows, samples).

        Rows that are not `busy` (rows) remember nothing of it, and their sound means nothing.
        """
        latents = self._convolve(self.upsample.conv, self.quantizer.decode(codes), busy).transpose(1, 2)
        x = self._attend(latents, busy).transpose(1, 2)
        for layer in self.layers:
            x = self._pass(layer, x, busy)
        return x[:, 0].float()

    def _attend(self, x: Tensor, busy: Tensor | None) -> Tensor:
        count, past = x.shape[1], self.window - 1
        new = torch.arange(count, device=self.device)
        turned = self.transformer.rotary_emb(x, self.age[:, None] + new)
        place = torch.arange(past + count, device=self.device)
        near = (place <= past + new[:, None]) & (place >= new[:, None])  # (T, past + T)
        mask = (near & (place >= past - self.age[:, None, None]))[:, None]  # what lies before the first was never said
        for layer, product, keys, values in zip(
            self.transformer.layers, self.products, self.keys, self.values, strict=True
        ):
            each = product.qkv(layer.input_layernorm(x)).unflatten(2, (3, -1, layer.self_attn.head_dim))
            query, key, value = each.permute(2, 0, 3, 1, 4)  # (rows, heads, T, width)
            query, key = turn(query, *turned), turn(key, *turned)
            key, value = torch.cat((keys, key), 2), torch.cat((values, value), 2)
            attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
            remember(keys, key[:, :, count:], busy)
            remember(values, value[:, :, count:], busy)
            x = x + layer.self_attn_layer_scale(product.output(attended.transpose(1, 2).flatten(2)))
            y = layer.mlp.activation_fn(product.up(layer.post_attention_layernorm(x)))
            x = x + layer.mlp_layer_scale(product.down(y))
        remember(self.age, self.age + count, busy)
        return x

    def _pass(self, layer: Any, x: Tensor, busy: Tensor | None) -> Tensor:
        if hasattr(layer, "conv"):
            return self._convolve(layer.conv, x, busy)
        if not hasattr(layer, "block"):
            return torch.as_tensor(layer(x))
        y = x
        for part in layer.block:
            y = self._pass(part, y, busy)
        return self._pass(layer.shortcut, x, busy) + y

    def _convolve(self, conv: Any, x: Tensor, busy: Tensor | None) -> Tensor:
        """What `conv` makes of x (rows, channels, T) when it has heard what came before; at first silence."""
        (kernel,), (stride,), (dilation,) = conv.kernel_size, conv.stride, conv.dilation
        upwards = isinstance(conv, nn.ConvTranspose1d)
        past = -(-kernel // stride) - 1 if upwards else (kernel - 1) * dilation  # inputs before the first of x
        if conv not in self.past:
            self.past[conv] = x.new_zeros(*x.shape[:2], past)
        x = torch.cat((self.past[conv], x), -1)
        remember(self.past[conv], x[..., x.shape[-1] - past :], busy)
        if self.device.type == "cpu" and Taps.fits(conv):
            if conv not in TAPS:
                TAPS[conv] = Taps(conv)
            return TAPS[conv](x)
        y = torch.as_tensor(conv(x))
        return y[..., past * stride : x.shape[-1] * stride] if upwards else y


def remember(buffer: Tensor, new: Tensor, busy: Tensor | None) -> None:
    buffer.copy_(new if busy is None else torch.where(busy.view(-1, *[1] * (new.dim() - 1)), new, buffer))


def turn(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """x (B, heads, T, width) by the angles of its positions (B, T, width)."""
    low, high = x.chunk(2, -1)
    return x * cosine[:, None] + torch.cat((-high, low), -1) * sine[:, None]


class CodecStream:
    """The decoder of a MimiModel for one sentence; `feed` gives the sound of the next frames."""

    def __init__(self, codec: Any) -> None:
        self.rows = CodecRows(codec)

    def feed(self, codes: Frames) -> Audio:
        """codes (frames, codebooks) that follow those fed before."""
        if not len(codes):
            return np.zeros(0, np.float32)
        values = torch.from_numpy(codes.astype(np.int64)).T[None].to(self.rows.device)  # (1, codebooks, frames)
        sound: Audio = self.rows.feed(values)[0].cpu().numpy()
        return sound
