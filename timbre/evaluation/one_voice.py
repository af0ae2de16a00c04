"""Whether the clips under one name are of one voice: the two groups that their embeddings fall into, and how far apart.

    second_voice(vectors, limit(voices))    # indices of the clips of the smaller group; empty where there is one voice

Clips of one speaker fall into two groups as well, such as loud and soft, but the groups' centres are near each other.
Centres of two speakers are as far apart as voices are. A clip alone is no group: a cough would be another speaker.
docs/real-speech.md has what this finds, and how often it is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from timbre.evaluation.speaker_encoder import KnownVoices, Vector, unit

VERSION = 1  # raise when other clips are told apart by the same embeddings
FEWEST = 6  # clips; of fewer nothing is said
GROUP = 2  # clips, at least, that another voice has
MARGIN = 0.25  # of what the cosine with the nearest other voice lacks to 1
MANY = 2000  # clips, from which on a table of all pairs would be too large
NAMED = 8  # clips, in a message
ROUNDS = 20  # of k-means, which ends sooner


def second_voice(clips: Sequence[Vector], limit: float) -> list[int]:
    """Which clips are of another voice than most, if the two groups' cosine is below the limit."""
    if len(clips) < FEWEST:
        return []
    vectors = np.stack(clips)
    second = groups(vectors)
    if second.sum() * 2 > len(clips):
        second = ~second
    if second.sum() < GROUP or near(vectors, second) >= limit:
        return []
    return [int(place) for place in np.flatnonzero(second)]


def groups(vectors: np.ndarray) -> np.ndarray:
    """Which of the clips are in the second of two groups: k-means, begun from the two that are least alike."""
    centres = list(least_alike(vectors))
    second = np.zeros(len(vectors), bool)
    for _ in range(ROUNDS):
        before, second = second, vectors @ centres[0] < vectors @ centres[1]
        if (second == before).all() or second.all() or not second.any():
            break
        centres = [unit(vectors[~second].mean(0)), unit(vectors[second].mean(0))]
    return second


def least_alike(vectors: np.ndarray) -> tuple[Vector, Vector]:
    """Of many clips, whose table of cosines would take gigabytes: the oddest, and the one that is least like it."""
    if len(vectors) > MANY:
        odd = vectors[(vectors @ vectors.mean(0)).argmin()]
        return odd, vectors[(vectors @ odd).argmin()]
    alike = vectors @ vectors.T
    first, second = np.unravel_index(alike.argmin(), alike.shape)
    return vectors[first], vectors[second]


def near(vectors: np.ndarray, second: np.ndarray) -> float:
    """The cosine of the two groups' centres."""
    return float(unit(vectors[~second].mean(0)) @ unit(vectors[second].mean(0)))


def limit(voices: KnownVoices) -> float:
    """The cosine of two groups' centres, below which they are two voices: somewhat above that with the nearest other
    voice."""
    nearest = max((voices.similarity(other) for other in voices.others.values()), default=None)
    return -1.0 if nearest is None else nearest + MARGIN * (1 - nearest)


def doubt(name: str, clips: Sequence[str]) -> str:
    """What is told of clips that are of another voice."""
    more = f" and {len(clips) - NAMED} more" if len(clips) > NAMED else ""
    return (
        f"two voices under the name {name}? These clips sound like somebody else than the others: "
        f"{', '.join(clips[:NAMED])}{more}; listen, and mend the lines' speakers in data/transcripts"
    )
