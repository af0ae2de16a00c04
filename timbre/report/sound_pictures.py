"""Spectrograms of samples as files of their own, and the sounds on the way from base to finished voice.

The report has both inside its page; a run in MLflow shows them beside its samples.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import soundfile

from timbre.audio import spectrogram
from timbre.core.errors import DataError
from timbre.core.records import Point, from_json
from timbre.report import sound


def draw(samples: Path, folder: Path) -> None:
    """A picture of each sample, under the sample's name."""
    for path in sorted(samples.glob("*.flac")):
        (folder / f"{path.stem}.png").write_bytes(sound.picture(path))


def image(path: Path) -> spectrogram.Pixels:
    """(height, columns, 3), of twice the size: MLflow shows a picture as large as it is."""
    return spectrogram.colours(spectrogram.pixels(*_sound(path))).repeat(2, 0).repeat(2, 1)


def way(points: Path, samples: Path, training: dict[str, Any]) -> list[tuple[str, int, Path]]:
    """Speaker, step and sound, in order: the base voice at 0, the points, the finished voice at the best step."""
    records = [from_json(path.read_text(encoding="utf-8"), Point, str(path)) for path in sorted(points.glob("*.json"))]
    sounds: dict[tuple[str, int], Path] = {}
    for point in records:
        ends = {0: point.sample.replace("tuned", "base", 1), int(training["best_step"]): point.sample}
        sounds |= {(point.speaker, step): samples / f"{name}.flac" for step, name in ends.items()}
    sounds |= {(point.speaker, point.step): points / f"{point.name}.flac" for point in records}
    return [(*key, path) for key, path in sorted(sounds.items())]


def _sound(path: Path) -> tuple[Any, int]:
    try:
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.LibsndfileError) as error:
        raise DataError(f"{path}: cannot be read as audio; run `dvc repro`") from error
    return audio.mean(axis=1), rate
