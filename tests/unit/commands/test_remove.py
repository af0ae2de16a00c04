"""`timbre remove`: a speaker or a recording leaves, and nothing else that people wrote changes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from timbre.commands import cli
from timbre.core.errors import SourceError
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


def everything(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def remove(*arguments: str) -> None:
    assert cli.execute(["remove", *arguments]) == 0


def test_what_would_go_is_shown_and_nothing_changes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = everything(root)
    remove("ann")
    assert everything(root) == before
    assert capsys.readouterr().out.splitlines() == [
        "data/sources.yaml: dawn goes",
        "data/sources.yaml: night goes",
        "data/transcripts/night.tsv goes",
        "data/recordings/night.wav goes",
        "data/transcripts/noon.tsv: 1 lines are flagged drop",
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
    remove("ann", "bob", "--write")
    assert "no recording is left to learn from; add others, or remove what was made: rm -r data/segments" in (
        capsys.readouterr().out
    )
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
    before = everything(root)
    with pytest.raises(SourceError) as caught:
        remove("nigth", "carl", "--write")
    assert str(caught.value).splitlines() == [
        "nigth: neither a recording nor a speaker; did you mean night?",
        "carl: neither a recording nor a speaker",
    ]
    assert everything(root) == before
