"""Mimi's layers as products over sound that is laid out time by time: what a piece of few frames costs least.

Here a sound is (rows, T, channels), so a place's channels lie side by side: a convolution is a product for each place
of its kernel, an upward one a single product whose outputs already lie in order. For the few inputs of a piece that
costs a CPU less than half of what oneDNN takes, which lays out weights and columns anew in each call.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from timbre.families.llama import Product, joined

IN_CACHE = 1 << 16  # numbers that several passes over them find in a core's own cache
WIDE = torch.backends.cpu.get_cpu_capability() == "AVX512"


class LayerProducts(NamedTuple):
    """The linear layers of one of the codec's transformer layers, laid out for few positions."""

    qkv: Product
    output: Product
    up: Product
    down: Product


class Kernel:
    """A convolution's weights (in, out) for each place of its kernel, upwards (2 * in, stride * out) for all."""

    def __init__(self, conv: Any) -> None:
        weight = conv.weight.detach()
        self.upwards = isinstance(conv, nn.ConvTranspose1d)
        self.stride, self.dilation = conv.stride[0], conv.dilation[0]
        bias = weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias.detach()
        if self.upwards:  # (in, out, 2 * stride): an input is heard in its own stride of outputs and in the next one
            now, later = weight.unflatten(2, (2, self.stride)).permute(2, 0, 3, 1).flatten(2)
            self.weights, bias = [torch.cat((later, now))[None]], bias.repeat(self.stride)
        else:
            self.weights = [part.t().contiguous()[None] for part in weight.unbind(2)]
        self.bias = bias[None, None]

    @staticmethod
    def fits(conv: Any) -> bool:
        (kernel,), (stride,) = conv.kernel_size, conv.stride
        of_two = kernel == 2 * stride and conv.dilation == (1,) and not any(conv.output_padding)
        return conv.groups == 1 and (of_two if isinstance(conv, nn.ConvTranspose1d) else stride == 1)

    def __call__(self, x: Tensor) -> Tensor:
        """x (rows, past + T, in) → (rows, T, out), upwards (rows, T * stride, out)."""
        if self.upwards:
            pairs = torch.cat((x[:, :-1], x[:, 1:]), 2)
            return torch.baddbmm(self.bias, pairs, self._of_rows(0, x)).unflatten(2, (self.stride, -1)).flatten(1, 2)
        count = x.shape[1] - (len(self.weights) - 1) * self.dilation
        y = torch.baddbmm(self.bias, x.narrow(1, 0, count), self._of_rows(0, x))
        for place in range(1, len(self.weights)):
            y.baddbmm_(x.narrow(1, place * self.dilation, count), self._of_rows(place, x))
        return y

    def _of_rows(self, place: int, x: Tensor) -> Tensor:
        return self.weights[place].expand(len(x), -1, -1)


class Codebooks:
    """A residual quantizer's books as one table, and the projection of their sum."""

    def __init__(self, quantizer: Any) -> None:
        books = [layer.codebook.embed for layer in quantizer.layers]
        self.table, self.size = torch.cat(books), len(books[0])
        self.starts = self.size * torch.arange(len(books), device=self.table.device)
        projection = quantizer.output_proj
        self.out = None if projection is None else projection.weight.detach()[..., 0].t().contiguous()

    def __call__(self, codes: Tensor) -> Tensor:
        """codes (rows, T, codebooks) → (rows, T, out)."""
        places = codes + self.starts[: codes.shape[-1]]
        summed = F.embedding_bag(places.flatten(0, 1), self.table, mode="sum").unflatten(0, codes.shape[:2])
        return summed if self.out is None else torch.matmul(summed, self.out)


# Of each of the codec's parts, made when it is first spoken with.
KERNELS: WeakKeyDictionary[nn.Module, Kernel] = WeakKeyDictionary()
PRODUCTS: WeakKeyDictionary[nn.Module, LayerProducts] = WeakKeyDictionary()
BOOKS: WeakKeyDictionary[nn.Module, Codebooks] = WeakKeyDictionary()


def products_of(layer: Any) -> LayerProducts:
    if layer not in PRODUCTS:
        own = layer.self_attn
        PRODUCTS[layer] = LayerProducts(
            joined(own.q_proj, own.k_proj, own.v_proj), joined(own.o_proj), joined(layer.mlp.fc1), joined(layer.mlp.fc2)
        )
    return PRODUCTS[layer]


def books_of(quantizer: Any) -> Codebooks:
    if quantizer not in BOOKS:
        BOOKS[quantizer] = Codebooks(quantizer)
    return BOOKS[quantizer]


def latents(quantizer: Any, codes: Tensor) -> Tensor:
    """codes (rows, codebooks, T) → (rows, T, width): the first books say what, the others how it sounds."""
    semantic, by_time = quantizer.num_semantic_quantizers, codes.transpose(1, 2)
    said = books_of(quantizer.semantic_residual_vector_quantizer)(by_time[..., :semantic])
    if by_time.shape[-1] == semantic:
        return said
    return said + books_of(quantizer.acoustic_residual_vector_quantizer)(by_time[..., semantic:])


def convolved(conv: Any, x: Tensor, past: int) -> Tensor:
    """x (rows, past + T, in) → (rows, T, out), upwards T * stride."""
    if x.device.type == "cpu" and Kernel.fits(conv):
        if conv not in KERNELS:
            KERNELS[conv] = Kernel(conv)
        return KERNELS[conv](x)
    y = torch.as_tensor(conv(x.transpose(1, 2))).transpose(1, 2)
    (stride,) = conv.stride
    return y[:, past * stride : x.shape[1] * stride] if isinstance(conv, nn.ConvTranspose1d) else y


def elu(x: Tensor, out: Tensor) -> None:
    """Into `out` (rows, T, channels).

    Without AVX-512 torch has no fast exp(x) - 1 that is exact near zero. For x up to 0 it is 2t / (1 - t), where t is
    tanh(x / 2): six passes take half of the time, where what they pass over stays in the cache. With AVX-512 torch's
    own takes two thirds of theirs.
    """
    if x.device.type != "cpu" or x.numel() < IN_CACHE or WIDE:
        torch.ops.aten.elu.out(x, out=out)
        return
    places = max(1, IN_CACHE // (len(x) * x.shape[2]))
    for part, into in zip(x.split(places, 1), out.split(places, 1), strict=True):
        t = part.clamp(max=0).mul_(0.5).tanh_()
        torch.maximum(part, torch.addcdiv(t.new_zeros(()), t, 1 - t, value=2), out=into)
