"""The speaker encoder tells voices from each other, and is loaded whole or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from stages import evaluate
from tests.models.test_lean_transformers import python
from tests.support.paths import ROOT
from timbre import audio
from timbre.core.errors import ModelError
from timbre.core.records import Sample
from timbre.core.sections import SpeakerParams, VoiceParams
from timbre.evaluation import ge2e, speaker_encoder
from timbre.evaluation.speaker_encoder import AnyVoiceEncoder, KnownVoices, SmallVoiceEncoder, VoiceEncoder
from timbre.evaluation.speaker_similarity import JudgedSound, bring

TINY = ROOT / "models/tiny"
VOICES = ("mira", "rasmus")


@pytest.fixture(scope="module")
def encoder() -> AnyVoiceEncoder:
    return speaker_encoder.load(SpeakerParams(str(TINY / "speaker"), None))


def test_two_sentences_of_a_voice_are_nearer_than_two_voices(encoder: AnyVoiceEncoder) -> None:
    names = ["mira", "rasmus", "kalle", "edda"]
    one, other = ([encoder.embed(audio.read(TINY / f"voices/{name}/{n}.flac")[0]) for name in names] for n in range(2))
    for place, name in enumerate(names):
        voices = KnownVoices(one[place], {n: one[i] for i, n in enumerate(names) if n != name})
        assert voices.is_named(other[place])
        assert voices.similarity(other[place]) > 0.9 > 0.5 > (speaker_encoder.floor(voices) or 1)
    assert np.array_equal(encoder.embed(audio.read(TINY / "voices/mira/0.flac")[0]), one[0])


def test_loading_it_by_transformers_draws_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging

    logging.enable_progress_bar()
    speaker_encoder._by_transformers(SpeakerParams(str(TINY / "speaker"), None))
    assert capsys.readouterr().err == ""


def random_wavlm(folder: Path, **other: object) -> Path:
    import torch
    from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMForXVector

    torch.manual_seed(0)
    content = json.loads((TINY / "speaker/config.json").read_bytes())
    WavLMForXVector(WavLMConfig.from_dict({**content, **other})).save_pretrained(folder)
    Wav2Vec2FeatureExtractor.from_pretrained(TINY / "speaker").save_pretrained(folder)
    return folder


def test_a_small_encoder_gives_without_transformers_what_it_gives_with(tmp_path: Path) -> None:
    deeper = random_wavlm(tmp_path / "deeper", num_hidden_layers=3, num_conv_pos_embeddings=15)
    random = np.random.default_rng(0)
    sounds = [audio.read(TINY / f"voices/{name}/0.flac")[0] for name in VOICES]
    sounds += [random.normal(0, 0.1, length).astype(np.float32) for length in (0, 1, 20_001, 160_000)]
    for folder in (TINY / "speaker", deeper):
        params = SpeakerParams(str(folder), None)
        small, whole = speaker_encoder.load(params), speaker_encoder._by_transformers(params)
        assert isinstance(small, SmallVoiceEncoder)
        assert all(np.abs(small.embed(sound) - whole.embed(sound)).max() < 1e-6 for sound in sounds)
    used = "import sys\nfrom timbre.evaluation import speaker_encoder\nfrom timbre.core.sections import SpeakerParams\n"
    used += f"import numpy\nspeaker_encoder.load(SpeakerParams('{deeper}', None)).embed(numpy.ones(9, 'f'))\n"
    imported = python(f"{used}print(*sys.modules)", tmp_path).split()
    assert "timbre.evaluation.small_wavlm" in imported
    assert "transformers" not in imported


@pytest.mark.parametrize(
    "other", [{"feat_extract_norm": "group"}, {"do_stable_layer_norm": True}, {"use_weighted_layer_sum": True}]
)
def test_an_encoder_of_another_layout_is_left_to_transformers(tmp_path: Path, other: dict[str, object]) -> None:
    loaded = speaker_encoder.load(SpeakerParams(str(random_wavlm(tmp_path, **other)), None))
    assert isinstance(loaded, VoiceEncoder)
    assert np.isfinite(loaded.embed(np.ones(1600, np.float32))).all()


def test_a_small_encoder_that_is_damaged_is_refused_in_a_line(tmp_path: Path) -> None:
    shutil.copytree(TINY / "speaker", tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match="cannot be loaded as a WavLMForXVector"):
        speaker_encoder.load(SpeakerParams(str(tmp_path), None))


def test_sounds_of_any_length_have_an_embedding(encoder: AnyVoiceEncoder) -> None:
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


@pytest.fixture(scope="module")
def random_ge2e(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The form in which Resemblyzer publishes its weights, with others: its own are no part of the repository."""
    import torch

    torch.manual_seed(0)
    lstm = torch.nn.LSTM(ge2e.BANDS, ge2e.WIDTH, ge2e.LAYERS, batch_first=True)
    linear = torch.nn.Linear(ge2e.WIDTH, ge2e.WIDTH)
    state = {f"{name}.{key}": value for name, part in (("lstm", lstm), ("linear", linear))
             for key, value in part.state_dict().items()}  # fmt: skip
    path = tmp_path_factory.mktemp("ge2e") / "pretrained.pt"
    # as published: a weight of the loss as well
    torch.save({"step": 1, "model_state": {**state, "similarity_weight": torch.ones(1)}}, path)
    return path


def test_the_weights_of_resemblyzer_are_found_without_running_its_code(
    random_ge2e: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="pip install --no-deps resemblyzer"):
        ge2e.weights_of("resemblyzer")
    package = tmp_path / "resemblyzer"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('it asks for librosa and webrtcvad')\n")
    (package / "pretrained.pt").write_bytes(random_ge2e.read_bytes())
    monkeypatch.syspath_prepend(tmp_path)
    one, other = (SpeakerParams(name, None) for name in ("resemblyzer", str(random_ge2e)))
    assert speaker_encoder.fingerprint(one) == speaker_encoder.fingerprint(other)
    assert [model for model, _ in speaker_encoder.named("resemblyzer")] == ["resemblyzer"]
    sound = audio.read(TINY / "voices/mira/0.flac", speaker_encoder.SAMPLE_RATE)[0]
    first, second = (speaker_encoder.load(params).embed(sound) for params in (one, other))
    assert np.array_equal(first, second)
    assert first.shape == (ge2e.WIDTH,)
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-5)
    assert first.min() >= 0, "it ends in a rectifier"


def test_a_long_sound_is_the_mean_of_its_parts_and_silence_nobodys_voice(random_ge2e: Path) -> None:
    assert [ge2e.parts(length) for length in (0, 16_000, 25_440, 38_000, 48_000)] == [
        [0], [0], [0], [0, 77], [0, 77, 154],
    ]  # fmt: skip
    encoder = speaker_encoder.load(SpeakerParams(str(random_ge2e), None))
    random = np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32)
    for length in (0, 1, 1600, 40_000):
        assert np.isfinite(encoder.embed(random[:length])).all()
        assert not encoder.embed(np.zeros(length, np.float32)).any()
    quiet, level = (encoder.embed(random * scale) for scale in (0.01, 0.05))
    assert quiet @ level > 0.9999, "how loud it was recorded says nothing"


def test_a_file_that_is_no_such_encoder_is_refused_in_a_line(tmp_path: Path) -> None:
    import torch

    (tmp_path / "text.pt").write_text("no weights")
    torch.save({"model_state": {"lstm.weight": torch.ones(1)}}, tmp_path / "other.pt")
    for name in ("text.pt", "other.pt"):
        with pytest.raises(ModelError, match=rf"{name}: cannot be loaded as a GE2E speaker encoder"):
            speaker_encoder.load(SpeakerParams(str(tmp_path / name), None))
    with pytest.raises(ModelError, match=r"gone\.pt: no such file"):
        speaker_encoder.fingerprint(SpeakerParams(str(tmp_path / "gone.pt"), None))
