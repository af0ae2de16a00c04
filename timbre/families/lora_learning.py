"""peft's layers while they learn, with fewer passes over the activations.

    model = peft.get_peft_model(base, config)
    lighten(model)              # each of its layers gives W x + s B A d(x) as before, where d is dropout

On a CPU a third of a step of the demo went into dropout, whose draws torch makes one after the other, and into passes
that multiply by the scale and add. Here the scale goes into the small matrix B and the addition into its product, 64
bits that are drawn decide about four numbers, and layers that hear the same share dropout and the product with A.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

SAME_INPUT = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))  # of a Llama layer, in the order of the calls
LOTS = 1 << 16  # a number is left out where the 16 bits drawn for it are below its share of these


def lighten(model: Any) -> None:
    for module in model.modules():
        if is_adapted(module):
            _call(SharedInput([module]))
    for module in model.modules():
        for names in SAME_INPUT:
            layers = [getattr(module, name, None) for name in names]
            if all(map(is_adapted, layers)):
                _call(SharedInput(layers))


def is_adapted(layer: Any) -> bool:
    return hasattr(layer, "lora_A") and hasattr(layer, "base_layer")


def _call(shared: SharedInput) -> None:
    for place, layer in enumerate(shared.layers):
        layer.forward = partial(shared.output, place)


class SharedInput:
    """Layers that are called with the same input, one after the other."""

    def __init__(self, layers: Sequence[Any]) -> None:
        self.layers = layers
        self.thin: list[Tensor] = []  # what A makes of the input, for the layers that were not called yet
        self.left = 1.0  # by dropout, of the input's size; the scale makes up for it

    def output(self, place: int, x: Tensor) -> Tensor:
        """x (…, in) → (…, out)"""
        layer = self.layers[place]
        result: Tensor = layer.base_layer(x.flatten(0, -2))
        if not layer.disable_adapters:
            if place == 0:
                self.thin = self._thin(x)
            up, thin = _matrix(layer.lora_B) * (_scale(layer) / self.left), self.thin.pop(0)
            result = result.addmm_(thin.flatten(0, -2), up.t().to(result.dtype))  # on the spot: nobody needs it without
        return result.view(*x.shape[:-1], -1)

    def _thin(self, x: Tensor) -> list[Tensor]:
        first, self.left = self.layers[0], 1.0
        if first.training and (share := _share(first)):
            x, self.left = dropped(x, share)
        downs = [_matrix(layer.lora_A) for layer in self.layers]
        return list(F.linear(x, torch.cat(downs)).split([len(down) for down in downs], -1))


def _matrix(of_adapter: Any) -> Tensor:
    (part,) = of_adapter.values()
    weight: Tensor = part.weight
    return weight


def _share(layer: Any) -> float:
    """That dropout leaves out; peft has another module there where it is 0."""
    (dropout,) = layer.lora_dropout.values()
    return float(getattr(dropout, "p", 0.0))


def _scale(layer: Any) -> float:
    (scale,) = layer.scaling.values()
    return float(scale)


def dropped(x: Tensor, share: float) -> tuple[Tensor, float]:
    """x without a share of its numbers, and what is left of its size: torch's own dropout makes up for the loss."""
    if x.device.type != "cpu":
        return F.dropout(x, share), 1.0
    return x * kept(x.numel(), share).view(x.shape).to(x.dtype), 1 - share


def kept(count: int, share: float) -> Tensor:
    """1 for each number that stays, 0 for the others. By torch's generator, so that checkpointing draws them again."""
    seed = int(torch.randint(1 << 62, ()))
    drawn = np.random.SFC64(seed).random_raw(-(-count // 4)).view(np.uint16)[:count]
    return torch.from_numpy((drawn >= round(share * LOTS)).astype(np.float32))
