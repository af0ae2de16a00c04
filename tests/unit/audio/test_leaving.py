"""Samples that leave the repository: each says what spoke it, in words and in the sound, and sounds as it did."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import soundfile

from timbre import audio
from timbre.audio.leaving import marked_copy, voice_of
from timbre.audio.watermark import detect
from timbre.core.records import Sample

RATE = 16_000
KEY = "d3979b06" * 4
SAMPLE = Sample("tuned-p-0", "tuned", "p", "domain", "The ferry.", None, 0, None, "a", "b", 2.0, True, "k")


def test_a_copy_says_what_spoke_it_and_sounds_as_it_did() -> None:
    random = np.random.default_rng(0)
    level = 0.2 + 0.1 * np.sin(np.arange(4 * RATE) / RATE * 2 * np.pi * 3)
    sound = (level * random.normal(0, 0.3, 4 * RATE)).astype(np.float32)
    original = audio.flac_bytes(sound, RATE)
    assert detect(sound, RATE) is None
    copy = marked_copy(original, KEY)
    with soundfile.SoundFile(io.BytesIO(copy)) as file:
        assert file.format == "FLAC"
        assert json.loads(file.comment) == {"synthetic": True, "generator": "timbre", "voice": KEY}
        heard = file.read(dtype="float32")
    found = detect(heard, RATE)
    assert found is not None
    assert found.payload == KEY[:8]
    assert len(heard) == len(sound)
    assert np.sqrt(np.mean((heard - sound) ** 2)) < 0.2 * np.sqrt(np.mean(sound**2))


def test_a_sample_is_of_its_version_and_one_of_the_base_is_of_none() -> None:
    assert voice_of(SAMPLE, f"{KEY}.dir") == KEY
    base = voice_of(replace(SAMPLE, adapter=None), KEY)
    assert base not in (KEY, voice_of(replace(SAMPLE, adapter=None, base="c"), KEY))
    assert int(base, 16)
    assert int(voice_of(SAMPLE, None), 16), "of a version whose dvc.lock names no adapter"
