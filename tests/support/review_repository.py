"""A repository with recordings and drafts, and the review server on it."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from timbre.audio import to_pcm

RATE = 16_000
BLOCK = 20.0  # seconds
WHO = {"speaker": "ann", "language": "en", "licence": "CC0-1.0", "consent": "given"}


def build(
    root: Path, names: Sequence[str] = ("noon", "night"), seconds: float = 20.0, lines: int = 5, rate: int = RATE
) -> Path:
    """`lines` drafted lines in each recording, the first word of each fourth line in doubt."""
    for folder in ("recordings", "raw", "drafts", "transcripts"):
        (root / "data" / folder).mkdir(parents=True, exist_ok=True)
    entries = []
    for number, name in enumerate(names):
        raw, digest = root / f"data/raw/{name}.flac", hashlib.sha256()
        with soundfile.SoundFile(raw, "w", rate, 1, "PCM_16", format="FLAC") as file:
            for start in np.arange(0, seconds, BLOCK):  # hours of sound would not fit the memory
                pcm = to_pcm(tone(min(BLOCK, seconds - start), number, rate))
                file.write(pcm)
                digest.update(pcm.tobytes())
        (root / f"data/recordings/{name}.flac").hardlink_to(raw)
        facts = {"origin": f"data/recordings/{name}.flac", "sha256": digest.hexdigest(), "sample_rate": rate}
        manifest = {"key": "k", "recording": {"id": name, **WHO, **facts, "seconds": seconds}}
        (root / f"data/raw/{name}.json").write_text(json.dumps(manifest))
        segments = [segment(i, seconds / lines) for i in range(lines)]
        draft = {"key": "k", "audio_sha256": facts["sha256"], "segments": segments}
        (root / f"data/drafts/{name}.json").write_text(json.dumps(draft))
        entries.append({"id": name, "file": facts["origin"], **WHO})
    (root / "data/sources.yaml").write_text(json.dumps(entries))  # JSON is YAML
    return root


def segment(number: int, length: float) -> dict[str, object]:
    texts = [
        "The tide comes in.",
        "Boats leave from pier for.",
        "It goes out again at night.",
        "We wait for the fairy.",
    ]
    words = texts[number % 4].split()
    start = number * length + 0.2
    each = (length - 0.6) / len(words)
    timed = [
        {"start": start + i * each, "end": start + (i + 0.9) * each, "word": f" {word}", "probability": sure}
        for i, word in enumerate(words)
        for sure in [0.3 if word in ("for.", "fairy.") else 0.65 if word == "again" else 0.97]
    ]
    return {"start": start, "end": start + length - 0.6, "text": f" {texts[number % 4]}", "words": timed}


@functools.cache
def tone(seconds: float, number: int, rate: int) -> np.ndarray:
    """Syllables of a kind: a hum whose loudness comes and goes four times a second, silent between the lines."""
    time = np.arange(round(seconds * rate)) / rate
    loud = np.clip(np.sin(2 * np.pi * 4 * time), 0, 1) * (0.3 + 0.2 * np.sin(time / 3 + number)) * (time % 4 > 0.2)
    return (loud * np.sin(2 * np.pi * (150 + 20 * number) * time)).astype(np.float32)
