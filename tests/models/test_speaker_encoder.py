"""The speaker encoder tells voices from each other, and is loaded whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from timbre import audio
from timbre.core.errors import ModelError
from timbre.core.sections import SpeakerParams
from timbre.evaluation import speaker_encoder
from timbre.evaluation.speaker_encoder import KnownVoices, VoiceEncoder

TINY = ROOT / "models/tiny"


@pytest.fixture(scope="module")
def encoder() -> VoiceEncoder:
    return speaker_encoder.load(SpeakerParams(str(TINY / "speaker"), None))


def test_two_sentences_of_a_voice_are_nearer_than_two_voices(encoder: VoiceEncoder) -> None:
    names = ["mira", "rasmus", "kalle", "edda"]
    one, other = ([encoder.embed(audio.read(TINY / f"voices/{name}/{n}.flac")[0]) for name in names] for n in range(2))
    for place, name in enumerate(names):
        voices = KnownVoices(one[place], {n: one[i] for i, n in enumerate(names) if n != name})
        assert voices.is_named(other[place])
        assert voices.similarity(other[place]) > 0.9 > 0.5 > (speaker_encoder.floor(voices) or 1)
    assert np.array_equal(encoder.embed(audio.read(TINY / "voices/mira/0.flac")[0]), one[0])


def test_sounds_of_any_length_have_an_embedding(encoder: VoiceEncoder) -> None:
    for length in (0, 1, 1600, 40_000):
        found = encoder.embed(np.zeros(length, np.float32))
        assert np.isfinite(found).all()
        assert np.linalg.norm(found) <= 1.001


def test_an_encoder_of_the_hub_needs_its_commit_and_another_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"name its commit in speaker\.revision"):
        speaker_encoder.fingerprint(SpeakerParams("microsoft/wavlm-base-plus-sv", None))
    hub = [speaker_encoder.fingerprint(SpeakerParams("microsoft/wavlm-base-plus-sv", commit)) for commit in ("a", "b")]
    assert hub[0] != hub[1]
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot be loaded as a WavLMForXVector"):
        speaker_encoder.load(SpeakerParams(str(tmp_path), None))
