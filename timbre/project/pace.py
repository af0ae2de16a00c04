"""How fast something is said, and which pace is so odd that text and sound hardly belong together.

    paces = [seconds_per_letter(clip.speech, clip.text) for clip in clips]
    least, most = usual(paces) or LIMITS

The unit is seconds of speech per letter or digit: silence around the words and punctuation say nothing about the pace.
`dataset` leaves clips with an odd pace out; the review page, the booth and `timbre diff` warn of lines with one.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from timbre.core.text import normalise

RANGES = 3.0  # interquartile ranges beyond the quartiles, from where a pace is odd (dataset.pace_iqr of the demo)
SLACK = 0.25  # of the median: a speaker who is as even as a clock may still vary so much
ENOUGH = 20  # lines of one speaker to leave one out by; fewer have no quartiles to speak of, but from …
ENOUGH_TO_WARN = 5  # … so many on a person is asked to listen to what is …
FACTOR = 2.0  # … so many times faster or slower than the median: nobody speaks so
FEW = 8  # letters; so short a line may have any pace
LIMITS = (0.045, 0.3)  # seconds per letter: nobody reads faster or slower, whoever it is

Range = tuple[float, float]


def letters(text: str) -> int:
    """Letters and digits of any script."""
    return sum(map(str.isalnum, normalise(text)))


def seconds_per_letter(speech: float, text: str) -> float:
    """`speech` in seconds; ValueError where the text has no letter."""
    if not (count := letters(text)):
        raise ValueError(f"{text!r} has no letter")
    return speech / count


def usual(paces: Sequence[float], ranges: float = RANGES, enough: int = ENOUGH) -> Range | None:
    """The least and the most that is usual where these are spoken; None where they are fewer than `enough`."""
    if len(paces) < max(enough, 1):
        return None
    if len(paces) < ENOUGH:
        middle = statistics.median(paces)
        return middle / FACTOR, middle * FACTOR
    low, middle, high = statistics.quantiles(paces, n=4, method="inclusive")
    least = min(low - ranges * (high - low), (1 - SLACK) * middle)
    return least, max(high + ranges * (high - low), (1 + SLACK) * middle)
