"""A tuned XTTS as the folder that Coqui's TTS loads: the base's files, with what was learnt in model.pth.

The language model is in half precision, which upstream's loading turns into single; the rest stays as it was. The mean
voice of the clips that were learnt is a speaker beside the stock ones.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from timbre.families.checkpoints import read
from timbre.families.xtts.load import released_weights
from timbre.families.xtts.voice import OPTIONAL, TUNED, Xtts

MODEL, SPEAKERS = "model.pth", OPTIONAL[0]
COPIED = ("config.json", "dvae.pth", "mel_stats.pth", "vocab.json")


def export(voice: Xtts, base: Path, folder: Path) -> None:
    """`voice` was loaded with its adapter from the files in `base`, so that its weights are merged."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        shutil.copyfile(base / name, folder / name)
    weights = released_weights(base / MODEL)  # also what upstream computes and saves
    for name, value in voice.base.state_dict().items():
        weights[f"gpt.{name}"] = value.detach().cpu().to(torch.float16)
    torch.save({"model": weights}, folder / MODEL)
    speakers = dict(read(base / SPEAKERS)) if (base / SPEAKERS).is_file() else {}
    if voice.identity:
        latents, vector = (value.detach().cpu() for value in voice.identity)
        speakers[TUNED] = {"gpt_cond_latent": latents, "speaker_embedding": vector[..., None]}
    torch.save(speakers, folder / SPEAKERS)
