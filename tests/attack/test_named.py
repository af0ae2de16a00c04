"""What attackers found before there was a harness, each by itself."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.attack import harness
from tests.support.git_history import Voice
from timbre import audio
from timbre.commands import add
from timbre.core.errors import AudioError, DataError, ModelError, SourceError, TrackingError
from timbre.diff import lines, rights
from timbre.evaluation import metrics
from timbre.evaluation.metrics import Evidence
from timbre.families import checkpoints, lora
from timbre.families.csm import model as csm
from timbre.families.orpheus import model as orpheus
from timbre.families.sovits import load as sovits
from timbre.project import transcripts
from timbre.tracking import connect, probe
from timbre.training import checkpoint
from timbre.versions import dvc_lock, history, lenient_rows
from timbre.versions.dvc_outs import Outs
from timbre.versions.lenient_rows import TranscriptRow
from timbre.versions.snapshot import EmptySnapshot, WorkTree
from timbre.versions.tables import VersionTables
from timbre.web.booth import microphone_takes

MINUTE = 60.0  # of the processor


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04 cut", b"\x80\x04\x95"], ids=repr)
def test_a_damaged_state_begins_the_training_again(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state.pt").write_bytes(content)
    assert checkpoint.read_state(tmp_path / "state.pt") is None
    assert "the training begins again" in capsys.readouterr().err


@pytest.mark.parametrize("pickled", [b"\x80\x02e.", b"\x80\x02h\x05.", b"\x80\x02.", b""], ids=repr)
def test_a_checkpoint_over_which_torch_itself_stumbles_is_one_line(pickled: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (("data.pkl", pickled), ("byteorder", b"little"), ("version", b"3\n")):
            archive.writestr(f"model/{name}", content)
    with pytest.raises(ModelError, match=r"model\.pth is (damaged or cut off|no file that torch saved)"):
        checkpoints.read(path)


def test_a_hearing_model_whose_settings_are_of_other_types_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"num_conv_pos_embeddings": {"": None}}))
    with pytest.raises(ModelError, match=r"cannot be loaded .*; download it again"):
        sovits.hubert_of(tmp_path)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(.*)*x", ".*" * 9, "(", r"(\w|\w)+!", "(a|b)*", "(?:ab){9}"])
def test_an_adapter_whose_search_may_never_end_is_refused(pattern: str, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"target_modules": pattern}))
    (tmp_path / "adapter_model.safetensors").touch()
    with pytest.raises(ModelError, match="may never end"):
        lora.check_config(tmp_path)


@pytest.mark.parametrize("targets", [csm.TARGETS, orpheus.TARGETS], ids=["csm", "orpheus"])
def test_the_search_of_our_own_adapters_is_accepted(targets: str, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"target_modules": targets, "rank_pattern": {}}))
    (tmp_path / "adapter_model.safetensors").touch()
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


@pytest.mark.parametrize("end", ["a b", "\x01", "[", ":x"])
def test_an_address_that_no_request_can_hold_is_one_line(end: str) -> None:
    with pytest.raises(TrackingError, match="cannot be reached"):
        probe(f"http://localhost:1/{end}" if end != ":x" else "http://localhost:x")


@pytest.mark.parametrize("url", ["http://[x]/a", "http://[", "http://[::1/a"])
def test_an_address_that_no_parser_takes_is_one_line(url: str) -> None:
    with pytest.raises(SourceError, match="is not an address"):
        add.make_id(url, (), set())


@pytest.mark.parametrize(
    "values",
    [[], {"gates": True}, {"gates": {"words": 3}}, {"gates": {"words": {"passed": "../x"}}}, {"base": {"wer": [0.1]}},
     {"differences": [1]}, {"speaker": {"floor": "0.1"}}, {"tuned": {"words": 1.5}}],
    ids=str,
)  # fmt: skip
def test_metrics_of_other_types_are_none(values: object, tmp_path: Path) -> None:
    path = tmp_path / "reports/metrics.json"
    path.parent.mkdir()
    path.write_text(json.dumps(values))
    with pytest.raises(DataError, match="does not hold what a voice's evaluation writes"):
        metrics.read(path)
    assert VersionTables(WorkTree(tmp_path), Outs(tmp_path, remotes=False)).evidence == Evidence()


@pytest.mark.parametrize("speakers", ["speakers:\n  a: \x01", "speakers:\n  ? 'a\n\n    b'\n  : {consent: 3}\n"])
def test_a_mistake_that_breaks_the_line_has_its_place(speakers: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/speakers.yaml").write_text(speakers)
    found = list(rights.problems(VersionTables(WorkTree(tmp_path), Outs(tmp_path, remotes=False))))
    assert found
    assert {problem.path for problem in found} == {"data/speakers.yaml"}


def test_what_lies_below_or_beside_the_transcripts_is_none(tmp_path: Path) -> None:
    for name in ("noon.tsv", "old/noon.tsv", ".noon.tsv", ".#noon.tsv", "#noon.tsv#", "noon.tsv~", ".noon.tsv.swp"):
        path = tmp_path / "data/transcripts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    tables = VersionTables(WorkTree(tmp_path), Outs(tmp_path, remotes=False))
    assert list(tables.transcripts) == ["data/transcripts/noon.tsv"]
    assert [path.name for path in transcripts.files(tmp_path / "data/transcripts")] == ["noon.tsv"]


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
    assert isinstance(found.outs, dict)
    assert found.substance is not None
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

    with harness.limited(MINUTE):  # it was quadratic: many of them
        lines.compare("noon", rows("old", 5_000), rows("new", 5_001))


def test_a_separator_in_a_name_or_subject_splits_no_commit(tmp_path: Path) -> None:
    voice = Voice(tmp_path / "voice")
    voice.add("noon", ["One two."])
    voice.commit("a\x1fb \x1b[2J")
    assert [commit.subject for commit in history.on_any_branch(voice.root, ["params.yaml"])] == ["a\x1fb \x1b[2J"]


def test_a_row_of_spaces_is_read_at_once() -> None:
    with harness.limited(MINUTE):
        lenient_rows.parse(b"0.00\t1.00\tann\t\ta" + b" " * 100_000 + b"b\n", "noon.tsv")
