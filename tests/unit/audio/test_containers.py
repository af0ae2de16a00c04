"""Containers that are sent while the sound is made: another decoder finds every sample, and none too many before."""

from __future__ import annotations

import builtins
import io
from typing import Any

import numpy as np
import pytest
import soundfile

from timbre.audio import containers
from timbre.audio.containers import encoder_of
from timbre.audio.stretching import Stretcher
from timbre.core.errors import DataError

TAGS = {"title": "A voice", "comment": '{"synthetic": true}', "software": "timbre"}


def melody(rate: int, seconds: float = 1.6) -> Any:
    """Loud from the first sample to the last, so that a lost one is seen; nothing repeats, so that a shift is, too."""
    time = np.arange(int(rate * seconds)) / rate
    return (0.4 * np.sin(2 * np.pi * (300 + 150 * time) * time) * (1 + 0.5 * np.sin(9 * time)) / 1.5).astype(np.float32)


def streamed(kind: str, sound: Any, rate: int, piece: int = 1280) -> tuple[bytes, int]:
    encoder = encoder_of(kind, rate, TAGS if kind not in ("pcm", "aac") else {})
    parts = [encoder.feed(sound[start : start + piece]) for start in range(0, len(sound), piece)]
    first = [number for number, part in enumerate(parts) if part][1]  # after the header
    return b"".join([*parts, encoder.finish()]), first


def decoded(content: bytes) -> tuple[Any, int]:
    import av

    with av.open(io.BytesIO(content)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
        rate = container.streams.audio[0].rate
    values = np.concatenate([frame.reshape(-1) for frame in frames])
    return (values / 32768 if values.dtype == np.int16 else values).astype(np.float32), rate


@pytest.mark.parametrize("rate", [16_000, 22_050, 24_000])
@pytest.mark.parametrize("kind", ["wav", "flac", "opus", "mp3", "aac"])
def test_another_decoder_finds_the_whole_sound_where_it_belongs(kind: str, rate: int) -> None:
    import soxr

    sound = melody(rate)
    content, _ = streamed(kind, sound, rate)
    heard, own = decoded(content)
    expected = soxr.resample(sound, rate, own)
    if kind in ("wav", "flac"):
        assert heard.shape == expected.shape
        assert np.abs(heard - expected).max() < 1e-4
        return
    spare = 2048 * own // min(rate, 24_000)  # at most two frames of silence after it
    assert len(expected) <= len(heard) <= len(expected) + 2 * spare
    lag = delay(heard, expected)
    limit = own // 500 if kind != "aac" else 1024 + own // 500  # AAC in ADTS has no place to tell its delay
    assert abs(lag) <= limit, f"{kind} is {1000 * lag / own:.1f} ms late"
    aligned = heard[max(lag, 0) :][: len(expected)]
    size = min(len(aligned), len(expected))
    assert size > 0.98 * len(expected)
    assert np.corrcoef(aligned[:size], expected[:size])[0, 1] > 0.95


def delay(heard: Any, expected: Any) -> int:
    size = len(heard) + len(expected)
    spectrum = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(expected, size))
    place = int(np.argmax(np.fft.irfft(spectrum, size)))
    return place if place < size // 2 else place - size


def test_pcm_has_24_khz_16_bits_and_no_header() -> None:
    content, _ = streamed("pcm", melody(16_000), 16_000)
    assert len(content) == 2 * round(1.6 * 24_000)


@pytest.mark.parametrize("kind", containers.KINDS)
def test_bytes_come_while_the_sound_is_made(kind: str) -> None:
    _, first = streamed(kind, melody(16_000), 16_000)
    assert first <= 8, "pieces of 80 ms"


@pytest.mark.parametrize("kind", ["wav", "flac", "opus", "mp3"])
def test_tags_can_be_read_again(kind: str) -> None:
    import av

    content, _ = streamed(kind, melody(16_000), 16_000)
    with av.open(io.BytesIO(content)) as container:
        found = {name.lower(): value for name, value in {**container.metadata, **container.streams[0].metadata}.items()}
    assert found["comment"] == TAGS["comment"]
    assert found["title"] == TAGS["title"]


def test_libsndfile_reads_its_own_wav_opus_and_mp3() -> None:
    for kind in ("wav", "opus", "mp3"):
        heard, rate = soundfile.read(io.BytesIO(streamed(kind, melody(16_000), 16_000)[0]))
        assert rate == 16_000
        assert len(heard) >= 1.6 * 16_000, kind


def test_a_format_without_an_encoder_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="ogg: no such format; choose one of mp3, opus"):
        encoder_of("ogg", 16_000)
    original = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "av":
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match="aac: this server has no encoder for it; ask for mp3"):
        encoder_of("aac", 16_000)


@pytest.mark.parametrize("speed", [0.25, 0.7, 1.0, 1.3, 4.0])
def test_speed_changes_the_length_and_not_the_pitch(speed: float) -> None:
    rate = 16_000
    tone = (0.3 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate)).astype(np.float32)
    stretcher = Stretcher(speed, rate)
    parts = [stretcher.feed(tone[start : start + 1280]) for start in range(0, len(tone), 1280)]
    made = np.concatenate([*parts, stretcher.finish()])
    assert len(made) == round(len(tone) / speed)
    middle = made[len(made) // 4 : 3 * len(made) // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert abs(np.argmax(spectrum) * rate / len(middle) - 440) < 12
    edge = int(0.05 * rate / max(speed, 1))
    assert np.abs(made[:edge]).max() > 0.1, "the beginning is not cut off"
    assert np.abs(made[-edge:]).max() > 0.05, "nor the end"
