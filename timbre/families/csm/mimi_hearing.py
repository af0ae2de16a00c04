"""Mimi's encoder on a CPU, as products over sound that is laid out time by time: a clip's codes for half the cost.

    codes = encoded(codec, sounds, codebooks)      # (B, codebooks, frames)

It is the decoder's way (timbre/families/csm/mimi_layers.py) downwards. Its numbers differ from the library's by
rounding, and its codes do not: where two entries of a codebook are so near that rounding could decide, as in one of
eight clips of the demo, the library encodes the clip.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from timbre.families.csm import mimi
from timbre.families.csm.mimi import CodecRows, is_causal
from timbre.families.csm.mimi_layers import products_of

STRETCH = 1 << 18  # numbers of the widest layer that are computed at once: they stay in a core's own cache
POSITIONS = 128  # of the transformer at once: each is compared with all others of these
NEARER = 1e-5  # of two squared distances' size, by which the nearest entry must be nearer than the next
MOST_ENTRIES = 1 << 13  # of all codebooks: among more, two are nearly as near to something in each clip


class StridedKernel:
    """A convolution's weights, (places * in, out) for each stride of places of its kernel."""

    def __init__(self, conv: Any) -> None:
        (self.kernel,), (self.stride,), (self.dilation,) = conv.kernel_size, conv.stride, conv.dilation
        weight = conv.weight.detach().permute(2, 1, 0)  # (kernel, in, out)
        self.wide = self.stride == 1 and weight.shape[1] == 1  # one product over windows, as a place's is too thin
        parts = [weight] if self.wide else list(weight.split(self.stride))
        self.weights = [part.flatten(0, 1).contiguous() for part in parts]
        self.bias = weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias.detach()
        self.past = (self.kernel - 1) * self.dilation + 1 - self.stride  # inputs before the first of a stretch

    @staticmethod
    def fits(conv: Any) -> bool:
        (kernel,), (stride,), (dilation,) = conv.kernel_size, conv.stride, conv.dilation
        return bool(conv.groups == 1 and kernel % stride == 0 and (stride == 1 or dilation == 1))

    def __call__(self, x: Tensor) -> Tensor:
        """x (past + T, in) → (T / stride, out)."""
        if self.wide:
            spread = (self.kernel - 1) * self.dilation + 1
            return torch.addmm(self.bias, x[:, 0].unfold(0, spread, 1)[:, :: self.dilation], self.weights[0])
        steps = x.view(-1, self.stride * x.shape[1])
        count = len(steps) - (len(self.weights) - 1) * self.dilation
        y = torch.addmm(self.bias, steps[:count], self.weights[0])
        for place, weight in enumerate(self.weights[1:], 1):
            y.addmm_(steps[place * self.dilation :][:count], weight)
        return y


KERNELS: WeakKeyDictionary[nn.Module, StridedKernel] = WeakKeyDictionary()  # made when a codec first hears


def kernel_of(conv: Any) -> StridedKernel:
    if conv not in KERNELS:
        KERNELS[conv] = StridedKernel(conv)
    return KERNELS[conv]


def fits(codec: Any) -> bool:
    """Whether the codec is one that is heard here; of a larger one, nearly every clip would be left to the library."""
    if codec.device.type != "cpu" or codec.dtype != torch.float32 or not is_causal(codec):
        return False
    if not hasattr(codec.encoder, "encoder_seanet"):  # of an older transformers
        return False
    if codec.encoder.downsample is None or codec.config.num_quantizers * codec.config.codebook_size > MOST_ENTRIES:
        return False
    return all(StridedKernel.fits(part) for part in codec.encoder.modules() if isinstance(part, nn.Conv1d))


class CodecEar(CodecRows):
    """The encoder of a MimiModel, which remembers what it has heard of a sound; `listen` gives the next latents."""

    def __init__(self, codec: Any) -> None:
        config, encoder = codec.config, codec.encoder
        self.layers, self.downsample = encoder.encoder_seanet.layers, encoder.downsample.conv
        self.transformer, self.device, self.window = encoder.encoder_transformer, codec.device, config.sliding_window
        shape = 1, 2, config.num_attention_heads, self.window - 1, config.head_dim
        self.kept = [torch.zeros(shape) for _ in self.transformer.layers]
        self.age = torch.zeros(1, dtype=torch.int64)
        self.products = [products_of(layer) for layer in self.transformer.layers]
        self.past = {}
        self.stretch = config.frame_size * max(1, STRETCH // config.num_filters // config.frame_size)  # samples

    def listen(self, sound: Tensor) -> Tensor:
        """sound (samples), of whole frames → latents (frames, width)."""
        x = torch.cat([self._through(self.layers, part[:, None]) for part in sound.split(self.stretch)])
        x = torch.cat([self._attend(part[None], None)[0] for part in x.split(POSITIONS)])
        return self._heard(self.downsample, x, first=x[:1])

    def _through(self, layers: Any, x: Tensor) -> Tensor:
        """x (T, channels)"""
        active = False  # the next convolution hears what the activation makes of x
        for layer in layers:
            if isinstance(layer, nn.ELU):
                active = True
            elif hasattr(layer, "block"):
                beside = x if isinstance(layer.shortcut, nn.Identity) else self._through([layer.shortcut], x)
                x = self._through(layer.block, x).add_(beside)
            else:
                x, active = self._heard(layer.conv, x, active=active), False
        return x

    def _heard(self, conv: Any, x: Tensor, *, active: bool = False, first: Tensor | None = None) -> Tensor:
        """What `conv` makes of x when it has heard what came before; at first silence, or `first` again and again."""
        kernel, count = kernel_of(conv), len(x)
        if conv not in self.past:
            self.past[conv] = x.new_zeros(kernel.past, x.shape[1]) if first is None else first.repeat(kernel.past, 1)
        heard = x.new_empty(kernel.past + count, x.shape[1])
        heard[: kernel.past] = self.past[conv]
        if active:
            torch.ops.aten.elu.out(x, out=heard[kernel.past :])
        else:
            heard[kernel.past :] = x
        self.past[conv] = heard[count:].clone()
        return kernel(heard)


def encoded(codec: Any, sounds: Tensor, codebooks: int) -> Tensor:
    """sounds (B, 1, samples), of whole frames → codes (B, codebooks, frames)."""
    if not fits(codec):
        return mimi.encoded(codec, sounds, codebooks)
    heard = (_heard(codec, sound[0, 0], codebooks) for sound in sounds.split(1))
    return torch.cat(
        [
            mimi.encoded(codec, sound, codebooks) if codes is None else codes[None]
            for sound, codes in zip(sounds.split(1), heard, strict=True)
        ]
    )


@torch.inference_mode()  # type: ignore[untyped-decorator]
def _heard(codec: Any, sound: Tensor, codebooks: int) -> Tensor | None:
    """sound (samples) → codes (codebooks, frames); None where rounding could decide between two entries."""
    latents, quantizer = CodecEar(codec).listen(sound), codec.quantizer
    semantic = quantizer.num_semantic_quantizers
    said = _nearest(quantizer.semantic_residual_vector_quantizer, latents, semantic)
    if said is None or codebooks <= semantic:
        return said
    sounding = _nearest(quantizer.acoustic_residual_vector_quantizer, latents, codebooks - semantic)
    return None if sounding is None else torch.cat((said, sounding))


def _nearest(quantizer: Any, latents: Tensor, count: int) -> Tensor | None:
    """latents (frames, width) → codes (count, frames)"""
    rest = latents if quantizer.input_proj is None else latents @ quantizer.input_proj.weight[..., 0].t()
    codes = []
    for layer in quantizer.layers[:count]:
        book = layer.codebook.embed
        sizes = book.square().sum(1)
        distances = torch.addmm(sizes, rest, book.t(), alpha=-2)  # squared, but for the size of what is left
        nearest, index = distances.min(1)
        next_nearest = distances.scatter_(1, index[:, None], torch.inf).amin(1)
        if bool((next_nearest - nearest < NEARER * (rest.square().sum(1) + sizes[index])).any()):
            return None
        rest = rest - book[index]
        codes.append(index)
    return torch.stack(codes)
