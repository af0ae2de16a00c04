"""What GPT-SoVITS learns, in two courses: an adapter on stage 1, then stage 2 as a whole against its discriminators.

Upstream has no evaluation loss. Here stage 1 is judged by the loss on held-out codes, and stage 2 by how far its log
mels are from those of held-out recordings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from timbre.core.sections import SovitsParams
from timbre.families.batch_rows import own_rows, padded
from timbre.families.lora import LoraCourse
from timbre.families.protocol import WHOLE, Lora, Losses, Objective, Part, Turn
from timbre.families.sovits.discriminators import (
    Discriminators,
    adversarial_loss,
    discriminator_loss,
    feature_loss,
)  # fmt: skip
from timbre.families.sovits.hearing import magnitudes_of, sound_of, vector_of
from timbre.families.sovits.spectrogram import HOP, Spectrograms
from timbre.families.sovits.stage1 import Stage1, Stage1Batch
from timbre.families.sovits.stage2 import FRAMES, Learnt, Stage2, Stage2Batch, mel_distance, prior_divergence

if TYPE_CHECKING:
    from timbre.families.sovits.voice import Sovits

BETAS = (0.8, 0.99)  # of AdamW in stage 2, as upstream trains
FROZEN = ("ssl_proj.", "codebook")  # the quantiser: other codes would be another language
TEXT_PARTS = ("enc_p.text_embedding", "enc_p.encoder_text", "enc_p.mrte")
GENERATOR, JUDGES = "generator.", "judges."  # before their names among a course's weights


class WaveBatch(NamedTuple):
    """Stage 2's batch, the recorded segments that the generated ones are compared with, and this part's share."""

    batch: Stage2Batch
    recorded: Tensor  # (B, samples)
    share: Tensor  # () of the whole batch's rows


class Stage1Course(LoraCourse):
    """An adapter on stage 1."""

    name = "stage1"
    voice: Sovits

    def __init__(self, voice: Sovits, lora: Lora, own: SovitsParams, *, save_memory: bool) -> None:
        super().__init__(voice, lora, save_memory=save_memory)
        self.own = own

    def meet(self, clips: Sequence[Turn]) -> None:
        self.voice.meet(clips)

    def batch(self, dialogues: Sequence[Sequence[Turn]], seed: int, part: Part = WHOLE) -> tuple[Stage1Batch, Tensor]:
        return self.voice.batch([turns[-1] for turns in dialogues], part)

    def exam(self, dialogues: Sequence[Sequence[Turn]], part: Part = WHOLE) -> tuple[Stage1Batch, Tensor]:
        return self.batch(dialogues, 0, part)

    def saved(self, folder: Path) -> None:
        """Stage 2 cannot begin so, and the stages belong together."""


class Stage2Course:
    """Stage 2 as a whole; see `timbre.families.protocol.Course`."""

    name = "stage2"
    main = ""  # an evaluation's total is the distance of log mels
    exam_cost = 1 / 6  # forwards alone, where a step goes both ways through the generator and twice through the judges

    def __init__(self, voice: Sovits, judges: Discriminators, own: SovitsParams) -> None:
        self.voice, self.judges, self.own = voice, judges, own
        self.changes: Mapping[str, Any] = {"learning_rate": own.stage2_learning_rate, "epochs": own.stage2_epochs}
        self.model = nn.ModuleList([voice.stage2, judges])
        self.spectrograms = voice.spectrograms
        self.untuned: dict[str, Tensor] = {}
        self.judged: tuple[WaveBatch, Learnt] | None = None

    def meet(self, clips: Sequence[Turn]) -> None:
        self.voice.meet(clips)

    def begin(self) -> None:
        for name, weight in self.voice.stage2.named_parameters():
            weight.requires_grad_(not name.startswith(FROZEN))
        self.judges.requires_grad_(True)
        self.untuned = {name: weight.detach().cpu().clone() for name, weight in learnt(self.voice.stage2).items()}
        self.voice.stage2_learnt = True

    @property
    def objectives(self) -> Sequence[Objective]:
        own = learnt(self.voice.stage2)
        text = [weight for name, weight in own.items() if name.startswith(TEXT_PARTS)]
        return (
            Objective("judges", list(self.judges.parameters()), self.judge, BETAS),
            Objective("generator", list(own.values()), self.generate, BETAS, (self.own.text_rate, text)),
        )

    @property
    def stacks(self) -> Sequence[Any]:
        return ()

    def judge(self, batch: WaveBatch) -> Losses:
        self.judged = None
        here = self._here(batch)
        made = self.voice.stage2.learn(here.batch)
        if torch.is_grad_enabled():
            self.judged = batch, made  # until the generator's objective, nothing changes what it was made by
        loss = discriminator_loss(self.judges(here.recorded[:, None]), self.judges(made.sound.detach()[:, None]))
        return Losses(loss * here.share, {})

    def generate(self, batch: WaveBatch) -> Losses:
        judged, self.judged = self.judged, None
        same = judged is not None and judged[0] is batch
        batch = self._here(batch)
        made = judged[1] if judged and same else self.voice.stage2.learn(batch.batch)
        with frozen(self.judges):
            recorded, generated = self.judges(batch.recorded[:, None]), self.judges(made.sound[:, None])
        parts = {
            "mel": self.own.mel_weight * mel_distance(self.spectrograms, made, batch.batch),
            "divergence": self.own.divergence_weight * prior_divergence(made, batch.batch.frames),
            "features": feature_loss(recorded, generated),
            "adversarial": adversarial_loss(generated),
        }
        shared = {name: loss * batch.share for name, loss in parts.items()}
        return Losses(torch.stack(list(shared.values())).sum(), shared)

    def batch(self, dialogues: Sequence[Sequence[Turn]], seed: int, part: Part = WHOLE) -> WaveBatch:
        return wave_batch(self.voice, [turns[-1] for turns in dialogues], np.random.default_rng(seed), part)

    def exam(self, dialogues: Sequence[Sequence[Turn]], part: Part = WHOLE) -> WaveBatch:
        return wave_batch(self.voice, [turns[-1] for turns in dialogues], None, part)

    def evaluate(self, exam: WaveBatch) -> Losses:
        exam = self._here(exam)
        made = self.voice.stage2.learn(exam.batch)
        distance = mel_distance(self.spectrograms, made, exam.batch) * exam.share
        return Losses(distance, {"divergence": prior_divergence(made, exam.batch.frames) * exam.share})

    def _here(self, batch: WaveBatch) -> WaveBatch:
        device = self.voice.device
        rows = batch.batch
        values = {name: value.to(device) for name, value in rows._asdict().items() if isinstance(value, Tensor)}
        return WaveBatch(rows._replace(**values), batch.recorded.to(device), batch.share.to(device))

    def weights(self) -> dict[str, Tensor]:
        parts = {GENERATOR: learnt(self.voice.stage2), JUDGES: dict(self.judges.named_parameters())}
        return {
            part + name: weight.detach().cpu().clone() for part, own in parts.items() for name, weight in own.items()
        }

    def set_weights(self, values: Mapping[str, Tensor]) -> None:
        own, judges = learnt(self.voice.stage2), dict(self.judges.named_parameters())
        with torch.no_grad():
            for name, value in values.items():
                part, _, rest = name.partition(".")
                (own if f"{part}." == GENERATOR else judges)[rest].copy_(value)

    def saved(self, folder: Path) -> None:
        """Its judges are not kept, and without them it would begin by unlearning."""

    def effect(self, turns: Sequence[Turn]) -> float:
        exam = self.exam([turns])
        tuned = {f"{GENERATOR}{name}": weight.detach().clone() for name, weight in learnt(self.voice.stage2).items()}
        with torch.no_grad():
            after = self.voice.stage2.learn(self._here(exam).batch).m_p
            self.set_weights({f"{GENERATOR}{name}": weight for name, weight in self.untuned.items()})
            before = self.voice.stage2.learn(self._here(exam).batch).m_p
        self.set_weights(tuned)
        return float((after - before).abs().max())


@contextmanager
def frozen(judges: Discriminators) -> Iterator[None]:
    """What is computed here gives gradients to what is judged alone, and keeps nothing of what needs none."""
    judges.requires_grad_(False)
    try:
        yield
    finally:
        judges.requires_grad_(True)


def learnt(stage2: Stage2) -> dict[str, Any]:
    return {name: weight for name, weight in stage2.named_parameters() if not name.startswith(FROZEN)}


def mean_losses(model: Stage1, batch: tuple[Stage1Batch, Tensor]) -> Losses:
    """The mean over codes and ends; of a part of a batch, weighed by its share."""
    rows = Stage1Batch(*(None if value is None else value.to(model.device) for value in batch[0]))
    loss = model.losses(rows).sum() / (rows.code_lengths + 1).sum() * batch[1].to(model.device)
    return Losses(loss, {})


def stage1_batch(
    phones: Sequence[list[int]], codes: Sequence[list[int]], eos: int, part: Part
) -> tuple[Stage1Batch, Tensor]:
    mine = slice(part.number, None, part.of)
    own = own_rows(len(phones), part)
    counts = np.array([len(row) + 1 for row in codes])
    share = torch.tensor(counts[mine].sum() / counts.sum(), dtype=torch.float32)
    rows = ([phones[row] for row in own], [codes[row] for row in own])
    lengths = [torch.tensor([len(row) for row in kind]) for kind in rows]
    return Stage1Batch(padded(rows[0]), lengths[0], padded(rows[1], eos), lengths[1]), share


def wave_batch(voice: Sovits, turns: Sequence[Turn], draw: np.random.Generator | None, part: Part) -> WaveBatch:
    """Segments and noise are drawn for the whole batch; without `draw`, segments are the clips' middles."""
    sounds = [sound_of(turn) for turn in turns]
    segment = voice.stage2.segment
    room = [max(0, len(sound) // HOP - segment) for sound in sounds]
    starts = [int(draw.integers(0, most + 1)) if draw else most // 2 for most in room]
    seeds = [int(draw.integers(0, 2**62)) if draw else 0 for _ in turns]
    own = own_rows(len(turns), part)
    share = torch.tensor(len(turns[part.number :: part.of]) / len(turns), dtype=torch.float32)
    rows = [spectrum_row(voice.spectrograms_here, sounds[row], turns[row]) for row in own]
    longest = max(row.frames for row in rows)
    longest += longest % FRAMES  # whole codes
    texts = [voice.phones(turns[row]) for row in own]
    noise = torch.stack([
        F.pad(drawn_noise(voice.stage2.latents, made.frames, seeds[row]), (0, longest - made.frames))
        for row, made in zip(own, rows, strict=True)
    ])  # fmt: skip
    batch = Stage2Batch(
        torch.stack([F.pad(row.codes, (0, longest // FRAMES - len(row.codes))) for row in rows]),
        torch.stack([F.pad(row.magnitudes, (0, longest - row.frames)) for row in rows]),
        torch.tensor([row.frames for row in rows]), padded(texts), torch.tensor([len(text) for text in texts]),
        noise, [starts[row] for row in own],
        torch.cat([vector_of(turns[row], voice.stage2.speaker) for row in own]),
    )  # fmt: skip
    cuts = [sounds[row][starts[row] * HOP : (starts[row] + segment) * HOP] for row in own]
    return WaveBatch(batch, torch.stack([torch.from_numpy(np.ascontiguousarray(cut)) for cut in cuts]), share)


def drawn_noise(latents: int, frames: int, seed: int) -> Tensor:
    return torch.randn(latents, frames, generator=torch.Generator().manual_seed(seed))


class SpectrumRow(NamedTuple):
    magnitudes: Tensor  # (1025, frames)
    codes: Tensor  # (frames / 2, rounded up)
    frames: int


def spectrum_row(spectrograms: Spectrograms, sound: Any, turn: Turn) -> SpectrumRow:
    magnitudes = magnitudes_of(spectrograms, sound, torch.device("cpu"))[0]
    frames = magnitudes.shape[1]
    assert turn.codes is not None, "a clip has codes"
    codes = torch.from_numpy(turn.codes["codes"][:, 0].astype(np.int64))
    wanted = -(-frames // FRAMES)  # HuBERT leaves out the last ten milliseconds: the last code is said once more
    codes = F.pad(codes[None].float(), (0, max(0, wanted - len(codes))), mode="replicate")[0].long()[:wanted]
    return SpectrumRow(magnitudes, codes, frames)
