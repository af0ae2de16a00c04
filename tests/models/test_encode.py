"""Codes of clips: what is computed again, in which company, and what a broken clip says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from stages.encode import encode_all
from tests.support.files import contents
from tests.support.tiny_models import CODEBOOKS, random_csm, write_clips
from timbre.core.content import content_key
from timbre.core.errors import AudioError, DataError
from timbre.core.sections import EncodeParams, VoiceParams
from timbre.families.codes import read


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> VoiceParams:
    return VoiceParams("csm", str(random_csm(tmp_path_factory.mktemp("models") / "csm")), None)


def test_every_clip_has_its_codes_and_their_number(model: VoiceParams, tmp_path: Path) -> None:
    examples = write_clips(tmp_path, 5)
    encode_all(tmp_path / "data/clips", tmp_path / "codes", EncodeParams(1), model)
    assert set(contents(tmp_path / "codes")) == {
        f"{e.id}{suffix}" for e in examples for suffix in (".safetensors", ".json")
    }
    for example in examples:
        codes = read(tmp_path / "codes", example.id)["codes"]
        assert codes.dtype == np.int16
        assert codes.shape == (int(np.ceil(round(example.seconds * 25, 6))), CODEBOOKS)
        assert json.loads((tmp_path / f"codes/{example.id}.json").read_text())["frames"] == len(codes)


def test_only_new_clips_are_encoded(model: VoiceParams, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips, out = tmp_path / "data/clips", tmp_path / "codes"
    write_clips(tmp_path, 4)
    encode_all(clips, out, EncodeParams(1), model)
    first = contents(out)
    encode_all(clips, out, EncodeParams(1), model)
    assert "0 computed, 4 kept, 0 removed" in capsys.readouterr().out
    (clips / f"{content_key('clip', 0)}.flac").unlink()
    write_clips(tmp_path, 5)
    encode_all(clips, out, EncodeParams(1), model)
    told = capsys.readouterr().out
    assert "1 computed, 4 kept, 0 removed" in told
    assert "20 codec frames computed" in told  # 0.8 s at 25 frames per second
    assert {name: content for name, content in contents(out).items() if name in first} == first


def test_a_batch_gives_the_same_bytes_as_one_by_one(model: VoiceParams, tmp_path: Path) -> None:
    write_clips(tmp_path, 5)
    for batch in (1, 3):
        encode_all(tmp_path / "data/clips", tmp_path / str(batch), EncodeParams(batch), model)
    assert contents(tmp_path / "1") == contents(tmp_path / "3")


def test_another_base_model_encodes_all_again(
    model: VoiceParams, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_clips(tmp_path, 3)
    encode_all(tmp_path / "data/clips", tmp_path / "codes", EncodeParams(1), model)
    other = VoiceParams("csm", str(random_csm(tmp_path / "other", seed=1)), None)
    encode_all(tmp_path / "data/clips", tmp_path / "codes", EncodeParams(1), other)
    assert "3 computed, 0 kept" in capsys.readouterr().out


def test_a_clip_that_is_no_audio_is_named(model: VoiceParams, tmp_path: Path) -> None:
    write_clips(tmp_path, 2)
    (tmp_path / "data/clips/0123456789abcdef.flac").write_bytes(b"words, no sound")
    with pytest.raises(AudioError, match=r"0123456789abcdef.flac: no audio can be read"):
        encode_all(tmp_path / "data/clips", tmp_path / "codes", EncodeParams(1), model)
    assert not (tmp_path / "codes").exists()


def test_no_clips_at_all_is_an_error(model: VoiceParams, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no clips"):
        encode_all(tmp_path, tmp_path / "codes", EncodeParams(1), model)
