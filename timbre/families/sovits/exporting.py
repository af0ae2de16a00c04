"""A tuned voice as the two files that GPT-SoVITS' own tools load: `<name>.ckpt` and `<name>.pth`, in half precision.

Like upstream's exports, the second lacks the posterior, so nobody can train it further; the first is complete. A v2Pro
or v2ProPlus says so by its first two bytes, by which upstream tells them from a v2.
"""

from __future__ import annotations

import io
from pathlib import Path

import torch

from timbre.core.content import write_atomic
from timbre.families.checkpoints import renamed
from timbre.families.sovits.load import LAYERS, NORMS, POSTERIOR, QUANTISER, ZIP, half
from timbre.families.sovits.shape import VERSIONS
from timbre.families.sovits.voice import Sovits


def export(voice: Sovits, folder: Path, name: str) -> list[Path]:
    """`voice` was loaded with its adapter, so that its weights are merged."""
    folder.mkdir(parents=True, exist_ok=True)
    first, second = voice.loaded.configs
    stage1 = {f"model.{key}": value for key, value in renamed(voice.base.state_dict(), turned(LAYERS)).items()}
    stage2 = renamed(voice.stage2.state_dict(), turned(NORMS))
    stage2[f"{QUANTISER}embed"] = stage2.pop("codebook")
    stage2 = {key: value for key, value in stage2.items() if not key.startswith(POSTERIOR)}
    # The tables that only train a codebook: upstream's module has them, and leaves them alone.
    stage2 |= voice.loaded.quantiser
    head = next((head for head, version in VERSIONS.items() if version == voice.stage2.version), ZIP)
    made = []
    for path, weight, config, begin in (
        (folder / f"{name}.ckpt", stage1, first, ZIP), (folder / f"{name}.pth", stage2, second, head),
    ):  # fmt: skip
        content = io.BytesIO()
        torch.save({"weight": half(weight), "config": config, "info": f"{name}, tuned with Timbre"}, content)
        write_atomic(path, begin + content.getvalue()[len(begin) :])
        made.append(path)
    return made


def turned(names: dict[str, str]) -> dict[str, str]:
    return {ours: upstream for upstream, ours in names.items()}
