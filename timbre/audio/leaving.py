"""Samples of `generate` on their way out of the repository: marked as synthetic, as all that `timbre say` speaks is.

    marked_copy(Path("reports/samples/tuned-bridge-0.flac").read_bytes(), key)      # a FLAC file
    voice_of(sample, "d3979b06…")                       # the key: of the version, or of what has no adapter

In reports/samples they carry no mark, so that what is measured is the voice alone. The report's page, that of a
difference, MLflow, a listening test for others and a release get copies.
"""

from __future__ import annotations

import io

import numpy as np
import soundfile

from timbre.audio.emitting import Mark, marked_file
from timbre.core.content import content_key
from timbre.core.records import Sample


def marked_copy(content: bytes, key: str, card: str | None = None) -> bytes:
    samples, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    return marked_file(np.asarray(samples.mean(axis=1), np.float32), int(rate), Mark(key, card), "FLAC")


def voice_of(sample: Sample, adapter: str | None) -> str:
    """`adapter` is DVC's hash of the version's adapter; the base alone is no version and has a key of its own."""
    key = adapter.removesuffix(".dir") if adapter and sample.adapter else None
    return key or content_key(sample.base, sample.adapter)
