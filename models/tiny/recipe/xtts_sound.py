"""Goes on training the tiny XTTS' vocoder on the language model's states, then writes all of it as a release lies.

The matrix by which the states guess the features becomes part of the vocoder's first layer, and the speaker encoder's
vectors take the place of the table of voices, as nearly as a matrix can: so it starts with a voice. The language model
and what makes its codes stay as they are.

Reads   <work>/xtts-sounds.pt, xtts-features.pt, xtts-codec.pt, xtts-speaker.pt, xtts-vocoder.pt, xtts-gpt.pt
Writes  <work>/xtts-sound.pt (resumable), and the folder given by --out

Run:  python recipe/xtts_sound.py [--minutes 25] [--out xtts]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
import xtts_vocoder
from corpus import HERE, RATE, WORK
from timed_training import params, script, train
from torch import Tensor, nn
from torch.nn import functional as F
from xtts import Batch, Learner, Lessons
from xtts_model import CHANNELS, build, save
from xtts_sounds import Heard, Sounds, framed
from xtts_speaker import VECTOR, WIDTHS
from xtts_vocoder import CODES, ROWS, Crops, sound_of

from timbre.families.xtts.speaker import SpeakerEncoder
from timbre.families.xtts.vocoder import LatentVocoder

EACH = 12  # utterances of a voice whose vectors are known
STRAY = 0.04  # of the vectors' numbers, at random: a new voice's is none of these
STOCK = 24  # pieces of a reference that a stock speaker's latents are the mean of


@torch.no_grad()
def vectors(speaker: SpeakerEncoder, sounds: Sounds) -> dict[str, Tensor]:
    """Voice → (EACH, VECTOR), of single utterances."""
    made = {}
    for voice, rows in sounds.of_voice.items():
        mine = []
        for row in rows[:EACH]:
            sound = soxr.resample(sounds.corpus[sounds.rows[row]], RATE * float(sounds.speeds[row]), RATE)
            mine.append(speaker(torch.from_numpy(sound.astype(np.float32))[None])[0])
        made[voice] = torch.stack(mine)
    return made


def joined(features: LatentVocoder, who: Tensor, guess: nn.Linear, means: Tensor) -> LatentVocoder:
    """The vocoder of features as one of the states: (voices, VECTOR) of its table are guessed from their means."""
    made = LatentVocoder(CHANNELS, VECTOR, xtts_vocoder.WIDTH)
    known = {n: p for n, p in features.state_dict().items() if not n.startswith("conv_pre.")}
    made.load_state_dict(known, strict=False)
    turn = torch.linalg.solve(means.T @ means + 0.05 * torch.eye(VECTOR), means.T @ who)  # means @ turn is about who
    with torch.no_grad():
        kernel = features.conv_pre.weight  # (width, features, 7)
        made.conv_pre.weight.copy_(torch.einsum("okt,kc->oct", kernel, guess.weight))
        made.conv_pre.bias.copy_(features.conv_pre.bias + torch.einsum("okt,k->o", kernel, guess.bias))
        for cond in (made.cond_layer, *made.conds):
            cond.weight.copy_(torch.einsum("okt,vk->ovt", cond.weight, turn))
    return made


class Spoken:
    """What the language model's states are where it is told what was said: batches of crops, with their sound."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.lessons = Lessons(params)
        sounds = self.lessons.sounds
        state = torch.load(WORK / "xtts-gpt.pt", weights_only=True)
        phones = int(sounds.phone.max()) + 1
        self.learner = Learner(
            build(self.lessons.words), len(self.lessons.features.scale), phones, len(self.lessons.names)
        )
        self.learner.load_state_dict(state["average"])
        self.learner.half().float().eval().requires_grad_(False)  # as it is kept
        self.speaker = SpeakerEncoder(WIDTHS, VECTOR)
        self.speaker.load_state_dict(torch.load(WORK / "xtts-speaker.pt", weights_only=True))
        self.speaker.half().float().eval().requires_grad_(False)
        self.vectors = vectors(self.speaker, sounds)
        self.crops = Crops(sounds, self.lessons.features)

    def vector(self, voice: str, random: np.random.Generator) -> Tensor:
        """The mean of some utterances', as of a reference or of clips; a little off."""
        some = random.choice(EACH, size=int(random.integers(1, EACH + 1)), replace=False)
        mean = F.normalize(self.vectors[voice][some].mean(0), dim=0)
        return F.normalize(mean + STRAY * torch.randn(VECTOR), dim=0)

    def sentences(self, random: np.random.Generator, count: int) -> list[Heard]:
        """Whole ones, for only they have a sound."""
        voices = list(dict.fromkeys(self.lessons.voice(random) for _ in range(count)))
        drawn: list[Heard] = []
        while len(drawn) < count:
            heard = framed(self.lessons.sounds.sentence(str(random.choice(voices)), random, spliced=0), random)
            if CODES * 4 + 4 < len(heard.mel) < 420:
                drawn.append(heard)
        return drawn

    @torch.no_grad()
    def states(self, batch: Batch) -> Tensor:  # (B, M, C)
        pieces = self.learner.latents(batch).float()
        latents = torch.einsum("bv,vlc->blc", batch.which, pieces)
        states, _ = self.learner.states(latents, batch, batch.codes[:, :-1])
        return states[:, latents.shape[1] + batch.text.shape[1] :]

    def batch(self, random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """States (ROWS, CODES, C), vectors, sound: two crops of each sentence."""
        many = self.sentences(random, ROWS // 2)
        voices = list(dict.fromkeys(h.voice for h in many))
        states = self.states(self.lessons.stacked(many, voices, random))
        crops, true, who = [], [], []
        for heard, mine in zip(many, states, strict=True):
            for _ in range(2):
                start = int(random.integers(0, len(heard.mel) // 4 - CODES + 1))
                crops.append(mine[start : start + CODES])
                sound = self.crops.sound_from(heard.row, heard.start + 4 * start, self.crops.samples)
                true.append(torch.from_numpy(sound * np.float32(heard.gain)))
                who.append(self.vector(heard.voice, random))
        return torch.stack(crops), torch.stack(who), torch.stack(true)

    @torch.no_grad()
    def stock(self, names: Sequence[str]) -> dict[str, tuple[Tensor, Tensor]]:
        """Speakers that come with the model: latents (1, 32, C) and vector (1, VECTOR)."""
        random, out = np.random.default_rng(0), {}
        for name in names:
            pieces = torch.stack([self.lessons.sounds.piece(name, random, 200).float() for _ in range(STOCK)])
            latents = self.learner.gpt.latents((pieces / self.lessons.features.stats).transpose(1, 2))
            out[name] = latents.mean(0, keepdim=True), F.normalize(self.vectors[name].mean(0, keepdim=True))
        return out


class Course(xtts_vocoder.Course):
    """The vocoder on states."""

    name, minutes, rate = "xtts-sound.pt", "sound_minutes", "sound_rate"

    def begin(self, params: dict[str, Any]) -> dict[str, nn.Parameter]:
        self.source = Spoken(params)
        state = torch.load(WORK / "xtts-vocoder.pt", weights_only=True)["average"]
        before = LatentVocoder(len(self.source.lessons.features.scale), VECTOR, xtts_vocoder.WIDTH)
        before.load_state_dict({n.removeprefix("vocoder."): p for n, p in state.items() if n.startswith("vocoder.")})
        means = torch.stack([F.normalize(mine.mean(0), dim=0) for mine in self.source.vectors.values()])
        self.vocoder = joined(before, state["who.weight"], self.source.learner.features, means)
        return dict(self.vocoder.named_parameters())

    def spoken(self) -> tuple[Tensor, Tensor]:
        states, vector, true = self.source.batch(self.random)
        return sound_of(self.vocoder, states, vector), true

    def export(self, folder: Path) -> None:
        made = LatentVocoder(CHANNELS, VECTOR, xtts_vocoder.WIDTH)
        made.load_state_dict(self.average)
        lessons, gpt = self.source.lessons, self.source.learner.gpt
        stock = self.source.stock(lessons.sounds.base)
        save(folder, lessons.words, gpt, made, self.source.speaker, lessons.codec, lessons.features.stats, stock)


def main() -> None:
    parser = script(__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "xtts")
    args = parser.parse_args()
    course = Course(params("xtts", "sound_minutes", args))
    train(course)
    course.export(args.out)


if __name__ == "__main__":
    main()
