"""How good listeners would find a sound, from 1 to 5: what DNSMOS predicts, where its package is installed.

    judge(Path("reports/mos.json"), sorted(Path("reports/samples").glob("*.flac")))
    read(Path("reports/mos.json"), Path("reports/samples"))     # {"base": 3.1, "base_clone": 3.2, …}

DNSMOS heard telephone calls, not speech of machines: it tells noise and rattling from clean sound, and not whose voice
it is or whether the words are right. Whether it is installed must not change a version, so the file is in no output
that DVC hashes and in no key. It names the sound of each opinion: only new samples are judged, and opinions on another
version's samples are not shown.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from timbre.core.content import file_sha256, write_atomic

if TYPE_CHECKING:
    from timbre.audio import Samples

RATE = 16_000  # Hz, that DNSMOS hears
DIGITS = 3  # of an opinion
WORST = 1.0  # of a sample without sound, in which DNSMOS hears a clean line


class Opinion(NamedTuple):
    mos: float
    sha256: str  # of the sample's file


def predicted(samples: Samples, rate: int) -> float | None:
    """The opinion of voice and background together; None where the package is missing."""
    try:
        from speechmos import dnsmos
    except ImportError:
        return None
    from timbre import audio  # here, because whoever only reads opinions needs no sound

    if audio.is_silent(samples):
        return WORST
    resampled = audio.resample(samples, rate, RATE).clip(-1, 1)  # resampling can overshoot, which DNSMOS refuses
    return round(float(dnsmos.run(resampled, RATE)["ovrl_mos"]), DIGITS)


def judge(path: Path, sounds: Sequence[Path]) -> None:
    """Judge what is new and keep the rest; without the package the file stays as it is."""
    from timbre import audio

    earlier, opinions = _held(path), {}
    for sound in sounds:
        before = earlier.get(sound.stem)
        digest = file_sha256(sound)
        opinion = before.mos if before and before.sha256 == digest else predicted(*audio.read(sound))
        if opinion is None:
            return
        opinions[sound.stem] = Opinion(opinion, digest)
    if opinions != earlier:
        rows = {name: opinion._asdict() for name, opinion in opinions.items()}
        write_atomic(path, json.dumps(rows, indent=1, sort_keys=True) + "\n")


def read(path: Path, samples: Path) -> dict[str, float]:
    """The mean of each condition; nothing unless every sample there has its opinion."""
    recorded = _held(path)
    by_condition: dict[str, list[float]] = {}
    for sound in sorted(samples.glob("*.flac")) if recorded else []:
        opinion = recorded.get(sound.stem)
        if not opinion or opinion.sha256 != file_sha256(sound):
            return {}
        by_condition.setdefault(sound.stem.split("-")[0], []).append(opinion.mos)  # <condition>-<prompt>-<seed>
    return {condition: round(fmean(opinions), DIGITS) for condition, opinions in by_condition.items()}


def _held(path: Path) -> dict[str, Opinion]:
    """Nothing where the file is not here, as in a clone, or was damaged: it is made again."""
    try:
        rows = json.loads(path.read_bytes())
        return {name: Opinion(float(row["mos"]), row["sha256"]) for name, row in rows.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
