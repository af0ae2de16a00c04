"""The codec of CSM on a random model: what it says of itself, and that no sound depends on its company."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tests.support.paths import ROOT
from tests.support.tiny_models import (
    CODEBOOKS,
    FRAME,
    SAMPLE_RATE,
    codes,
    sound,
)
from timbre import audio, families
from timbre.core.sections import VoiceParams
from timbre.families.csm import mimi, mimi_hearing


def test_the_voice_says_its_rates(voice: Any) -> None:
    assert (voice.sample_rate, voice.frame_rate, voice.positions) == (SAMPLE_RATE, SAMPLE_RATE / FRAME, 2048)


def test_encoding_in_a_batch_gives_the_codes_of_encoding_alone(voice: Any) -> None:
    sounds = [sound(0.5, 1), sound(1.37, 2), sound(0.04, 3)]
    together = [made["codes"] for made in voice.encode(sounds)]
    assert [len(made) for made in together] == [13, 35, 1]  # a begun frame is a frame
    for made, single in zip(together, sounds, strict=True):
        assert (made == voice.encode([single])[0]["codes"]).all()
    assert len(np.unique(together[1])) > 10, "the random codec should tell sounds apart"


def test_decoding_gives_a_frame_of_sound_per_frame(voice: Any) -> None:
    assert voice.decode(codes(7)).shape == (7 * FRAME,)
    assert voice.decode(codes(0)).shape == (0,)


def test_a_long_sound_is_encoded_piece_by_piece_to_the_codes_of_the_whole(voice: Any) -> None:
    sounds = [np.random.default_rng(seed).normal(0, 0.1, FRAME * 150).astype(np.float32) for seed in range(2)]
    values = torch.from_numpy(np.stack(sounds))[:, None]
    with torch.no_grad():
        whole = voice.base.codec_model.encode(values, num_quantizers=CODEBOOKS).audio_codes
    assert len(sounds[0]) > 2 * mimi.HEARD_AT_ONCE * SAMPLE_RATE
    for alone, expected in zip(voice.encode([sounds[0], sounds[1][: FRAME * 140]]), whole, strict=True):
        assert np.array_equal(alone["codes"], expected.T.numpy()[: len(alone["codes"])])


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The samples of each sound that is left to the library."""
    lengths: list[int] = []
    encoded = mimi.encoded

    def counted(codec: Any, sounds: torch.Tensor, codebooks: int) -> torch.Tensor:
        lengths.append(sounds.shape[-1])
        return encoded(codec, sounds, codebooks)

    monkeypatch.setattr(mimi, "encoded", counted)
    return lengths


def test_the_demos_codec_finds_the_codes_of_the_library(left: list[int]) -> None:
    codec: Any = families.load_codec(VoiceParams("csm", str(ROOT / "models/tiny/csm"), None))
    recording, _ = audio.read(ROOT / "data/recordings/harbour-morning.flac", codec.hearing_rate, end=40.0)
    sounds = np.split(recording, [80_000, 160_000, 400_000])
    for part in sounds:
        found = codec.encode([part])[0]["codes"]
        mimi, values = codec.model, torch.from_numpy(np.pad(part, (0, -len(part) % codec.model.config.frame_size)))
        with torch.no_grad():
            expected = mimi.encode(values[None, None], num_quantizers=codec.codebooks).audio_codes[0]
        assert np.array_equal(found, expected.T.numpy())
    assert len(left) < len(sounds), "most are not left to the library"


def test_where_rounding_could_decide_the_library_does(
    voice: Any, left: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = voice.encode([sound(1.37, 2)])[0]["codes"]
    assert not left
    monkeypatch.setattr(mimi_hearing, "NEARER", 0.5)
    assert np.array_equal(voice.encode([sound(1.37, 2)])[0]["codes"], quick)
    assert left == [len(quick) * FRAME]


def test_a_large_codec_is_left_to_the_library(voice: Any, left: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mimi_hearing, "MOST_ENTRIES", 1)
    voice.encode([sound(0.5, 1)])
    assert len(left) == 1
