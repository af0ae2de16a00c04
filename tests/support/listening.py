"""A listening test on made-up sounds, and listeners who answer it by a rule."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence

import numpy as np
import soundfile

from timbre.core.records import SPOILT, TRUE, ListeningAnswer
from timbre.project.listening_tests import ListeningScreen, ListeningTest, answers_to
from timbre.web.compare.planning import ComparedVoice, plan
from timbre.web.compare.sitting import Sitting

RATE = 16_000  # Hz
GOOD, BAD, OTHER = "tuned_clone@" + "a" * 16, "base_clone@" + "b" * 16, "tuned@" + "c" * 16
Rule = Callable[[ListeningScreen], str]


def tone(pitch: float, level: float, seconds: float = 0.6) -> bytes:
    """A hum that swells, as FLAC: loudness can be measured of it."""
    time = np.arange(round(seconds * RATE)) / RATE
    sound = level * np.sin(2 * np.pi * pitch * time) * np.sin(np.pi * time / seconds)
    buffer = io.BytesIO()
    soundfile.write(buffer, sound, RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def name_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def made_up(prompts: int, voices: Sequence[str] = (GOOD, BAD)) -> tuple[list[ComparedVoice], dict[str, bytes]]:
    contents: dict[str, bytes] = {}
    compared = []
    for place, key in enumerate(voices):
        sounds = {}
        for number in range(prompts):
            content = tone(200 + 90 * place + number, 0.1 + 0.3 * place)
            contents[name_of(content)] = content
            sounds[f"p{number}"] = name_of(content)
        compared.append(ComparedVoice(key, sounds))
    return compared, contents


def sitting(kind: str = "ab", prompts: int = 3, listener: str = "ann", seed: int = 0) -> Sitting:
    compared, contents = made_up(prompts)
    texts = {f"p{number}": f"Sentence number {number}." for number in range(prompts)}
    truths = {}
    for prompt in texts:
        content = tone(150 + len(truths), 0.2)
        contents[name_of(content)] = content
        truths[prompt] = name_of(content)
    test = plan(kind, compared, texts, truths, prompts, seed)
    return Sitting(test, contents.__getitem__, truths["p0"], listener)


def likes(voice: str) -> Rule:
    """Prefers this voice to every other, hears noise and what is the same."""

    def answer(screen: ListeningScreen) -> str:
        names = [one.voice for one in screen.stimuli]
        if screen.kind == "rating":
            return ",".join({TRUE: "100", voice: "80", SPOILT: "5"}.get(name, "40") for name in names)
        if screen.kind == "abx":
            return screen.hidden
        if screen.stimuli[0] == screen.stimuli[1] or (voice not in names and SPOILT not in names):
            return "neither"
        if SPOILT in names:
            return "first" if names[1] == SPOILT else "second"
        return "first" if names[0] == voice else "second"

    return answer


def guesses(seed: int) -> Rule:
    """Does not listen."""
    chance = np.random.default_rng(seed)

    def answer(screen: ListeningScreen) -> str:
        if screen.kind == "rating":
            return ",".join(str(chance.integers(0, 101)) for _ in screen.stimuli)
        return str(chance.choice(["first", "second"] if screen.kind == "abx" else ["first", "second", "neither"]))

    return answer


def answered(test: ListeningTest, rule: Rule) -> list[ListeningAnswer]:
    return [row for number, screen in enumerate(test.screens, 1) for row in answers_to(test, number, rule(screen), 2.5)]
