"""Several LoRA adapters of one base in one batch: each row of a running decoder speaks with one of them.

    adapters = RowAdapters(rows=8, rank=32, like=model.lm_head.weight)
    layer.output = adapters.put_on(layer.output, 192, ("backbone_model.layers.0.self_attn.o_proj", 192))
    adapters.load("champion", Path("models/adapter"))
    adapters.use(3, "champion")                     # row 3, until it is given another
    adapters.leave(3)                               # nobody speaks in it any more

A product becomes the base's and an adapter's own two thin ones. The alternative, slots by voice with merged weights,
reads the whole base once for each voice; here ten voices read it once, and a swap of the champion copies a few
matrices. A server with a single voice pays for the thin products, too, so that promoting needs no second base.

On a CPU the thin products are computed for each voice that speaks, over all rows at once: those that speak with another
voice are zero there, and a sum with zero is the same number, so a row comes out the same in any company. A voice's
matrices are read once for all its rows. Where each row has matrices of its own, as on a GPU, where a captured graph
can't ask who speaks, eight rows of rank 32 cost the tiny voice's decode loop three times as much as the base alone.

Of small layers on a CPU each voice has its own merged weights, and takes its rows from what they make of all rows:
there the number of calls is what costs, not the reading, and one product is cheaper than three.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from timbre.core.errors import ModelError

Plain = Callable[[Tensor], Tensor]


class Thin(NamedTuple):
    """An adapter's part in a product of joined layers."""

    down: Tensor  # (in, parts * rank)
    up: Tensor  # (parts * rank, out); zero where a part's inputs meet another's outputs


class RowVoice(NamedTuple):
    """Rows that speak with one adapter, or with the base alone."""

    name: str | None
    mask: Tensor | None = None  # (rows, 1), where they are; None: all that are busy
    rows: Tensor | None = None  # likewise, their numbers


class BusyRows:
    """Which adapter each busy row speaks with, and what that means for all rows."""

    def __init__(self, rows: int, like: Tensor) -> None:
        self.rows, self.like = rows, like
        self.names: dict[int, str | None] = {}
        self.masks: dict[str, Tensor | None] = {}  # (rows, 1), where a row speaks with it; None: all that are busy do
        self.only: str | None = None  # the adapter that all busy rows speak with
        self.voices = [RowVoice(None)]  # all that somebody speaks with, the base included; never empty

    def set(self, names: dict[int, str | None]) -> None:
        self.names = names
        self.voices = [self._voice(name) for name in dict.fromkeys(names.values())] or [RowVoice(None)]
        self.masks = {name: mask for name, mask, _ in self.voices if name is not None}
        self.only = next((name for name, mask in self.masks.items() if mask is None), None)

    def _voice(self, name: str | None) -> RowVoice:
        own = [row for row, whose in self.names.items() if whose == name]
        if len(own) == len(self.names):
            return RowVoice(name)
        return RowVoice(name, self._mask(own), torch.tensor(own, device=self.like.device))

    def _mask(self, own: list[int]) -> Tensor:
        mask = torch.zeros(self.rows, 1, dtype=torch.bool, device=self.like.device)
        mask[own] = True
        return mask


@dataclass
class RowProduct(ABC):
    """What `plain` makes of x (rows, T, in) or (rows, in), plus x times two thin matrices of each row's adapter."""

    plain: Plain
    parts: tuple[tuple[str, int], ...]  # name and outputs of each linear layer that was joined
    inputs: int

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def row(self, number: int) -> Plain:
        """The product for that row alone."""

    @abstractmethod
    def learn(self, name: str, thin: Thin) -> None:
        """A voice that rows may take from now on."""

    @abstractmethod
    def forget(self, name: str) -> None: ...


@dataclass
class VoiceProduct(RowProduct):
    """Voice by voice, each over all rows."""

    busy: BusyRows
    thin: dict[str, Thin] = field(default_factory=dict)

    def learn(self, name: str, thin: Thin) -> None:
        self.thin[name] = thin

    def forget(self, name: str) -> None:
        self.thin.pop(name, None)

    def __call__(self, x: Tensor) -> Tensor:
        y = self.plain(x)
        flat, out = x.reshape(-1, x.shape[-1]), y.view(-1, y.shape[-1])  # the first row's positions, the second's, …
        for name, mask in self.busy.masks.items():
            low = torch.mm(flat, self.thin[name].down)
            if mask is not None:
                low.view(len(mask), -1).mul_(mask)
            out.addmm_(low, self.thin[name].up)
        return y

    def row(self, number: int) -> Plain:
        name = self.busy.names.get(number)
        if name is None:
            return self.plain
        thin = self.thin[name]

        def product(x: Tensor) -> Tensor:
            y = self.plain(x)
            y.view(-1, y.shape[-1]).addmm_(torch.mm(x.reshape(-1, x.shape[-1]), thin.down), thin.up)
            return y

        return product


@dataclass
class MergedProduct(RowProduct):
    """With weights of its own for each voice, and for the base alone."""

    base: Tensor  # (in, out)
    busy: BusyRows
    merged: dict[str, Tensor] = field(default_factory=dict)  # (in, out)

    def learn(self, name: str, thin: Thin) -> None:
        self.merged[name] = torch.addmm(self.base, thin.down, thin.up)

    def forget(self, name: str) -> None:
        self.merged.pop(name, None)

    def __call__(self, x: Tensor) -> Tensor:
        if self.busy.only is not None:
            return torch.matmul(x, self.merged[self.busy.only])
        masks = self.busy.masks
        y = torch.matmul(x, self.base) if None in self.busy.names.values() or not masks else None
        for name, mask in masks.items():
            own = torch.matmul(x, self.merged[name])
            y = own if y is None or mask is None else torch.where(mask.view(-1, *[1] * (x.dim() - 1)), own, y)
        assert y is not None
        return y

    def row(self, number: int) -> Plain:
        name = self.busy.names.get(number)
        return partial(torch.matmul, other=self.base if name is None else self.merged[name])


@dataclass
class OwnProduct(RowProduct):
    """Matrices that belong to the rows and keep their places, so that a graph reads the new values."""

    down: Tensor  # (rows, in, parts * rank)
    up: Tensor  # (rows, parts * rank, out)

    def learn(self, name: str, thin: Thin) -> None:
        """Nothing: `RowAdapters` writes the matrices of a row that takes it."""

    def forget(self, name: str) -> None:
        """Nothing: a row keeps its matrices until it takes another."""

    def __call__(self, x: Tensor) -> Tensor:
        y, each = self.plain(x), x.view(len(x), -1, x.shape[-1])
        return torch.baddbmm(y.view(*each.shape[:2], -1), torch.bmm(each, self.down), self.up).view(y.shape)

    def row(self, number: int) -> OwnProduct:
        return replace(self, down=self.down[number : number + 1], up=self.up[number : number + 1])


class RowAdapters:
    """The adapters that are loaded, and which row speaks with which."""

    def __init__(self, rows: int, rank: int, like: Tensor, *, own: bool | None = None) -> None:
        """`own` gives each row its own matrices; on a GPU it does unless told otherwise."""
        self.rows, self.rank = rows, rank  # of the largest adapter; smaller ones are filled with zeros
        self.like = like.new_zeros(0)  # in the precision and on the device of the base
        self.own = like.device.type == "cuda" if own is None else own
        self.products: list[RowProduct] = []
        self.loaded: dict[str, list[Thin]] = {}  # name → its part in each product
        self.busy = BusyRows(rows, self.like)
        self.written: dict[int, str | None] = {}  # what the rows' own matrices hold

    def put_on(self, plain: Plain, inputs: int, *parts: tuple[str, int], small: Tensor | None = None) -> RowProduct:
        """`parts` are names and outputs of the linear layers that `plain` joins; `small` is their weight (in, out),
        where each voice may have one of its own."""
        if self.own:
            width, out = len(parts) * self.rank, sum(size for _, size in parts)
            down, up = self.like.new_zeros(self.rows, inputs, width), self.like.new_zeros(self.rows, width, out)
            self.products.append(OwnProduct(plain, parts, inputs, down, up))
        elif small is not None:
            self.products.append(MergedProduct(plain, parts, inputs, small, self.busy))
        else:
            self.products.append(VoiceProduct(plain, parts, inputs, self.busy))
        return self.products[-1]

    def load(self, name: str, folder: Path) -> None:
        """Read an adapter's two files; ModelError where it does not fit."""
        matrices = read(folder)
        names = {part for product in self.products for part, _ in product.parts}
        if set(matrices) != {f"{part}.{side}" for part in names for side in ("lora_A", "lora_B")}:
            raise ModelError(f"{folder} does not fit the base model: it was made for another")
        for product in self.products:
            for part, size in product.parts:
                low, high = matrices[f"{part}.lora_A"], matrices[f"{part}.lora_B"]
                if low.shape[1] != product.inputs or high.shape[0] != size:
                    raise ModelError(f"{folder} does not fit the base model: {part} has another shape")
                if len(low) > self.rank:
                    raise ModelError(f"{folder} has rank {len(low)}, and this server was started with {self.rank}")
        self.loaded[name] = [self._thin(product, matrices) for product in self.products]
        for product, thin in zip(self.products, self.loaded[name], strict=True):
            product.learn(name, thin)

    def _thin(self, product: RowProduct, matrices: dict[str, Tensor]) -> Thin:
        width, out = len(product.parts) * self.rank, sum(size for _, size in product.parts)
        down, up = self.like.new_zeros(product.inputs, width), self.like.new_zeros(width, out)
        start = 0
        for number, (part, size) in enumerate(product.parts):
            low, high = matrices[f"{part}.lora_A"], matrices[f"{part}.lora_B"]  # (rank, in), (out, rank)
            ranks = slice(number * self.rank, number * self.rank + len(low))
            down[:, ranks], up[ranks, start : start + size] = low.T, high.T
            start += size
        return Thin(down, up)

    def forget(self, name: str) -> None:
        self.loaded.pop(name, None)
        for product in self.products:
            product.forget(name)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def use(self, row: int, name: str | None) -> None:
        """Let the row speak with this adapter, or with the base alone."""
        if name is not None and name not in self.loaded:
            raise ModelError(f"{name} is not loaded any more; ask again")
        self.busy.set({**self.busy.names, row: name})
        if self.own and (row not in self.written or self.written[row] != name):
            self._write(row, name)

    def leave(self, row: int) -> None:
        """Nobody speaks in the row."""
        self.busy.set({other: name for other, name in self.busy.names.items() if other != row})

    def _write(self, row: int, name: str | None) -> None:
        for number, product in enumerate(self.products):
            assert isinstance(product, OwnProduct)
            if name is None:
                product.down[row].zero_()
                product.up[row].zero_()
            else:
                product.down[row], product.up[row] = self.loaded[name][number]
        self.written[row] = name


def read(folder: Path) -> dict[str, Tensor]:
    """Layer's name with `.lora_A` or `.lora_B` → the matrix; the adapter's scale is in the second."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        config = json.loads((folder / "adapter_config.json").read_bytes())
        weights = load_file(folder / "adapter_model.safetensors")
        rank = int(config["r"])
        scale = float(config["lora_alpha"]) / (math.sqrt(rank) if config.get("use_rslora") else rank)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(f"{folder} is no adapter ({str(error).splitlines()[0][:100]})") from error
    matrices = {}
    for key, value in weights.items():
        name = key.removeprefix("base_model.model.").removesuffix(".weight")
        matrices[name] = value.float() * scale if name.endswith(".lora_B") else value.float()
    return matrices


def rank_of(folder: Path) -> int:
    return max(len(value) for name, value in read(folder).items() if name.endswith(".lora_A"))
