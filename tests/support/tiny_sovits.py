"""Small random GPT-SoVITS checkpoints in the layout of the released ones, with the class that upstream pickles."""

from __future__ import annotations

import copy
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from timbre.families.sovits.discriminators import PERIODS, Discriminators
from timbre.families.sovits.load import HUBERT, LAYERS, NORMS, QUANTISER, half
from timbre.families.sovits.shape import SPEAKERS
from timbre.families.sovits.speaker_vector import CLASSIFIER, SpeakerNet
from timbre.families.sovits.stage1 import Stage1
from timbre.families.sovits.stage2 import Stage2

STAGE1 = {
    "train": {}, "data": {}, "inference": {"top_k": 15},
    "model": {"vocab_size": 1025, "phoneme_vocab_size": 732, "embedding_dim": 64, "hidden_dim": 64, "head": 4,
              "linear_units": 256, "n_layer": 2, "dropout": 0, "EOS": 1024},
}  # fmt: skip
STAGE2 = {
    "train": {"segment_size": 6400, "learning_rate": 1e-4, "c_mel": 45, "c_kl": 1.0},
    "data": {"sampling_rate": 32000, "filter_length": 2048, "hop_length": 640},
    "model": {"inter_channels": 16, "hidden_channels": 32, "filter_channels": 32, "n_heads": 2, "n_layers": 2,
              "kernel_size": 3, "upsample_rates": [10, 8, 2, 2, 2], "upsample_initial_channel": 32,
              "upsample_kernel_sizes": [16, 16, 8, 2, 2], "gin_channels": 512, "version": "v2"},
}  # fmt: skip
SHRINK = 16  # of the discriminators
SPEAKER_CHANNELS = 8  # of 64
S1, S2G, S2D = "s1bert25hz.ckpt", "s2G2333k.pth", "s2D2333k.pth"


def random_sovits(folder: Path, version: str = "v2", seed: int = 0) -> Path:
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    stage2 = copy.deepcopy(STAGE2)
    stage2["model"]["version"] = version
    speakers = SpeakerNet(SPEAKER_CHANNELS)
    first, second = Stage1(STAGE1["model"]), Stage2(stage2, phones=732, speaker=speakers.width)
    first.ar_predict_layer.weight.data.mul_(20)  # fresh weights are so small that every code is as likely
    judges = Discriminators(PERIODS["v2Pro" if second.pro else "v2"], SHRINK)
    save(folder / S1, {f"model.{key}": value for key, value in old(first, LAYERS).items()}, STAGE1)
    weight = old(second, NORMS)
    weight[f"{QUANTISER}embed"] = weight.pop("codebook")
    weight[f"{QUANTISER}inited"] = torch.ones(1)
    with upstream_class() as made:
        save(folder / S2G, weight, made(stage2))
    save(folder / S2D, old(judges, NORMS), {})
    if second.pro:
        classifier = {
            f"{CLASSIFIER}weight": torch.zeros(192, 2 * speakers.width),
            f"{CLASSIFIER}bias": torch.zeros(192),
        }
        (folder / SPEAKERS).parent.mkdir()
        torch.save({**speakers.state_dict(), **classifier}, folder / SPEAKERS)
    random_hubert(folder / HUBERT)
    return folder


def random_hubert(folder: Path) -> None:
    """768 wide, as stage 2 wants it, and little else."""
    from transformers import HubertConfig, HubertModel

    config = HubertConfig(
        hidden_size=768, num_hidden_layers=1, num_attention_heads=4, intermediate_size=32, conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=16, vocab_size=32,
    )  # fmt: skip
    HubertModel(config).save_pretrained(folder)


def save(path: Path, weight: dict[str, Tensor], config: Any) -> None:
    torch.save({"weight": half(weight), "config": config, "info": "a random one"}, path)


def old(module: nn.Module, names: dict[str, str]) -> dict[str, Tensor]:
    """Its weights under upstream's names."""
    state = {}
    for key, value in module.state_dict().items():
        for upstream, ours in names.items():
            key = key.replace(ours, upstream)
        state[key] = value
    return state


@contextmanager
def upstream_class() -> Iterator[Any]:
    """`utils.HParams`, which can be pickled while this lasts, and is nowhere afterwards."""
    module = types.ModuleType("utils")
    kind = type("HParams", (), {"__module__": "utils", "__qualname__": "HParams"})
    module.HParams = kind  # type: ignore[attr-defined]
    kept = sys.modules.get("utils")
    sys.modules["utils"] = module

    def made(content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        one = kind()
        vars(one).update({key: made(value) for key, value in content.items()})
        return one

    try:
        yield made
    finally:
        if kept is None:
            del sys.modules["utils"]
        else:
            sys.modules["utils"] = kept
