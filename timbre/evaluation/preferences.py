"""What people preferred in blind listening tests: shares with intervals, ratings, and who did not listen.

    judged = judge(opinions.read(), heard_samples(samples, folder), truths, scores)
    judged.preferences["tuned_clone-base_clone"].share        # 0.78 of the answers, a tie counting as half

An answer counts if both of its sounds are samples of this version, and if its listener can be relied on: the catch
trials were answered better than somebody would who guesses. Intervals are 95 %. They are over sentences, because two
answers to one sentence resemble each other; from five listeners on they also cover the interval over listeners.
With fewer listeners, an interval speaks of these listeners alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

import numpy as np

from timbre.core.records import SPOILT, TRUE, ListeningAnswer
from timbre.evaluation import bootstrap
from timbre.evaluation.bootstrap import Estimate, TallyPart
from timbre.evaluation.metrics import CONDITIONS, HeardCondition, ListenerRecord, Preference
from timbre.evaluation.scores import Score

CAUGHT = 0.75  # share of catch trials that a listener must answer as expected, at least …
LUCK = 0.05  # … and so many that not more than this share of those who guess would
GUESSED = {"ab": 1 / 3, "abx": 1 / 2, "rating": 0.15}  # chance of who does not listen to answer one as expected
HIDDEN = 90  # least rating of the hidden true recording (ITU-R BS.1534)
MANY = 5  # listeners, from which on they stand for others
FEW = 5  # sentences, below which a correlation is not told
WORTH = {"first": 1.0, "neither": 0.5, "second": 0.0}
ROUNDS = 100  # of the fit of Bradley and Terry, which converges in about ten


class HeardSound(NamedTuple):
    condition: str
    prompt: str


@dataclass(frozen=True)
class Vote:
    listener: str
    prompt: str
    value: float  # 1: the first of the two conditions, 0: the second, 0.5: neither


@dataclass(frozen=True)
class Judged:
    preferences: dict[str, Preference]  # by `first-second`
    conditions: dict[str, HeardCondition]
    listeners: dict[str, ListenerRecord]


NOBODY = Judged({}, {}, {})


def judge(
    opinions: Mapping[str, Sequence[ListeningAnswer]], sounds: Mapping[str, HeardSound], scores: Sequence[Score]
) -> Judged:
    """`sounds` says which sample each sound is, by the name that opinions give it."""
    listeners = {name: record(answers) for name, answers in opinions.items()}
    relied = {name: answers for name, answers in opinions.items() if listeners[name].reliable}
    votes, apart = _votes(relied, sounds, "ab"), _votes(relied, sounds, "abx")
    measured = {(score.condition, score.line): score for score in scores}
    names = sorted(votes.keys() | apart.keys(), key=lambda pair: [-CONDITIONS.index(name) for name in pair])
    return Judged(
        {"-".join(pair): preference(pair, votes.get(pair, []), apart.get(pair, []), measured) for pair in names},
        dict(_conditions(relied, sounds, votes)),
        listeners,
    )


def record(answers: Sequence[ListeningAnswer]) -> ListenerRecord:
    """Whether somebody listened, by the trials whose answer everybody knows who does."""
    checks = [*((answer.kind, _caught(answer)) for answer in answers if answer.is_catch), *_hidden(answers)]
    right = sum(caught for _, caught in checks)
    why = ""
    if luck([GUESSED[kind] for kind, _ in checks], len(checks)) > LUCK:
        why = f"answered {len(checks)} catch trials, too few to tell listening from guessing"
    elif right < CAUGHT * len(checks) or luck([GUESSED[kind] for kind, _ in checks], right) > LUCK:
        why = f"answered {right} of {len(checks)} catch trials as expected"
    return ListenerRecord(len({answer.key[:2] for answer in answers}), len(checks), right, not why, why)


def luck(chances: Sequence[float], right: int) -> float:
    """Chance to get at least so many right, each with its own chance."""
    exactly = np.ones(1)  # chance of 0, 1, 2 … right
    for chance in chances:
        exactly = np.convolve(exactly, [1 - chance, chance])
    return float(exactly[right:].sum())


def _caught(answer: ListeningAnswer) -> bool:
    if answer.kind == "abx":
        return answer.answer == "right"
    if SPOILT in (answer.first, answer.second):
        return answer.answer == ("second" if answer.first == SPOILT else "first")
    return answer.answer == "neither"


def _hidden(answers: Iterable[ListeningAnswer]) -> Iterator[tuple[str, bool]]:
    """Of each screen of ratings: whether the true recording was found among the sounds."""
    screens: dict[tuple[str, int], dict[str, int]] = defaultdict(dict)
    for answer in answers:
        if answer.kind == "rating":
            screens[answer.test, answer.trial][answer.first] = int(answer.answer)
    for rated in screens.values():
        if TRUE in rated:
            yield "rating", rated[TRUE] >= HIDDEN and rated[TRUE] > rated.get(SPOILT, -1)


Pair = tuple[str, str]


def _votes(
    opinions: Mapping[str, Sequence[ListeningAnswer]], sounds: Mapping[str, HeardSound], kind: str
) -> dict[Pair, list[Vote]]:
    """By the two conditions, the later one of CONDITIONS first."""
    votes: dict[Pair, list[Vote]] = defaultdict(list)
    for listener, answers in opinions.items():
        for answer in answers:
            one, other = sounds.get(answer.first_sound), sounds.get(answer.second_sound)
            if answer.kind != kind or answer.is_catch or not one or not other or one.condition == other.condition:
                continue
            value = WORTH[answer.answer] if kind == "ab" else float(answer.answer == "right")
            if CONDITIONS.index(one.condition) < CONDITIONS.index(other.condition):
                one, other, value = other, one, value if kind == "abx" else 1 - value
            votes[one.condition, other.condition].append(Vote(listener, one.prompt, value))
    return votes


def preference(pair: Pair, votes: Sequence[Vote], apart: Sequence[Vote], measured: Mapping[Pair, Score]) -> Preference:
    liked, told = share(votes), share(apart)
    return Preference(
        share=liked.value if votes else None,
        share_low=liked.low,
        share_high=liked.high,
        answers=len(votes),
        listeners=len({vote.listener for vote in [*votes, *apart]}),
        apart=told.value if apart else None,
        apart_low=told.low,
        apart_high=told.high,
        with_words=_agreement(pair, votes, measured, lambda score: -score.wer),
        with_similarity=_agreement(pair, votes, measured, lambda score: score.similarity),
    )


def share(votes: Sequence[Vote]) -> Estimate:
    """Mean vote with its interval; Wilson's, which is right for a share of all or of none, too."""
    if not votes:
        return Estimate(0.0, None, None)
    by_prompt = _interval(votes, lambda vote: vote.prompt)
    if len({vote.listener for vote in votes}) < MANY:
        return by_prompt
    by_listener = _interval(votes, lambda vote: vote.listener)
    ends = (by_prompt.low, by_prompt.high, by_listener.low, by_listener.high)
    if any(end is None for end in ends):
        return by_prompt
    low, high, other_low, other_high = (end for end in ends if end is not None)
    return Estimate(by_prompt.value, min(low, other_low), max(high, other_high))


def _interval(votes: Sequence[Vote], cluster: Callable[[Vote], str]) -> Estimate:
    groups: dict[str, list[float]] = defaultdict(list)
    for vote in votes:
        groups[cluster(vote)].append(vote.value)
    mirrored = fmean(vote.value for vote in votes) > 0.5  # Wilson's interval is asked of the smaller share
    parts = [TallyPart(sum(1 - v if mirrored else v for v in values), len(values)) for values in groups.values()]
    value, low, high = bootstrap.share(parts, together=1.0)
    if not mirrored:
        return Estimate(value, low, high)
    return Estimate(1 - value, None if high is None else 1 - high, None if low is None else 1 - low)


def _agreement(
    pair: Pair, votes: Sequence[Vote], measured: Mapping[Pair, Score], value: Callable[[Score], float | None]
) -> float | None:
    """Spearman's rank correlation of people's preference with the machine's number, over sentences."""
    by_prompt: dict[str, list[float]] = defaultdict(list)
    for vote in votes:
        by_prompt[vote.prompt].append(vote.value)
    liked, better = [], []
    for prompt, values in by_prompt.items():
        sides = [measured.get((condition, prompt)) for condition in pair]
        numbers = [value(score) if score else None for score in sides]
        if numbers[0] is not None and numbers[1] is not None:
            liked.append(fmean(values))
            better.append(numbers[0] - numbers[1])
    return rank_correlation(liked, better)


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """None of few values, or where one of the two does not vary."""
    if len(one) < FEW or len(set(one)) < 2 or len(set(other)) < 2:
        return None
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(values: Sequence[float]) -> list[float]:
    """From 1; what is equal shares the mean of its ranks."""
    ordered = sorted(values)
    return [ordered.index(value) + (ordered.count(value) + 1) / 2 for value in values]


def _conditions(
    opinions: Mapping[str, Sequence[ListeningAnswer]],
    sounds: Mapping[str, HeardSound],
    votes: Mapping[Pair, Sequence[Vote]],
) -> Iterator[tuple[str, HeardCondition]]:
    strengths = strength(votes)
    for name in CONDITIONS:
        ratings = [
            (answer.prompt, float(answer.answer))
            for answers in opinions.values()
            for answer in answers
            if answer.kind == "rating" and (sound := sounds.get(answer.first_sound)) and sound.condition == name
        ]
        if ratings or name in strengths:
            rating, low, high = _rating(ratings)
            yield name, HeardCondition(rating, low, high, len(ratings) or None, strengths.get(name))


def _rating(ratings: Sequence[tuple[str, float]]) -> Estimate | tuple[None, None, None]:
    parts: dict[str, list[float]] = defaultdict(list)
    for prompt, rating in ratings:
        parts[prompt].append(rating)
    return bootstrap.estimate([TallyPart(sum(v), len(v)) for v in parts.values()]) if parts else (None, None, None)


def strength(votes: Mapping[Pair, Sequence[Vote]]) -> dict[str, float]:
    """How often each condition would be preferred to the others, by the model of Bradley and Terry; of three or more.

    One drawn comparison of each two is added, so that who was never preferred has a strength, too.
    """
    names = [name for name in CONDITIONS if any(name in pair for pair in votes)]
    if len(names) < 3:
        return {}
    wins = np.full((len(names), len(names)), 0.5)
    np.fill_diagonal(wins, 0)
    for (one, other), some in votes.items():
        first, second = names.index(one), names.index(other)
        wins[first, second] += sum(vote.value for vote in some)
        wins[second, first] += sum(1 - vote.value for vote in some)
    power = np.ones(len(names))
    for _ in range(ROUNDS):
        met = (wins + wins.T) / (power[:, None] + power[None, :])
        power = wins.sum(axis=1) / met.sum(axis=1)
        power /= power.mean()
    chances = power[:, None] / (power[:, None] + power[None, :])
    np.fill_diagonal(chances, 0)
    return {name: float(chance) for name, chance in zip(names, chances.sum(axis=1) / (len(names) - 1), strict=True)}
