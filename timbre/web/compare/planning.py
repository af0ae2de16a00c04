"""Which sounds stand beside each other in a listening test, in random order, with catch trials between them.

A catch trial has an answer that everybody knows who listens: the same sound twice, or one of two with noise in it.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from timbre.core.errors import DataError
from timbre.core.records import SPOILT, TRUE
from timbre.project.listening_tests import ListeningScreen, ListeningTest, Stimulus

CATCHES = 6  # at least, of which who guesses gets too few right; half spoilt, half the same sound twice
EVERY = 4  # trials, from which on there is one more


@dataclass(frozen=True)
class ComparedVoice:
    key: str  # as in data/opinions
    sounds: Mapping[str, str]  # prompt → name of its sound


def plan(
    kind: str,
    voices: Sequence[ComparedVoice],
    texts: Mapping[str, str],
    truths: Mapping[str, str],
    count: int,
    seed: int,
) -> ListeningTest:
    """`truths` is the name of the speaker's own recording of a prompt, where there is one."""
    chance = random.Random(seed)
    if kind == "rating":
        screens = list(_ratings(voices, texts, truths, count, chance))
    else:
        pairs = list(_pairs(voices, count, chance))
        screens = [_pair(kind, prompt, texts[prompt], pair, chance) for prompt, pair in pairs]
        _put_between(screens, list(_catches(kind, pairs, texts, chance)), chance)
    if not screens:
        raise DataError("there is nothing to compare: no sentence sounds different in the two voices")
    return ListeningTest(secrets.token_hex(6), kind, tuple(screens))


def _pairs(
    voices: Sequence[ComparedVoice], count: int, chance: random.Random
) -> Iterator[tuple[str, tuple[Stimulus, Stimulus]]]:
    """Every two voices equally often; each sentence of two voices once, and none that sounds the same in both."""
    queues = []
    for one, other in combinations(voices, 2):
        shared = [p for p in one.sounds if p in other.sounds and one.sounds[p] != other.sounds[p]]
        chance.shuffle(shared)
        queues.append([(p, (Stimulus(one.key, one.sounds[p]), Stimulus(other.key, other.sounds[p]))) for p in shared])
    turns = [
        queue[place] for place in range(max(map(len, queues), default=0)) for queue in queues if place < len(queue)
    ]
    yield from turns[:count]


def _pair(kind: str, prompt: str, text: str, pair: tuple[Stimulus, Stimulus], chance: random.Random) -> ListeningScreen:
    """Either may come first."""
    first, second = chance.sample(pair, 2)
    return ListeningScreen(
        kind, prompt, text, (first, second), chance.choice(("first", "second")) if kind == "abx" else ""
    )


def _catches(
    kind: str,
    pairs: Sequence[tuple[str, tuple[Stimulus, Stimulus]]],
    texts: Mapping[str, str],
    chance: random.Random,
) -> Iterator[ListeningScreen]:
    for number in range(max(CATCHES, len(pairs) // EVERY) if pairs else 0):
        prompt, pair = chance.choice(pairs)
        sound = chance.choice(pair)
        # whether X is the one or the other cannot be heard where both are the same
        other = Stimulus(SPOILT, sound.sound) if kind == "abx" or number % 2 else sound
        yield _pair(kind, prompt, texts[prompt], (sound, other), chance)


def _put_between(screens: list[ListeningScreen], catches: Sequence[ListeningScreen], chance: random.Random) -> None:
    """One in each part of the test, so that half a test has half of them; never the first."""
    length = len(screens)
    for number, catch in reversed(list(enumerate(catches))):
        low, high = number * length // len(catches), (number + 1) * length // len(catches)
        screens.insert(chance.randint(low + 1, max(low + 1, high)), catch)


def _ratings(
    voices: Sequence[ComparedVoice],
    texts: Mapping[str, str],
    truths: Mapping[str, str],
    count: int,
    chance: random.Random,
) -> Iterator[ListeningScreen]:
    """All voices, the hidden true recording, and that recording with noise, which nobody can rate higher."""
    prompts = [p for p in truths if all(p in voice.sounds for voice in voices)]
    if not prompts:
        raise DataError(
            "no sentence has a recording of the speaker to rate against; `generate.true_prompts` asks for some"
        )
    for prompt in chance.sample(prompts, min(count, len(prompts))):
        stimuli = [Stimulus(voice.key, voice.sounds[prompt]) for voice in voices]
        stimuli += [Stimulus(TRUE, truths[prompt]), Stimulus(SPOILT, truths[prompt])]
        chance.shuffle(stimuli)
        yield ListeningScreen("rating", prompt, texts[prompt], tuple(stimuli))
