"""What attackers found before there was a harness, each by itself."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.support.git_history import Voice
from timbre import audio
from timbre.core.errors import AudioError, ModelError, TrackingError
from timbre.diff import lines
from timbre.families import lora
from timbre.tracking import connect
from timbre.training import loop
from timbre.versions import dvc_lock, history, lenient_rows
from timbre.versions.dvc_outs import Outs
from timbre.versions.lenient_rows import TranscriptRow
from timbre.versions.snapshot import EmptySnapshot, WorkTree
from timbre.web.booth import microphone_takes


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04 cut", b"\x80\x04\x95"], ids=repr)
def test_a_damaged_state_begins_the_training_again(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state.pt").write_bytes(content)
    assert loop.read_state(tmp_path / "state.pt") is None
    assert "the training begins again" in capsys.readouterr().err


@pytest.mark.parametrize("pattern", ["(a+)+$", "(.*)*x", ".*" * 9, "(", r"(\w|\w)+!+(\d+)+"])
def test_an_adapter_whose_search_may_never_end_is_refused(pattern: str, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"target_modules": pattern}))
    with pytest.raises(ModelError, match="may never end"):
        lora.check_config(tmp_path)


def test_the_search_of_our_own_adapters_is_accepted(tmp_path: Path) -> None:
    targets = rf".*(backbone_model|depth_decoder\.model)\.layers\.\d+\.{lora.PROJECTIONS}"
    (tmp_path / "adapter_config.json").write_text(json.dumps({"target_modules": targets, "rank_pattern": {}}))
    lora.check_config(tmp_path)


def wav(samples: int, rate: int) -> bytes:
    made = io.BytesIO()
    soundfile.write(made, np.full(samples, 0.3, np.float32), rate, format="WAV")
    return made.getvalue()


@pytest.mark.parametrize(("samples", "rate", "told"), [(128, 16_000, "too short for a word"), (700_000, 700_000, "Hz")])
def test_a_take_that_no_booth_can_keep_is_refused(samples: int, rate: int, told: str) -> None:
    with pytest.raises(AudioError, match=told):
        microphone_takes.read(wav(samples, rate))


def test_a_take_of_a_few_samples_that_lies_there_is_measured() -> None:
    assert microphone_takes.measure(np.full(100, 0.3, np.float32), 16_000, "Yes.").seconds == 0.01


def test_a_recording_whose_rate_no_flac_can_say_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(700_000, 700_000))
    with pytest.raises(AudioError, match="has 700000 Hz; convert it"):
        audio.to_flac(tmp_path / "a.wav", tmp_path / "a.flac", name="a")


def test_a_database_without_its_driver_is_one_line() -> None:
    with pytest.raises(TrackingError, match="cannot be reached"):
        connect("mysql://user:secret@localhost:1/db")


LOCKS = (
    "stages: 7", "stages: {a: 7, b: []}", "stages: {a: {outs: 7, deps: {}, params: []}}",
    "stages: {a: {outs: [7, {}, {path: 3}, {path: x}], deps: [null], params: {params.yaml: 7}}}",
)  # fmt: skip


class OneFile(EmptySnapshot):
    def __init__(self, files: dict[str, str]) -> None:
        self.files = files

    def read(self, path: str) -> bytes | None:
        return self.files[path].encode() if path in self.files else None


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize(
    "pipeline", ["stages: {a: {deps: 7, outs: [{}], params: 7}}", "stages: {a: {outs: [{x: 1, y: 2}]}}"]
)
def test_a_lock_of_another_shape_is_read_for_what_it_holds(lock: str, pipeline: str) -> None:
    snapshot = OneFile({"dvc.lock": lock, "dvc.yaml": pipeline})
    found = dvc_lock.read(snapshot)
    assert isinstance(found.outs, dict) and found.substance is not None
    dvc_lock.stale(snapshot, found)
    dvc_lock.kept(snapshot)


@pytest.mark.parametrize("listing", [b"7", b"{}", b"[7]", b'[{"md5": 1}]', b"[" * 10_000, b"\xff"])
def test_a_listing_of_another_shape_is_none(listing: bytes, tmp_path: Path) -> None:
    digest = "0" * 32 + ".dir"
    path = tmp_path / ".dvc/cache/files/md5/00" / digest[2:]
    path.parent.mkdir(parents=True)
    path.write_bytes(listing)
    lock = dvc_lock.Lock({"a": {"outs": [{"path": "data/x", "md5": digest}]}})
    assert Outs(tmp_path, remotes=False).list(lock, "data/x") == []


def test_a_link_to_a_device_is_not_read_for_ever(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").symlink_to("/dev/zero")
    assert WorkTree(tmp_path).read("params.yaml") is None


def test_a_hundred_thousand_lines_at_one_moment_are_compared_in_seconds() -> None:
    def rows(word: str, count: int) -> list[TranscriptRow]:
        return [TranscriptRow(n, 0.0, 10.0 + n / count, "ann", "", f"{word} {n}") for n in range(count)]

    began = time.process_time()
    lines.compare("noon", rows("old", 5_000), rows("new", 5_001))
    assert time.process_time() - began < 10  # it was quadratic: minutes


def test_a_separator_in_a_name_or_subject_splits_no_commit(tmp_path: Path) -> None:
    voice = Voice(tmp_path / "voice")
    voice.add("noon", ["One two."])
    voice.commit("a\x1fb \x1b[2J")
    assert [commit.subject for commit in history.on_any_branch(voice.root, ["params.yaml"])] == ["a\x1fb \x1b[2J"]


def test_a_row_of_spaces_is_read_at_once() -> None:
    began = time.process_time()
    lenient_rows.parse(b"0.00\t1.00\tann\t\ta" + b" " * 100_000 + b"b\n", "noon.tsv")
    assert time.process_time() - began < 1
