"""A recording before it is cut: less noise, another loudness, the same length."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stages.chunk import clean_all
from tests.support.paths import ROOT
from tests.support.segment_factory import TALK
from timbre import audio
from timbre.audio import Samples, cleaning, loudness
from timbre.core.records import Recording
from timbre.core.sections import CleanParams
from timbre.mapping.batch import HERE

SPOKEN = ROOT / "models/tiny/voices/mira/0.flac"
NOISE = CleanParams("noise", 12, None)
AS_IT_IS = CleanParams("none", 12, None)


@pytest.fixture(scope="module")
def spoken() -> tuple[Samples, int]:
    """Some seconds of a tiny voice, with pauses as in a quiet room."""
    samples, rate = audio.read(SPOKEN)
    pause = (1e-4 * np.random.default_rng(1).standard_normal(rate)).astype(np.float32)  # -80 dBFS, as of a quiet room
    return np.concatenate([part for _ in range(4) for part in (samples, pause)]), rate


def noisy(samples: Samples, decibels: float, seed: int = 0) -> Samples:
    """With white noise at so many dB below it."""
    noise = np.random.default_rng(seed).standard_normal(len(samples))
    return np.asarray(samples + noise * rms(samples) / rms(noise) * 10 ** (-decibels / 20), np.float32)


def rms(samples: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def ratio(samples: Samples, voice: Samples) -> float:
    """dB of the voice in the samples to all else in them."""
    scale = float(samples @ voice) / float(voice @ voice)
    return 20 * float(np.log10(rms(scale * voice) / rms(samples - scale * voice)))


@pytest.mark.parametrize(("before", "gain"), [(0, 6), (10, 3), (20, 0)])
def test_there_is_less_noise_beside_the_voice(spoken: tuple[Samples, int], before: float, gain: float) -> None:
    samples, rate = spoken
    mixed = noisy(samples, before)
    cleaned = cleaning.without_noise(mixed, rate, 18)
    assert len(cleaned) == len(mixed)
    assert ratio(mixed, samples) == pytest.approx(before, abs=0.2)
    assert ratio(cleaned, samples) > before + gain


def test_noise_alone_is_taken_down_by_no_more_than_was_asked() -> None:
    noise = (0.01 * np.random.default_rng(0).standard_normal(20 * 16_000)).astype(np.float32)
    for most in (6, 12):
        left = cleaning.without_noise(noise, 16_000, most)
        assert 20 * np.log10(rms(left) / rms(noise)) == pytest.approx(-most, abs=1.5)


def test_what_has_no_noise_stays_as_it_is(spoken: tuple[Samples, int]) -> None:
    samples, rate = spoken
    assert ratio(cleaning.without_noise(samples, rate, 12), samples) > 30
    assert not cleaning.without_noise(np.zeros(rate, np.float32), rate, 12).any()
    assert len(cleaning.without_noise(samples[:100], rate, 12)) == 100
    assert len(cleaning.without_noise(samples[:0], rate, 12)) == 0


def test_pieces_of_a_long_recording_are_joined_without_a_seam(
    spoken: tuple[Samples, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, rate = spoken
    path = tmp_path / "long.flac"
    soundfile.write(path, noisy(samples, 10), rate, subtype="PCM_16")
    whole = np.concatenate(list(cleaning._joined(path, lambda part, _: part)))
    monkeypatch.setattr(cleaning, "PIECE", 3.0)
    for length in (len(samples), 3 * rate, 5 * rate, 5 * rate + 1, rate):
        soundfile.write(path, noisy(samples, 10)[:length], rate, subtype="PCM_16")
        parts = np.concatenate(list(cleaning._joined(path, lambda part, _: part)))
        assert np.allclose(parts, whole[:length], atol=1e-6), "each sample once, where it was"
    assert cleaning.make(path, tmp_path / "cleaned.flac", NOISE)["gain"] == 0
    assert soundfile.info(tmp_path / "cleaned.flac").frames == rate


def test_a_recording_as_a_whole_is_brought_to_a_loudness(spoken: tuple[Samples, int], tmp_path: Path) -> None:
    samples, rate = spoken
    half = len(samples) // 2
    soundfile.write(tmp_path / "a.flac", np.concatenate([samples[:half], 0.25 * samples[:half]]) / 4, rate)
    told = cleaning.make(tmp_path / "a.flac", tmp_path / "b.flac", CleanParams("none", 12, -26.0))
    assert loudness.measure(tmp_path / "b.flac").lufs == pytest.approx(-26, abs=0.1)
    assert told["lufs"] == pytest.approx(-26 - (told["gain"] or 0), abs=0.1)
    made, _ = audio.read(tmp_path / "b.flac")
    assert 20 * np.log10(rms(made[half:]) / rms(made[:half])) == pytest.approx(-12, abs=0.1), "soft stays softer"


def test_nothing_is_made_unless_it_is_asked_for_and_each_setting_has_its_key(tmp_path: Path) -> None:
    recording = Recording("talk", "ann", "en", "CC0-1.0", "own", "f", "ab" * 32, 24_000, 1.0)
    raw, out = tmp_path / "raw", tmp_path / "clean"
    raw.mkdir()
    (raw / "talk.flac").write_bytes(SPOKEN.read_bytes())
    same = clean_all([recording], raw, out, AS_IT_IS, HERE)["talk"]
    assert same == (raw / "talk.flac", recording.sha256)
    assert [path.name for path in out.iterdir()] == ["talk.json"], "DVC warns of an out that is empty"
    asked = [NOISE, CleanParams("noise", 18, None), CleanParams("noise", 12, -23), CleanParams("none", 12, -23)]
    assert len({cleaning.key(TALK.sha256, params) for params in asked}) == len(asked)
    made = clean_all([recording], raw, out, NOISE, HERE)["talk"]
    record = json.loads((out / "talk.json").read_bytes())
    assert made == (out / "talk.flac", record["key"])
    assert record["audio_sha256"] == recording.sha256
    clean_all([recording], raw, out, AS_IT_IS, HERE)
    assert [path.name for path in out.iterdir()] == ["talk.json"], "switched off again, no sound stays"
    assert clean_all([recording], raw, out, NOISE, HERE)["talk"] == made


@pytest.mark.parametrize(("most", "level"), [(0, None), (61, None), (12, 3)])
def test_settings_that_make_no_sense_are_refused(most: float, level: float | None) -> None:
    with pytest.raises(ValueError, match=r"not (above 0 and at most 60|between)"):
        CleanParams("noise", most, level)
