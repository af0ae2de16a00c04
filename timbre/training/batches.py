"""What a voice is taught, and in which order: clips with their words and codes, in batches, some after a reference.

All that is random follows from the seed and a number, so a run that was killed goes on with the very same batches. A
batch holds dialogues of like lengths, reference and clip together: sorted by the clips alone, every seventh position is
padding at 5 to 30 seconds a clip; so it is every sixteenth.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from timbre.core.content import content_key
from timbre.core.errors import DataError
from timbre.core.records import Example, read_jsonl
from timbre.families import Course, Part, Turn, Voice
from timbre.families import codes as clip_codes

BUCKET = 8  # batches whose dialogues are sorted by length together: little padding, and still another mix each epoch


class Utterance(NamedTuple):
    """A clip to learn from."""

    id: str
    speaker: str
    seconds: float
    turn: Turn
    recording: str = ""
    opening: Turn | None = None  # what of it can be heard before another clip


def utterances(table: Path, codes: Path, longest: float = math.inf) -> tuple[list[Utterance], list[str]]:
    """The table's clips with their codes, and the keys of these; what is heard before another takes up to `longest`."""
    clips, keys = [], []
    for example in read_jsonl(table, Example):
        try:
            keys.append(clip_codes.key(codes, example.id))
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{example.id}: no codes of this clip in {codes}; `dvc repro encode` makes them") from error
        turn = clip_codes.stored_turn(example, codes)
        opening = clip_codes.opening(turn, example, longest)
        clips.append(Utterance(example.id, example.source, example.seconds, turn, example.recording, opening))
    if not clips:
        raise DataError(f"{table}: no clips; add recordings, or change the shares under `dataset` in params.yaml")
    return clips, keys


def exam_clips(held: Sequence[Utterance], most: int) -> list[Utterance]:
    """The clips that evaluations use, chosen by content: an edit of one clip changes no other's place. Clips of like
    lengths lie beside each other."""
    chosen = sorted(held, key=lambda clip: content_key("exam", clip.id))[:most]
    return sorted(chosen, key=lambda clip: (clip.seconds, clip.id))


def check_lengths(voice: Voice, clips: Sequence[Utterance]) -> None:
    for clip in clips:
        if why := voice.fits([clip.turn]):
            raise DataError(f"{clip.id}: its {clip.seconds:.1f} s {why}; lower chunk.max_seconds")


def epoch_clips(speakers: Sequence[str], equal: bool) -> int:
    """How many clips an epoch has, where each of these is of the speaker named."""
    counts = Counter(speakers)
    return len(counts) * max(counts.values()) if equal else len(speakers)


class BatchOrder:
    """Each epoch every clip once, a `share` of them after the opening of another one of the speaker: so the voice
    learns to follow a reference. With `equal` shares, clips of speakers who have fewer come again, until each speaker
    has as many as the one with most."""

    def __init__(
        self, voice: Voice, clips: Sequence[Utterance], *, batch: int, share: float, seed: int, equal: bool = False
    ) -> None:
        self.clips, self.batch, self.share, self.seed, self.equal = clips, batch, share, seed, equal
        self.voice, self.lengths = voice, [voice.length([clip.turn]) for clip in clips]
        self.openings: dict[int, Turn] = {}  # by the clip's number
        self.before: dict[str, list[int]] = {}  # by speaker, the clips whose opening can be heard before another
        for number, clip in enumerate(clips):
            if clip.opening is not None:
                self.openings[number] = clip.opening
                self.before.setdefault(clip.speaker, []).append(number)
        self.heard = {number: voice.length([opening]) for number, opening in self.openings.items()}
        self.talks = epoch_clips([clip.speaker for clip in clips], equal)
        self.batches = -(-self.talks // batch)  # in an epoch
        self._epoch: tuple[int, list[list[list[int]]]] = (-1, [])

    @property
    def positions(self) -> float:
        """Of a batch, on average, without padding."""
        references = self.share * float(np.mean(list(self.heard.values()))) if self.heard else 0.0
        return self.talks / self.batches * (float(np.mean(self.lengths)) + references)

    def dialogues(self, number: int) -> list[list[Turn]]:
        """Of the `number`th batch of the run."""
        epoch, place = divmod(number, self.batches)
        if self._epoch[0] != epoch:
            self._epoch = epoch, self._batches(epoch)
        return [self._turns(talk) for talk in self._epoch[1][place]]

    def _batches(self, epoch: int) -> list[list[list[int]]]:
        """In an order of this epoch's own."""
        draw, size = random.Random(f"{self.seed} epoch {epoch}"), self.batch
        talks = [self._talk(clip, draw) for clip in self._drawn(draw)]
        draw.shuffle(talks)
        pools = [talks[i : i + size * BUCKET] for i in range(0, len(talks), size * BUCKET)]
        ranked = [sorted(pool, key=self._length) for pool in pools]
        batches = [pool[i : i + size] for pool in ranked for i in range(0, len(pool), size)]
        draw.shuffle(batches)
        return batches

    def _drawn(self, draw: random.Random) -> list[int]:
        """The clips of an epoch, by their numbers; which of a speaker's come once more than others is drawn."""
        every = list(range(len(self.clips)))
        if not self.equal:
            return every
        own = [[n for n in every if self.clips[n].speaker == name] for name in sorted({c.speaker for c in self.clips})]
        most = max(map(len, own))
        return [n for some in own for n in some * (most // len(some)) + draw.sample(some, most % len(some))]

    def _talk(self, clip: int, draw: random.Random) -> list[int]:
        fit = self.before.get(self.clips[clip].speaker, [])
        others = len(fit) - (clip in self.openings)
        if draw.random() >= self.share or not others:
            return [clip]
        while (reference := draw.choice(fit)) == clip:
            pass
        both = [reference, clip]
        return [clip] if self.voice.fits(self._turns(both)) else both

    def _turns(self, talk: Sequence[int]) -> list[Turn]:
        *before, clip = talk
        return [*(self.openings[reference] for reference in before), self.clips[clip].turn]

    def _length(self, talk: Sequence[int]) -> int:
        *before, clip = talk
        return sum(self.heard[reference] for reference in before) + self.lengths[clip]


class PreparedBatch(NamedTuple):
    seed: int  # of dropout
    batch: Any  # of the family's own; this process's part of it
    frames: int  # of sound, in all parts


def prepare(course: Course, order: BatchOrder, seed: int, part: Part, number: int) -> PreparedBatch:
    """The `number`th batch of the run; what is random in it follows from the number alone."""
    draw = random.Random(f"{seed} batch {number}")
    dropout = draw.getrandbits(63) + part.number
    dialogues = order.dialogues(number)
    frames = sum(clip_codes.frames(turn.codes) for talk in dialogues for turn in talk if turn.codes is not None)
    return PreparedBatch(dropout, course.batch(dialogues, draw.getrandbits(63), part), frames)
