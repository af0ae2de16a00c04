"""The two recipes that `benchmarks.learning` compares, step by step, and what they are fed with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from timbre.families import Audio, Lora, Turn
from timbre.families.csm.model import Csm
from timbre.families.frame_loop import Frames
from timbre.families.lora import save_memory

ROOT = Path(__file__).parent.parent
LORA = Lora(rank=32, alpha=16, rslora=True, dropout=0.05)
SHARE = 1 / 16  # of the frames that the depth decoder learns from, as presets/csm-1b.yaml asks …
TINY_SHARE = 1 / 8  # … and params.yaml for the tiny stack, whose clips are a tenth as long
CHARACTERS = 15  # of text per second of speech


class Way(NamedTuple):
    name: str
    raw: bool  # sound, and not codes
    half: bool = False  # weights and products in bf16; what is learnt, and its optimiser, never
    saving: bool = False  # gradient checkpointing


class TalkClip(NamedTuple):
    text: str
    sound: Audio
    codes: Frames


def dress(voice: Csm, way: Way, seed: int = 0) -> None:
    torch.manual_seed(seed)
    if way.saving:
        save_memory(voice.base)
    voice.adapt(LORA)
    voice.model.train()


def step(voice: Csm, way: Way, optimiser: Any, clips: Sequence[TalkClip], seed: int, share: float = SHARE) -> None:
    torch.manual_seed(seed)
    with torch.autocast(voice.device.type, torch.bfloat16, enabled=way.half):
        if way.raw:
            total = voice.model(**documented(voice, clips)).loss
        else:
            talks = [[Turn(clip.text, {"codes": clip.codes})] for clip in clips]
            total = voice.losses(voice.batch(talks, share, seed)).total
    total.backward()
    torch.nn.utils.clip_grad_norm_([w for w in voice.model.parameters() if w.requires_grad], 1.0)
    optimiser.step()
    optimiser.zero_grad()


def documented(voice: Csm, clips: Sequence[TalkClip]) -> dict[str, Tensor]:
    """What CsmProcessor makes of a conversation with `output_labels=True`: a place for each frame, and the sound."""
    config = voice.base.config
    rows = []
    for clip in clips:
        text = voice.tokenizer(f"[0]{clip.text}", add_special_tokens=True)["input_ids"]
        rows.append([*text, *[config.audio_token_id] * len(clip.codes), config.audio_eos_token_id])
    ids = _stacked(rows, config.pad_token_id or 0).long()
    sound = (ids == config.audio_token_id) | (ids == config.audio_eos_token_id)
    inputs = {
        "input_ids": ids,
        "attention_mask": _stacked([[1] * len(row) for row in rows], 0).long(),
        "input_values": _stacked([clip.sound for clip in clips], 0.0)[:, None],
        "input_values_cutoffs": torch.tensor([[len(clip.sound)] for clip in clips]),
        "labels": torch.where(sound, ids, -100),
    }
    return {name: value.to(voice.device) for name, value in inputs.items()}


def _stacked(rows: Sequence[Any], padding: float) -> Tensor:
    size = max(map(len, rows))
    return torch.from_numpy(np.stack([np.pad(row, (0, size - len(row)), constant_values=padding) for row in rows]))


def random_clip(voice: Csm, seconds: float, seed: int) -> TalkClip:
    draw = np.random.default_rng(seed)
    frames = round(seconds * voice.frame_rate)
    samples = frames * round(voice.sample_rate / voice.frame_rate)
    size = voice.base.config.codec_config.codebook_size
    codes = draw.integers(1, size, (frames, voice.codebooks)).astype(np.int16)
    return TalkClip("x" * round(seconds * CHARACTERS), draw.normal(0, 0.1, samples).astype(np.float32), codes)


def operations(voice: Csm, way: Way, clips: Sequence[TalkClip]) -> float:
    """Of the layers' matrix products: forward, backward to what is below, and forward again where that saves memory.

    The weights are frozen, so nothing is computed for them; attention, heads, adapter and codec come on top.
    """
    backbone, depth = (
        sum(weight.numel() for name, weight in stack.layers.named_parameters() if "lora" not in name)
        for stack in voice.stacks
    )
    frames = sum(len(clip.codes) + 1 for clip in clips)
    texts = sum(len(voice.tokenizer(f"[0]{clip.text}")["input_ids"]) for clip in clips)
    deep = frames * (1 if way.raw else SHARE)
    return (6 if way.saving else 4) * (backbone * (texts + frames) + depth * deep * voice.codebooks)


def tiny_clips() -> tuple[list[TalkClip], list[TalkClip]]:
    """The demo's clips: to learn from, and to evaluate on."""
    from timbre import audio
    from timbre.training.batches import utterances

    tables = []
    for name in ("train", "eval"):
        found, _ = utterances(ROOT / f"data/dataset/{name}.jsonl", ROOT / "data/codes/csm")
        sounds = [audio.read(ROOT / f"data/clips/{one.id}.flac", 16_000)[0] for one in found]
        tables.append([
            TalkClip(one.turn.text, sound, one.turn.codes["codes"])
            for one, sound in zip(found, sounds, strict=True) if one.turn.codes is not None
        ])  # fmt: skip
    return tables[0], tables[1]


def examined(voice: Csm, held: Sequence[TalkClip], way: Way) -> tuple[float, float]:
    """Losses of backbone and depth decoder, the same for all ways: every frame counts, for both."""
    voice.model.eval()
    batch = voice.batch([[Turn(clip.text, {"codes": clip.codes})] for clip in held], 1.0, 0)
    with torch.no_grad(), torch.autocast(voice.device.type, torch.bfloat16, enabled=way.half):
        found = voice.losses(batch)
    voice.model.train()
    return float(found.parts["backbone"]), float(found.parts["depth_decoder"])
