"""The speaker encoder tells voices from each other, and is loaded whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stages import evaluate
from tests.support.paths import ROOT
from timbre import audio
from timbre.core.errors import ModelError
from timbre.core.records import Sample
from timbre.core.sections import SpeakerParams, VoiceParams
from timbre.evaluation import speaker_encoder
from timbre.evaluation.speaker_encoder import KnownVoices, VoiceEncoder
from timbre.evaluation.speaker_similarity import JudgedSound, bring

TINY = ROOT / "models/tiny"
VOICES = ("mira", "rasmus")


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


def test_the_same_encoder_twice_gives_the_same_vectors_in_entries_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sounds = [
        JudgedSound(kind, name, name, TINY / f"voices/{name}/0.flac")  # type: ignore[arg-type]
        for kind, name in (("sample", VOICES[0]), ("true", VOICES[0]), ("other", VOICES[1]))
    ]
    encoder, voice = SpeakerParams(str(TINY / "speaker"), None), VoiceParams("csm", str(TINY / "csm"), None)
    (alone,) = bring(tmp_path, sounds, [encoder], voice)
    first, second = bring(tmp_path, sounds, [encoder, encoder], voice)
    assert "3 computed, 3 kept" in capsys.readouterr().out
    assert (tmp_path / f"second-{VOICES[0]}.json").exists()
    assert first["sample"][0][1] == pytest.approx(alone["sample"][0][1])
    assert first["sample"][0][1] == pytest.approx(second["sample"][0][1])
    one = Sample("base-p-0", "base", "p", "domain", "The ferry.", None, 0, None, None, "b", 2.0, True, "k")
    (judged,) = evaluate.second_voices([second], [one])
    assert judged is not None
    assert (round(judged.similarity, 4), judged.named) == (1.0, True)
    assert evaluate.second_voices([], [one]) == [None]
    assert speaker_encoder.named("owner/name@abc") == [("owner/name", "abc")]
    assert speaker_encoder.named(str(TINY)) == [(str(TINY), None)]
    with pytest.raises(ModelError, match="owner/name is no folder here; of a model on the hub write owner/name@COMMIT"):
        speaker_encoder.named("owner/name")
    assert speaker_encoder.named(None) == []
