"""The sound of a clip: cut, faded, brought to a loudness, and where it is silent."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.support.segment_factory import PARAMS, TALK
from timbre import audio
from timbre.audio import delivery, loudness, speech_activity
from timbre.audio.clips import plan
from timbre.audio.cutting import Cut, cut
from timbre.core.records import Segment

RATE = 16000


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Tones of 300, 600 and 900 Hz, a second each, a second of near silence around each."""
    time = np.arange(7 * RATE) / RATE
    tone = 0.3 * np.sin(2 * np.pi * 300 * ((time.astype(int) + 1) // 2) * time) * (time.astype(int) % 2)
    path = tmp_path / "talk.flac"
    soundfile.write(path, tone + 1e-4, RATE, subtype="PCM_16")
    return path


def test_a_clip_holds_the_sound_of_its_spans_and_fades_at_every_cut(recording: Path) -> None:
    job = Cut(recording, [[0.9, 2.3], [4.7, 6.1]], None, "k")
    (files,) = cut([job])
    path = recording.with_name("clip.flac")
    path.write_bytes(files[".flac"])  # type: ignore[arg-type]
    samples, rate = soundfile.read(path)
    assert (rate, len(samples), soundfile.info(path).subtype) == (RATE, round(2.8 * RATE), "PCM_16")
    original, _ = soundfile.read(recording)
    inner = slice(round(0.1 * RATE), round(1.3 * RATE))
    assert np.allclose(samples[inner], original[round(1.0 * RATE) : round(2.2 * RATE)], atol=1e-4)
    for edge in (0, round(1.4 * RATE) - 1, round(1.4 * RATE), -1):
        assert abs(samples[edge]) < 1e-4
    assert list(cut([job])) == [files]


@pytest.mark.parametrize("level", [0.02, 0.2])
def test_a_clip_has_the_stated_loudness_however_it_was_recorded(recording: Path, level: float) -> None:
    samples, rate = soundfile.read(recording)
    soundfile.write(recording, samples / 0.3 * level, rate)
    (files,) = cut([Cut(recording, [[0.9, 6.1]], -23.0, "k")])
    recording.with_name("clip.flac").write_bytes(files[".flac"])  # type: ignore[arg-type]
    made, _ = audio.read(recording.with_name("clip.flac"))
    assert loudness.loudness(made, rate) == pytest.approx(-23, abs=0.1)
    record = json.loads(files[".json"])  # type: ignore[arg-type]
    assert record["key"] == "k"
    before, _ = audio.read(recording, start=0.9, end=6.1)
    assert np.abs(made).max() == pytest.approx(np.abs(before).max() * 10 ** (record["gain"] / 20), rel=0.01)


def test_no_gain_lifts_a_peak_over_the_ceiling_or_noise_out_of_silence() -> None:
    dice = np.random.default_rng(0)
    quiet = dice.normal(0, 0.001, 3 * RATE).astype(np.float32)
    assert loudness.gain(quiet, RATE, -23.0) == loudness.MOST
    quiet[RATE] = 0.5
    assert loudness.gain(quiet, RATE, -23.0) == pytest.approx(5.02)
    assert loudness.gain(np.zeros(3 * RATE, np.float32), RATE, -23.0) == 0
    assert loudness.gain(quiet[:100], RATE, -23.0) == 0


def test_what_was_recorded_too_loud_is_counted_and_a_lone_peak_is_not() -> None:
    wave = np.sin(np.arange(RATE) / 20).astype(np.float32)
    assert delivery.clipped_share(np.clip(1.5 * wave, -1, 1)) == pytest.approx(0.53, abs=0.02)
    assert delivery.clipped_share(0.9 * wave) == 0
    assert delivery.clipped_share(np.array([0, 1, 0, -1, 0], np.float32)) == 0


def test_silence_is_found_in_the_sound_itself(recording: Path) -> None:
    short = replace(TALK, seconds=7.0)
    segments = [Segment("talk", 1.0, 2.0, "ann", "Said."), Segment("talk", 2.1, 2.9, "ann", "Invented.")]
    stored = recording.with_suffix(".npy")
    stored.write_bytes(speech_activity.measure(recording, "energy"))
    sound = speech_activity.open(stored)
    clips, drops = plan(short, segments, sound, replace(PARAMS, min_seconds=1))
    assert [clip.text for clip in clips] == ["Said."]
    silent, unwritten = drops
    assert (silent.text, unwritten.text) == ("Invented.", "")
    assert silent.reason.startswith("silent: ")
    assert unwritten.reason.startswith("unwritten: ")
    end = [Segment("talk", 5.0, 7.0, "ann", "To the very end.")]
    assert plan(short, end, sound, PARAMS)[1][-1].text == "To the very end.", "half of it is a pause"
    clips = plan(short, end, sound, replace(PARAMS, min_seconds=1, max_pause=2))[0]
    assert clips[0].end == 7.0
