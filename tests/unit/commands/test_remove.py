"""`timbre remove`: a speaker or a recording leaves, and nothing else that people wrote changes."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.files import contents
from timbre.commands import cli
from timbre.core.errors import SourceError, TrackingError
from timbre.editing import yaml_entries
from timbre.project import sources

HEAD = "start\tend\tspeaker\tflag\ttext\n"
SOURCES = """# One entry per recording.
- id: dawn
  file: data/recordings/long.wav
  end: 9
  speaker: ann
  language: en
  licence: CC0-1.0
  consent: hers
  # start: / end: of ann's

# bob, by telephone
- id: noon   # a talk
  file: data/recordings/long.wav
  start: 9
  speaker: bob
  language: en
  licence: CC0-1.0
  consent: his
- id: night
  file: data/recordings/night.wav
  speaker: ann
  language: en
  licence: CC0-1.0
  consent: hers
"""
NOON = SOURCES[SOURCES.index("\n# bob") : SOURCES.index("- id: night")]


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder in ("recordings", "transcripts"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for name in ("long.wav", "night.wav"):
        (tmp_path / "data/recordings" / name).touch()
    (tmp_path / "data/transcripts/night.tsv").write_text(HEAD + "1\t2\tann\tok\tIt goes.\n")
    (tmp_path / "data/transcripts/noon.tsv").write_text(
        f"# by ear\n{HEAD}1\t2\tann\tok\tYes?\n2.0\t3.5\tbob\t\tIt comes.\n4\t5\tann\tdrop\tErm.\n"
    )
    (tmp_path / "data/sources.yaml").write_text(SOURCES)
    (tmp_path / "dvc.yaml").write_text("stages: {segment: {cmd: x, outs: [data/segments]}, log: {cmd: y}}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def remove(*arguments: str) -> None:
    assert cli.execute(["remove", *arguments]) == 0


def test_what_would_go_is_shown_and_nothing_changes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(root)
    remove("ann")
    assert contents(root) == before
    assert capsys.readouterr().out.splitlines() == [
        "data/sources.yaml: dawn goes",
        "data/sources.yaml: night goes",
        "data/transcripts/night.tsv goes",
        "data/recordings/night.wav goes",
        "data/transcripts/noon.tsv: 1 line flagged drop",
        "nothing was changed; --write does it",
    ]


def test_a_speaker_leaves_with_their_recordings_and_their_lines_elsewhere_are_dropped(root: Path) -> None:
    remove("ann", "--write")
    assert [source.id for source in sources.read(Path("data/sources.yaml"))] == ["noon"]
    assert Path("data/sources.yaml").read_text() == "# One entry per recording.\n" + NOON
    assert Path("data/recordings/long.wav").exists(), "noon is a part of it"
    assert Path("data/transcripts/noon.tsv").read_text() == (
        f"# by ear\n{HEAD}1\t2\tann\tdrop\tYes?\n2.0\t3.5\tbob\t\tIt comes.\n4\t5\tann\tdrop\tErm.\n"
    )
    assert not Path("data/transcripts/night.tsv").exists()
    assert not Path("data/recordings/night.wav").exists()


def test_what_a_speaker_agreed_to_stays_and_is_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    agreed = "{by: Ann, when: 2026-03-01, for: announcements, evidence: lost.pdf, revoked: 2026-04-01}"
    Path("data/speakers.yaml").write_text(f"speakers:\n  ann: {{name: Ann, consent: {agreed}}}\n")
    remove("ann", "noon", "--write")
    assert "data/speakers.yaml: ann stays, with what was agreed\n" in capsys.readouterr().out
    assert agreed in Path("data/speakers.yaml").read_text()


def test_a_recording_leaves_alone(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remove("noon", "--write")
    assert Path("data/sources.yaml").read_text() == SOURCES.replace(NOON, "\n# bob, by telephone\n")
    assert Path("data/recordings/long.wav").exists()
    assert not Path("data/transcripts/noon.tsv").exists()
    assert "`dvc repro` makes the voice without noon" in capsys.readouterr().out


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\n".join("  " + row for row in text.splitlines()),
        lambda text: (
            '[{id: dawn, url: "https://a.b/c", speaker: s, language: en, licence: l, consent: c},\n'
            ' {id: noon, url: "https://a.b/d", speaker: s, language: en, licence: l, consent: c}]  # flow\n'
        ),
    ],
    ids=["crlf", "indented", "JSON"],
)
def test_any_way_of_writing_the_file_is_kept(rewrite: object) -> None:
    path = Path("data/sources.yaml")
    path.write_text(rewrite(SOURCES), newline="")  # type: ignore[operator]
    wanted = [source for source in sources.read(path) if source.id != "dawn"]
    before, after = path.read_bytes().decode(), yaml_entries.without(path, {"dawn"}).after.decode()
    path.write_text(after, newline="")
    assert sources.read(path) == wanted
    assert ("\r\n" in before) == ("\r\n" in after)
    assert ("# flow" in before) == ("# flow" in after)


def test_the_last_one_leaves_too_and_what_was_made_is_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "dvc.yaml").write_text("stages: {segment: {cmd: x, outs: [data/segments, data/clips]}, log: {cmd: y}}\n")
    shutil.copytree(root, before_a_run := root.with_name("new"))
    (root / "data/segments").mkdir()
    remove("ann", "bob", "--write")
    assert "no recording is left to learn from; add others, or remove what was made: rm -r data/segments\n" in (
        capsys.readouterr().out
    )
    with contextlib.chdir(before_a_run):
        remove("ann", "bob", "--write")
    assert "no recording is left to learn from; add others\n" in capsys.readouterr().out
    assert yaml_entries.read(Path("data/sources.yaml")) == []
    assert Path("data/sources.yaml").read_text().startswith("# One entry per recording.\n")


def test_changes_that_no_commit_has_are_pointed_at(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=A", "-c", "user.email=a@b.c", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *command], check=True)
    path = Path("data/transcripts/night.tsv")
    path.write_text(path.read_text() + "3\t4\tann\t\tNot committed.\n")
    remove("night")
    said = capsys.readouterr().out
    assert f"{path} goes, WITH CHANGES THAT GIT DOES NOT HAVE\n" in said
    assert "data/recordings/night.wav goes\n" in said


def test_an_unknown_name_is_told_and_nothing_changes(root: Path) -> None:
    before = contents(root)
    with pytest.raises(SourceError) as caught:
        remove("nigth", "carl", "--write")
    assert str(caught.value).splitlines() == [
        "nigth: neither a recording nor a speaker; did you mean night?",
        "carl: neither a recording nor a speaker",
    ]
    assert contents(root) == before


LEFT = {  # of Ann: what she spoke in the booth, what the review page and a push keep of her, and pages
    ".timbre/takes/dusk/session.json": '{"id": "dusk", "speaker": "ann"}',
    ".timbre/takes/dusk/0123.flac": "a take",
    ".timbre/peaks/dawn.0123.1.u8": "peaks",
    ".timbre/muted/night.0123.flac": "sound",
    ".timbre/dismissed/night.json": "{}",
    ".timbre/push/harbour/data/train.parquet": "rows",
    "reports/index.html": "<audio>",
    "reports/report.html": "<audio>",
}
OTHERS = {
    ".timbre/takes/dusk-bob/session.json": '{"id": "dusk-bob", "speaker": "bob"}',
    ".timbre/peaks/noon.0123.1.u8": "peaks",
    "reports/metrics.json": "{}",
}


def write_left(root: Path) -> None:
    for name, content in {**LEFT, **OTHERS}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


def test_takes_pages_and_what_was_kept_of_a_voice_go_too(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_left(root)
    remove("ann")
    shown = capsys.readouterr().out
    for path in (".timbre/takes/dusk", ".timbre/push", "reports/index.html", "reports/report.html"):
        assert f"\n{path} goes\n" in shown
    remove("ann", "--write")
    assert [name for name in LEFT if Path(name).exists()] == []
    assert [name for name in OTHERS if not Path(name).exists()] == []


def test_who_only_spoke_in_the_booth_or_was_removed_before_is_known(root: Path) -> None:
    write_left(root)
    agreed = "{by: Eve, when: 2026-03-01, for: announcements, evidence: null}"
    Path("data/speakers.yaml").write_text(f"speakers:\n  eve: {{name: Eve, consent: {agreed}}}\n")
    Path(".timbre/takes/dusk/session.json").write_text('{"id": "dusk", "speaker": "cleo"}')
    remove("cleo", "--write")
    assert not Path(".timbre/takes/dusk").exists()
    remove("eve", "--write")


class Killed(BaseException):
    """As SIGKILL: nobody catches it."""


def test_a_removal_that_was_killed_anywhere_is_finished_by_the_same_command(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda stream: None)
    write_left(root)
    shutil.copytree(root, whole := root.with_name("whole"))
    monkeypatch.chdir(whole)
    remove("ann", "--write")
    expected, step = contents(whole), 0
    while True:
        step += 1
        shutil.copytree(root, copy := root.with_name(f"killed-{step}"))
        monkeypatch.chdir(copy)
        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            kill_at(patch, step)
            remove("ann", "--write")
            break  # nothing was left to be killed in
        remove("ann", "--write")
        assert contents(copy) == expected, f"killed at step {step}"
    assert step > 15


def kill_at(patch: pytest.MonkeyPatch, step: int) -> None:
    """From the `step`th change of the disk on, nothing changes any more."""
    count = 0

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def work(*arguments: Any, **named: Any) -> Any:
            nonlocal count
            if str(arguments[0]).endswith(".tmp") and change is not os.replace:
                return change(*arguments, **named)  # of a file that is being written
            count += 1
            if count >= step:
                raise Killed
            return change(*arguments, **named)

        return work

    for name in ("replace", "unlink", "rmdir"):
        patch.setattr(os, name, counted(getattr(os, name)))


def test_a_store_that_does_not_answer_is_told_and_all_else_is_removed(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    with pytest.raises(TrackingError, match="all else is removed; `timbre remove ann --write` takes it out there too"):
        cli.execute(["remove", "ann", "--write"])
    assert [source.id for source in sources.read(Path("data/sources.yaml"))] == ["noon"]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    remove("ann", "--write")
    assert "a removal of ann was cut short; --write finishes it too" in capsys.readouterr().out
    assert not Path(".timbre/removal.json").exists()
