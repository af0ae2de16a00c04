"""A text of any length, sentence by sentence: each hears those before it, with a pause between by their punctuation.

    script = Narration(passages("First. [pause:1s] Second.", "en"), manner_of(voice, params, seed=3))

A sentence that says nothing, or runs into its cap where nobody has heard it yet, is spoken again with another seed.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import sentencex

from timbre.core.content import content_key
from timbre.core.errors import DataError
from timbre.core.sections import GenerateParams
from timbre.core.text import normalise
from timbre.families import Audio, Request, Turn, Voice
from timbre.families import codes as clip_codes
from timbre.families.slots import Drawing
from timbre.synthesis import sentence
from timbre.synthesis.engine import Ask, Outcome

LONGEST = 220  # characters of a sentence; a longer one is cut at a comma, or else between words
PAUSES = {".": 0.2, "?": 0.25, "!": 0.25, ";": 0.15, ":": 0.15, ",": 0.1}  # seconds, after what ends so
PARAGRAPH = 0.5  # seconds, after an empty line
LONGEST_PAUSE = 10.0  # seconds that a mark may ask for
TRIES = 3
LEAST = 0.1  # seconds of sound; a sentence with less said nothing
_PAUSE = re.compile(r"\[pause:\s{0,3}(\d{1,5}(?:\.\d{1,3})?)\s{0,3}(ms|s)\]", re.IGNORECASE)
_BREAK = re.compile(r"(?<=[,;:])\s+")


class Passage(NamedTuple):
    text: str
    pause: float  # seconds of silence before it


@dataclass(frozen=True)
class Manner:
    """How all sentences of a text are spoken."""

    params: GenerateParams
    drawing: Drawing
    seed: int = 0
    adapter: str | None = None
    reference: tuple[Turn, ...] = ()
    whole: bool = False  # nobody listens before the end, so that every bad sentence can be spoken again
    frame_rate: float = 12.5  # of codes per second
    sample_rate: int = 24_000  # Hz
    like: Turn | None = None  # who speaks, and in which language, where there is no reference


class SoundRates(Protocol):
    """A voice, or the slots of one."""

    @property
    def frame_rate(self) -> float: ...
    @property
    def sample_rate(self) -> int: ...


def manner_of(
    voice: SoundRates, params: GenerateParams, *, seed: int = 0, reference: tuple[Turn, ...] = (),
    like: Turn | None = None, adapter: str | None = None, whole: bool = False, temperature: float | None = None,
    top_p: float | None = None,
) -> Manner:  # fmt: skip
    """As the section `generate` says, but for what a caller asks otherwise."""
    drawing = Drawing(
        params.temperature if temperature is None else temperature, params.top_k,
        params.top_p if top_p is None else top_p, params.repetition_penalty,
    )  # fmt: skip
    return Manner(params, drawing, seed, adapter, reference, whole, voice.frame_rate, voice.sample_rate, like)


def passages(text: str, language: str = "en") -> list[Passage]:
    """DataError where nothing is to be said."""
    split = list(_passages(text, language))
    if not any(character.isalnum() for passage in split for character in passage.text):
        raise DataError("there is nothing to say: the text has no letter and no digit")
    return split


def _passages(text: str, language: str) -> Iterator[Passage]:
    pause = 0.0
    for number, part in enumerate(_PAUSE.split(text)):
        kind = number % 3  # a text, the number of a mark, its unit
        if kind == 1:
            asked = float(part)
        elif kind == 2:
            pause = min(LONGEST_PAUSE, pause + asked / (1000 if part.lower() == "ms" else 1))
        else:
            for place, paragraph in enumerate(re.split(r"\n[ \t]*\n", part)):
                pause = max(pause, PARAGRAPH) if pause and place else pause
                for spoken in sentences(paragraph, language):
                    yield Passage(spoken, pause)
                    pause = PAUSES.get(spoken.rstrip("\"')]}")[-1:], 0.1)


def sentences(text: str, language: str = "en") -> Iterator[str]:
    """Pieces that a voice says in one breath; one without a letter or digit joins the next, or goes at the end."""
    waiting = ""
    for sentence_text in sentencex.segment(language.split("-")[0], normalise(text)):
        waiting = f"{waiting} {sentence_text.strip()}".strip()
        if any(character.isalnum() for character in waiting):
            yield from cut(waiting)
            waiting = ""


def cut(text: str) -> Iterator[str]:
    while len(text) > LONGEST:
        breaks = [match.end() for match in _BREAK.finditer(text, 0, LONGEST)] or [text.rfind(" ", 1, LONGEST) + 1]
        at = breaks[-1] if breaks[-1] > 0 else LONGEST
        yield text[:at].strip()
        text = text[at:].strip()
    if text:
        yield text


class Narration:
    """See `timbre.synthesis.engine.Script`."""

    def __init__(self, parts: Sequence[Passage], manner: Manner) -> None:
        self.parts, self.manner = parts, manner
        self.number = 0  # of the sentence that is spoken
        self.tries = 1
        self.earlier: list[Turn] = []  # with their sound
        self.cut: list[str] = []  # sentences that ran into their cap, and silent ones, after all tries
        self.repeated = 0

    def next(self, last: Outcome | None) -> Ask | None:
        if last is not None:
            if self._failed(last) and self.tries < TRIES:
                self.tries, self.repeated = self.tries + 1, self.repeated + 1
                return self._ask(again=True)
            self._keep(last)
            self.number, self.tries = self.number + 1, 1
        return self._ask() if self.number < len(self.parts) else None

    def _failed(self, last: Outcome) -> bool:
        silent = len(last.sound) < LEAST * self.manner.sample_rate
        return silent or (self.manner.whole and not last.ended)

    def _keep(self, last: Outcome) -> None:
        text = self.parts[self.number].text
        if not last.ended or not len(last.sound):
            self.cut.append(text)
        elif last.codes is not None:
            like = self.manner.reference[-1] if self.manner.reference else self.manner.like or Turn("")
            self.earlier.append(like._replace(text=text, codes=last.codes, clip=None))

    def _ask(self, again: bool = False) -> Ask:
        manner, part = self.manner, self.parts[self.number]
        context = (*manner.reference, *self._window())
        like = None if context else manner.like
        request: Request = sentence.request(part.text, manner.params, seed=self._seed(), context=context, like=like)
        return Ask(request, manner.drawing, manner.adapter, part.pause, manner.whole, again)

    def _window(self) -> list[Turn]:
        """The last sentences, as far back as may be heard."""
        frames, turns = 0, 0
        for turn in reversed(self.earlier):
            frames += 0 if turn.codes is None else clip_codes.frames(turn.codes)
            if frames > self.manner.params.heard_before * self.manner.frame_rate:
                break
            turns += 1
        return self.earlier[len(self.earlier) - turns :]

    def _seed(self) -> int:
        """Of the first sentence's first try, the one that was asked for: as `timbre say` draws it."""
        if self.number == 0 and self.tries == 1:
            return self.manner.seed
        return int(content_key(self.manner.seed, self.number, self.tries), 16) % 2**63


def narrated(voice: Voice, script: Narration) -> Generator[Audio, None, bool]:
    """A text by one voice, without an engine; returns whether every sentence ended by itself."""
    last: Outcome | None = None
    rest, ahead = 0.0, list[Audio]()
    while True:
        ask = script.next(last)
        if ahead and not (ask and ask.again):  # what was held back, and is good
            yield from with_rest(rest, ahead, voice.sample_rate)
        if ask is None:
            return not script.cut
        rest, ahead = rest if ask.again else ask.pause, []
        pieces, spoken = list[Audio](), voice.stream(ask.request, ask.how.speaking())
        while True:
            try:
                piece = next(spoken)
            except StopIteration as end:
                ended = bool(end.value)
                break
            pieces.append(piece)
            if not ask.held:
                yield from with_rest(rest, [piece], voice.sample_rate)
                rest = 0.0
        ahead = pieces if ask.held else []
        sound = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
        follows = len(sound) and script.number + 1 < len(script.parts) and voice.hearing_rate == voice.sample_rate
        last = Outcome(sound, ended, voice.encode([sound])[0] if follows else None)


def with_rest(seconds: float, sounds: Sequence[Audio], rate: int) -> Iterator[Audio]:
    if seconds:
        yield np.zeros(round(seconds * rate), np.float32)
    yield from sounds
