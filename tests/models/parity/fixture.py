"""A fixture of README.md: upstream's arrays as tensors, its JSON as objects, and how close ours must come."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.models.parity.weights import sound, weight

TOLERANCE = 2e-5  # of the largest value in the array
GRADIENT_TOLERANCE = 5e-3  # of each tensor's norm: the loss on log mels amplifies rounding


class Fixture:
    def __init__(self, name: str) -> None:
        self.data = np.load(Path(__file__).parent / f"{name}.npz")

    def json(self, name: str) -> Any:
        return json.loads(str(self.data[name]))

    def array(self, name: str) -> Tensor:
        values = torch.from_numpy(self.data[name])
        return values.float() if values.is_floating_point() else values.long()

    def sound(self, seconds: float, rate: int, pitch: float) -> Tensor:  # -> (samples)
        samples = sound(seconds, rate, pitch)
        checksum = zlib.crc32((samples * 32768).astype("<i2").tobytes())
        assert checksum == self.json("sounds_crc32")[json.dumps([seconds, rate, pitch])], "not upstream's sound"
        return torch.from_numpy(samples)

    def state(self, name: str) -> dict[str, Tensor]:
        """The state dict of these names and shapes: buffers as stored, all else by the rule."""
        state = {}
        for key, shape, dtype in self.json(name):
            stored = f"buffer_{key}"
            values = self.data[stored] if stored in self.data else weight(key, tuple(shape))
            state[key] = torch.from_numpy(values).to(getattr(torch, dtype))
        return state

    def close(self, name: str, ours: Tensor, where: Tensor | None = None, tolerance: float = TOLERANCE) -> None:
        """Our array, at places `where`, is `out_<name>` but for rounding."""
        theirs = self.array(f"out_{name}")
        assert ours.shape == theirs.shape, f"{name}: {tuple(ours.shape)} is not {tuple(theirs.shape)}"
        apart = (ours.detach() - theirs).abs()
        furthest = float((apart if where is None else apart[where]).max())
        largest = float((theirs if where is None else theirs[where]).abs().max())
        assert furthest <= tolerance * largest, f"{name}: {furthest:.1e} of {largest:.3g} apart"

    def same(self, name: str, ours: list[int]) -> None:
        assert ours == self.array(f"out_{name}").tolist()

    def gradients(self, names: str, norms: str, model: nn.Module, rename: Mapping[str, str]) -> None:
        """The norm of each tensor's gradient; `rename` gives our name's part for theirs, in this order."""
        ours = []
        parameters = dict(model.named_parameters())
        for name in self.json(names):
            for theirs, mine in rename.items():
                name = name.replace(theirs, mine)
            ours.append(parameters[name].grad.norm())
        expected = self.array(f"out_{norms}")
        floor = expected.max() / 1000  # some gradients are zero but for rounding
        apart = (torch.stack(ours) - expected).abs() / (expected + floor)
        assert float(apart.max()) <= GRADIENT_TOLERANCE, self.json(names)[int(apart.argmax())]
