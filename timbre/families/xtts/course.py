"""What XTTS learns: a LoRA adapter on the language model, or the language model as a whole."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from timbre.core.errors import ModelError
from timbre.core.sections import XttsParams
from timbre.families.batch_rows import own_rows, padded
from timbre.families.lora import LoraCourse, evaluating
from timbre.families.protocol import WHOLE, Lora, Losses, Objective, Part, Turn
from timbre.families.xtts.gpt import STOPS, SpeechGpt, XttsBatch, learnt_codes

if TYPE_CHECKING:
    from timbre.families.xtts.voice import Xtts

BETAS = (0.9, 0.96)  # of AdamW, as upstream fine-tunes
FROZEN = "conditioning_"  # what made a clip's latents, once
KIND = "whole"  # of adapter_config.json, where no LoRA was learnt
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


class XttsCourse(LoraCourse):
    """One adapter on the language model's layers."""

    main = "codes"
    voice: Xtts

    def __init__(self, voice: Xtts, lora: Lora, own: XttsParams, *, save_memory: bool) -> None:
        super().__init__(voice, lora, save_memory=save_memory)
        self.own = own

    def meet(self, clips: Sequence[Turn]) -> None:
        self.voice.meet(clips)

    def batch(self, dialogues: Sequence[Sequence[Turn]], seed: int, part: Part = WHOLE) -> XttsBatch:
        draw = np.random.default_rng(seed)
        return self.voice.batch(dialogues, draw.integers(0, 2, len(dialogues)).tolist(), part)

    def exam(self, dialogues: Sequence[Sequence[Turn]], part: Part = WHOLE) -> XttsBatch:
        return self.voice.batch(dialogues, [0] * len(dialogues), part)

    def evaluate(self, exam: XttsBatch) -> Losses:
        return self.voice.losses(exam, self.own.text_weight)


class XttsWholeCourse(XttsCourse):
    """All weights of the language model but those that hear the reference, which ran when the clips were encoded."""

    name = KIND
    exam_cost = 1 / 3  # the way back also makes gradients of all weights

    def begin(self) -> None:
        for weight in self.voice.base.parameters():
            weight.requires_grad_(False)
        for weight in learnt(self.voice.base).values():
            weight.requires_grad_(True)
        self.voice.begin_whole()
        if self.saving:
            self.voice.base.gradient_checkpointing_enable({"use_reentrant": False})

    @property
    def objectives(self) -> Sequence[Objective]:
        return (Objective(self.name, list(learnt(self.voice.base).values()), self.evaluate, BETAS),)

    def weights(self) -> dict[str, Tensor]:
        return {name: weight.detach().cpu().clone() for name, weight in learnt(self.voice.base).items()}

    def set_weights(self, values: Mapping[str, Tensor]) -> None:
        put_in(self.voice.base, values)

    def saved(self, folder: Path) -> None:
        """A whole model that is learnt again would be learnt ever further away from the base."""

    def effect(self, turns: Sequence[Turn]) -> float:
        tuned = self.weights()
        with torch.no_grad(), evaluating(self.voice.base):
            after = self.voice.logits(turns)
            self.set_weights(self.voice.untuned)
            before = self.voice.logits(turns)
        self.set_weights(tuned)
        return float((after - before).abs().max())


def learnt(gpt: SpeechGpt) -> dict[str, Any]:
    return {name: weight for name, weight in gpt.named_parameters() if not name.startswith(FROZEN)}


def put_in(gpt: SpeechGpt, values: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, weight in learnt(gpt).items():
            weight.copy_(values[name])


def losses(gpt: SpeechGpt, batch: XttsBatch, text_weight: float) -> Losses:
    """Two means; of a part of a batch, each weighed by its share of the targets."""
    batch = XttsBatch(*(values.to(gpt.device, non_blocking=True) for values in batch))
    text, codes = (labelled.loss() for labelled in gpt.labelled(batch))
    text, codes = text * batch.shares[0], codes * batch.shares[1]
    return Losses(text_weight * text + codes, {"text": text, "codes": codes})


def made_batch(texts: Sequence[list[int]], turns: Sequence[Turn], halves: Sequence[int], part: Part) -> XttsBatch:
    """Each row hears one half of its clip, and learns the codes of the other."""
    clips = [turn.codes for turn in turns]
    spans = [_span(clip, half) for clip, half in zip(clips, halves, strict=True)]
    lengths = [_count(clip) for clip in clips]
    targets = learnt_codes(lengths, spans)
    counts = np.array([
        [len(text) + 1, int(row[:length].sum()) + STOPS]
        for text, row, length in zip(texts, targets, lengths, strict=True)
    ])  # fmt: skip
    mine = slice(part.number, None, part.of)
    own = own_rows(len(turns), part)
    shares = counts[mine].sum(0) / counts.sum(0)
    latents = [_latents(clips[row], halves[row]) for row in own]
    return XttsBatch(
        torch.stack(latents), padded([texts[row] for row in own]), torch.tensor([len(texts[row]) for row in own]),
        padded([_codes(clips[row]) for row in own]), torch.tensor([lengths[row] for row in own]),
        targets[own, : max(lengths[row] for row in own)], torch.tensor(shares, dtype=torch.float32),
    )  # fmt: skip


def _codes(clip: Any) -> list[int]:
    return [] if clip is None else clip["codes"][:, 0].tolist()


def _count(clip: Any) -> int:
    return len(_codes(clip))


def _span(clip: Any, half: int) -> tuple[int, int] | None:
    return None if clip is None else (int(clip["spans"][half, 0]), int(clip["spans"][half, 1]))


def _latents(clip: Any, half: int) -> Tensor:
    return torch.from_numpy(clip["latents"][half]).float()


def save_whole(gpt: SpeechGpt, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: weight.detach().cpu().to(torch.float16).contiguous() for name, weight in learnt(gpt).items()}
    save_file(state, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps({"timbre": KIND}, indent=2, sort_keys=True) + "\n")


def is_whole(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / CONFIG).read_text()).get("timbre") == KIND)
    except (OSError, json.JSONDecodeError) as error:
        raise ModelError(f"{folder}/{CONFIG} cannot be read; run `dvc repro -f train`") from error


def load_whole(gpt: SpeechGpt, folder: Path) -> None:
    try:
        state = load_file(folder / WEIGHTS)
        put_in(gpt, {name: value.float() for name, value in state.items()})
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise ModelError(f"{folder} does not fit the base model; run `dvc repro -f train`") from error
