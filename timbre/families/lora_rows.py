"""Several LoRA adapters of one base in one batch: each row of a running decoder speaks with one of them.

    adapters = RowAdapters(rows=8, rank=32, like=model.lm_head.weight)
    layer.output = adapters.put_on(layer.output, 192, ("backbone_model.layers.0.self_attn.o_proj", 192))
    adapters.load("champion", Path("models/adapter"))
    adapters.use(3, "champion")                     # row 3, until it is given another

A product becomes the base's and a row's own two thin ones. The alternative, slots by voice with merged weights, reads
the whole base once for each voice; here ten voices read it once, and a swap of the champion copies a few matrices. A
server with a single voice pays for the thin products, too, so that promoting needs no second base.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from timbre.core.errors import ModelError

Plain = Callable[[Tensor], Tensor]


@dataclass
class RowProduct:
    """What `plain` makes of x (rows, T, in) or (rows, in), plus x times each row's own two matrices."""

    plain: Plain
    parts: tuple[tuple[str, int], ...]  # name and outputs of each linear layer that was joined
    down: Tensor  # (rows, in, parts * rank)
    up: Tensor  # (rows, parts * rank, out); zero where a part's inputs meet another's outputs

    def __call__(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.plain(x), torch.bmm(x, self.down), self.up)

    def row(self, number: int) -> RowProduct:
        return replace(self, down=self.down[number : number + 1], up=self.up[number : number + 1])


class RowAdapters:
    """The adapters that are loaded, and which row speaks with which."""

    def __init__(self, rows: int, rank: int, like: Tensor) -> None:
        self.rows, self.rank = rows, rank  # of the largest adapter; smaller ones are filled with zeros
        self.like = like.new_zeros(0)  # in the precision and on the device of the base
        self.products: list[RowProduct] = []
        self.loaded: dict[str, dict[str, Tensor]] = {}  # name → its matrices, on the model's device
        self.used: dict[int, str | None] = {}

    def put_on(self, plain: Plain, inputs: int, *parts: tuple[str, int]) -> RowProduct:
        """`parts` are names and outputs of the linear layers that `plain` joins."""
        width, out = len(parts) * self.rank, sum(size for _, size in parts)
        down = self.like.new_zeros(self.rows, inputs, width)
        up = self.like.new_zeros(self.rows, width, out)
        self.products.append(RowProduct(plain, parts, down, up))
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
                if low.shape[1] != product.down.shape[1] or high.shape[0] != size:
                    raise ModelError(f"{folder} does not fit the base model: {part} has another shape")
                if len(low) > self.rank:
                    raise ModelError(f"{folder} has rank {len(low)}, and this server was started with {self.rank}")
        self.loaded[name] = {key: value.to(self.like) for key, value in matrices.items()}

    def forget(self, name: str) -> None:
        self.loaded.pop(name, None)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def use(self, row: int, name: str | None) -> None:
        """Let the row speak with this adapter, or with the base alone."""
        if row in self.used and self.used[row] == name:
            return
        if name is not None and name not in self.loaded:
            raise ModelError(f"{name} is not loaded any more; ask again")
        matrices = self.loaded[name] if name is not None else None
        for product in self.products:
            product.down[row].zero_()
            product.up[row].zero_()
            start = 0
            for number, (part, size) in enumerate(product.parts if matrices else ()):
                assert matrices
                low, high = matrices[f"{part}.lora_A"], matrices[f"{part}.lora_B"]  # (rank, in), (out, rank)
                ranks = slice(number * self.rank, number * self.rank + len(low))
                product.down[row, :, ranks] = low.T
                product.up[row, ranks, start : start + size] = high.T
                start += size
        self.used[row] = name


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
