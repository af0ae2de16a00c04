"""A recording as the review page may play it: silent wherever somebody speaks who took the consent back.

Writes   .timbre/muted/<id>.<…>.flac    a copy with the silence, made anew when lines or consent change; safe to delete
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

import soundfile

from timbre.audio import BLOCK
from timbre.core.content import content_key
from timbre.core.records import Recording
from timbre.project.permissions import Permissions

Stretch = tuple[float, float]  # seconds


def silenced(recording: Recording, allowed: Permissions) -> list[Stretch]:
    """All of it where it is the speaker's own recording who took the consent back, whoever else is in it."""
    if allowed.withdrawn(recording.speaker):
        return [(0.0, recording.seconds)]
    return allowed.withdrawn_stretches(recording.id)


def playable(recording: Recording, flac: Path, allowed: Permissions, cache: Path) -> Path:
    """The recording's own file, or its copy with silence in it."""
    if not (stretches := silenced(recording, allowed)):
        return flac
    copy = cache / f"{recording.id}.{content_key(recording.sha256, stretches)}.flac"
    if not copy.exists():
        cache.mkdir(parents=True, exist_ok=True)
        part = cache / f"{recording.id}.{secrets.token_hex(4)}.part"
        try:
            _write(flac, part, stretches)
            part.replace(copy)
        finally:
            part.unlink(missing_ok=True)
        for old in cache.glob(f"{recording.id}.*.flac"):
            if old != copy:
                old.unlink(missing_ok=True)
    return copy


def _write(source: Path, target: Path, stretches: Sequence[Stretch]) -> None:
    with soundfile.SoundFile(source) as file:
        rate, at = file.samplerate, 0
        with soundfile.SoundFile(target, "w", rate, file.channels, "PCM_16", format="FLAC") as copy:
            for block in file.blocks(BLOCK, dtype="int16", always_2d=True):
                for start, end in stretches:
                    block[max(int(start * rate) - at, 0) : max(int(end * rate) + 1 - at, 0)] = 0
                copy.write(block)
                at += len(block)
