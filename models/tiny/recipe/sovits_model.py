"""The tiny GPT-SoVITS without its training: how large it is, how it starts, and its files in GPT-SoVITS' own layout.

The modules are those of timbre.families.sovits. It is narrower than the released one wherever a config says how wide,
and in the states of HuBERT; its sound is at 32 kHz too, but the corpus it learns from holds nothing above 8 kHz.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from snac_model import deflate
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from transformers import HubertModel

from timbre.families.checkpoints import renamed
from timbre.families.hifigan import KERNELS, SLOPE, mean_of
from timbre.families.sovits.discriminators import PERIODS, Discriminators
from timbre.families.sovits.encoders import Widths
from timbre.families.sovits.exporting import turned
from timbre.families.sovits.load import CONFIG_CLASS, HUBERT, LAYERS, NORMS, QUANTISER, half
from timbre.families.sovits.spectrogram import Spectrograms
from timbre.families.sovits.stage1 import Stage1
from timbre.families.sovits.stage2 import Stage2, VoiceVocoder
from timbre.families.sovits.style import BINS as STYLE_BINS
from timbre.families.sovits.text import PHONES

VOICE = 128  # width of a voice, and of the attention to phones
WIDTHS = Widths(hubert=192, cross=VOICE)
STAGE1: dict[str, Any] = {
    "train": {"seed": 0}, "data": {}, "inference": {"top_k": 15},
    "model": {
        "vocab_size": 1025, "phoneme_vocab_size": PHONES, "embedding_dim": 192, "hidden_dim": 192, "head": 4,
        "linear_units": 768, "n_layer": 4, "dropout": 0, "EOS": 1024,
    },
}  # fmt: skip
STAGE2: dict[str, Any] = {
    "train": {"segment_size": 20_480, "learning_rate": 1e-4, "c_mel": 45, "c_kl": 1.0, "text_low_lr_rate": 0.4},
    "data": {"sampling_rate": 32_000, "filter_length": 2048, "hop_length": 640, "win_length": 2048},
    "model": {
        "inter_channels": 32, "hidden_channels": 64, "filter_channels": 192, "n_heads": 2, "n_layers": 2,
        "kernel_size": 3, "upsample_rates": [10, 8, 8], "upsample_kernel_sizes": [20, 16, 32],
        "upsample_initial_channel": 128, "gin_channels": VOICE, "version": "v2",
    },
}  # fmt: skip
SHRINK = 16  # of the discriminators
FILES = ("s1-tiny.ckpt", "s2G-tiny.pth", "s2D-tiny.pth")
MELS = 48  # random sums of so many bands start the layers that hear a spectrogram


def stage2(spectrograms: Spectrograms, sound: Tensor) -> Stage2:
    """With fresh weights; `sound` (batch, samples at 32 kHz) tells how loud each band is."""
    model = Stage2(STAGE2, PHONES, widths=WIDTHS)
    bands = spectrograms.bands.view(-1, 2, spectrograms.bands.shape[1]).sum(1)  # 64 of double width
    level = (bands @ spectrograms.magnitudes(sound)).std((0, 2)).clamp_min(1e-3)
    assert model.enc_q is not None
    hearing = bands[:MELS] / level[:MELS, None]
    with torch.no_grad():
        for weight, bins in (
            (model.enc_q.pre.weight, len(bands[0])), (model.ref_enc.spectral[0].fc.weight, STYLE_BINS),
        ):  # fmt: skip
            mixed = torch.randn(len(weight), MELS) * MELS**-0.5 @ hearing
            weight.copy_(mixed[:, :bins].view_as(weight))
        for name, weight in model.named_parameters():
            if name in still(model) and ".convs2." in name and name.endswith(("original0", "bias")):
                weight.zero_()
    return model


def still(model: Stage2) -> set[str]:
    """Names of the residual blocks at the full rate, which pass their input as it is and are not trained: they take two
    thirds of a step, and the corpus, at half that rate, has nothing for them to add."""
    count = len(KERNELS)
    last = range(len(model.dec.resblocks) - count, len(model.dec.resblocks))
    prefixes = tuple(f"dec.resblocks.{number}." for number in last)
    return {name for name, _ in model.named_parameters() if name.startswith(prefixes)}


def spoken(dec: VoiceVocoder, latents: Tensor, voice: Tensor) -> Tensor:
    """What `dec` makes of latents, without the blocks that change nothing."""
    x = dec.conv_pre(latents) + dec.cond(voice)
    *levels, (last, _) = dec.levels()
    for up, blocks in levels:
        x = mean_of(blocks, up(F.leaky_relu(x, SLOPE)))
    return torch.as_tensor(dec.sound(last(F.leaky_relu(x, SLOPE)))[:, 0])


def judges() -> Discriminators:
    return Discriminators(PERIODS["v2"], SHRINK)


def finite(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    small = half(weights)
    for name, weight in small.items():
        if not torch.isfinite(weight).all():
            raise ValueError(f"{name}: too large for half precision")
    return small


def save_stage1(model: Stage1, folder: Path) -> None:
    weight = {f"model.{key}": value for key, value in renamed(model.state_dict(), turned(LAYERS)).items()}
    _save(folder / FILES[0], weight, STAGE1)


def save_stage2(model: Stage2, judged: Discriminators, folder: Path) -> None:
    weight = renamed(model.state_dict(), turned(NORMS))
    weight[f"{QUANTISER}embed"] = weight.pop("codebook")
    with upstream_class() as made:
        _save(folder / FILES[1], weight, made(STAGE2))
    _save(folder / FILES[2], renamed(judged.state_dict(), turned(NORMS)), {})


def save_hubert(model: HubertModel, folder: Path) -> None:
    folder = folder / HUBERT
    model.half().save_pretrained(folder)
    model.float()
    config = json.loads((folder / "config.json").read_text())
    config["dtype"] = "float32"
    config.pop("_name_or_path", None)  # a folder of this machine
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _save(path: Path, weight: Mapping[str, Tensor], config: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"weight": finite(weight), "config": config, "info": "the tiny one of Timbre"}, path)
    deflate(path)


@contextmanager
def upstream_class() -> Iterator[Any]:
    """Turns a config into the class that upstream's files of stage 2 pickle, which can be pickled while this lasts."""
    module_name, class_name = CONFIG_CLASS.split(".")
    module = types.ModuleType(module_name)
    kind = type(class_name, (), {"__module__": module_name, "__qualname__": class_name})
    setattr(module, class_name, kind)
    kept = sys.modules.get(module_name)
    sys.modules[module_name] = module

    def made(content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        one = kind()
        vars(one).update({key: made(value) for key, value in content.items()})
        return one

    try:
        yield made
    finally:
        del sys.modules[module_name]
        if kept is not None:
            sys.modules[module_name] = kept


def averaged(model: nn.Module, average: Mapping[str, Tensor]) -> None:
    """Puts averaged weights in place."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in average:
                weight.copy_(average[name])


@contextmanager
def fast_norms() -> Iterator[None]:
    """Weights behind a weight norm are computed once while this lasts, not anew at each use."""
    with parametrize.cached():
        yield
