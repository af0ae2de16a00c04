"""`timbre diff` over a repository with a history: each commit's report is a golden file.

On purpose: `GOLDEN=write python -m pytest tests/test_diff.py`, then read what changed in tests/golden/diff.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.voices import Voice
from timbre import cli
from timbre.diff.compare import compare
from timbre.diff.outs import Outs
from timbre.diff.render import COMMENT, FORMATS, render
from timbre.diff.report import Report
from timbre.diff.snapshot import open_snapshot

GOLDEN = Path(__file__).parent / "golden/diff"
ROOT = Path(__file__).parent.parent
MORNING = [
    "The trellis boat leaves the harbour at nine.", "Passengers with coffee to pier five please.",
    "Under the old lantern the silver boat waits.", "The night ferry stops again.",
    "Captain Marlow reads the trellis map.", "A quiet train crosses the golden bridge.",
    "Yes.", "The station clock is slow today.", "Nobody saw the trellis lamp.", "The last boat is late.",
]  # fmt: skip
NOON = ["At noon the gulls come in.", "They want bread.", "They get fish.", "Then they go.", "Until tomorrow."]
HOSTILE = (
    "@octocat #12 | `rm` <script>alert(1)</script> ![x](http://e.vil/i.png) **b** "
    "\x1b[31m \u202egnp.exe $x^2$ שלום :tada:"
)


def reword(voice: Voice) -> None:
    for number in (0, 4, 8):
        voice.edit("morning", number, text=MORNING[number].replace("trellis", "Trelis"))
    voice.edit("noon", 1, text="They want white bread, and they want it now.")
    voice.wrong |= {"ferry": 2, "train": 0, "lamp": 0, "gull": 1}


def retime(voice: Voice) -> None:
    for number in (0, 1, 2):
        start, end, *_ = voice.transcripts["noon"][number]
        voice.edit("noon", number, start=start + 0.3, end=end + 0.3)
    voice.edit("noon", 4, end=18.5)


def split(voice: Voice) -> None:
    voice.transcripts["morning"][5:6] = [
        (20.0, 21.2, "marina", "", "A quiet train"),
        (21.2, 23.0, "marina", "", "crosses the golden bridge."),
    ]


def merge(voice: Voice) -> None:
    voice.transcripts["noon"][3:5] = [(12.0, 18.5, "marina", "", "Then they go, until tomorrow.")]


def drop(voice: Voice) -> None:
    voice.edit("morning", 3, flag="drop")
    voice.edit("morning", 1, flag="ok")
    voice.edit("noon", 0, text="At  noon the gulls come in.")


def new_recording(voice: Voice) -> None:
    voice.add("dusk", ["The lamps are lit.", "The boats are home.", "Good night."], speaker="otto", licence="CC-BY-4.0")


def removed_recording(voice: Voice) -> None:
    del voice.transcripts["noon"], voice.sources["noon"]


def revoked_consent(voice: Voice) -> None:
    voice.sources["morning"]["consent"] = "revoked on 2 November"
    voice.sources["dusk"].pop("consent")


def parameter(voice: Voice) -> None:
    voice.params = {"chunk": {"max_seconds": 30}, "train": {"rate": 0.0001, "rank": 16}}


def hostile(voice: Voice) -> None:
    voice.edit("morning", 0, text=HOSTILE)
    voice.sources["dusk"]["consent"] = HOSTILE


STEPS: list[Callable[[Voice], None]] = [
    reword, retime, split, merge, drop, new_recording, removed_recording, revoked_consent, parameter, hostile,
]  # fmt: skip


def first(root: Path) -> Voice:
    voice = Voice(root)
    voice.add("morning", MORNING)
    voice.add("noon", NOON)
    voice.commit("First voice")
    return voice


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Voice:
    voice = first(tmp_path_factory.mktemp("history") / "voice")
    for step in STEPS:
        step(voice)
        voice.commit(step.__name__)
    return voice


def report(voice: Voice, old: str | None, new: str | None) -> Report:
    with open_snapshot(voice.root, old) as before, open_snapshot(voice.root, new) as after:
        return compare(before, after, Outs(voice.root))


def between(number: int) -> tuple[str, str]:
    return f"main~{len(STEPS) - number}", f"main~{len(STEPS) - number - 1}"


def golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), f"{path.name} differs; see {__name__}"


@pytest.mark.parametrize("number", range(len(STEPS)), ids=[step.__name__ for step in STEPS])
def test_each_commit_reads_as_its_golden_file(history: Voice, number: int) -> None:
    text = render(report(history, *between(number)), "markdown", link="https://example.org/blob/c0ffee/")
    golden(f"{number + 1:02}-{STEPS[number].__name__}.md", text)


@pytest.mark.parametrize(
    ("form", "suffix"), [("markdown", "md"), ("html", "html"), ("terminal", "txt"), ("json", "json")]
)
def test_the_whole_history_reads_as_its_golden_file(history: Voice, form: str, suffix: str) -> None:
    golden(f"all.{suffix}", render(report(history, f"main~{len(STEPS)}", "main"), form))


@pytest.mark.parametrize("version", ["main", f"main~{len(STEPS)}", None])
def test_a_version_against_itself_is_empty(history: Voice, version: str | None) -> None:
    found = report(history, version, version)
    assert found.is_empty
    assert found.stale == []
    for form in FORMATS:
        assert "nothing changed" in render(found, form)


def test_the_way_back_is_the_report_turned(history: Voice) -> None:
    versions = f"main~{len(STEPS)}", "main"
    there, back = report(history, *versions), report(history, *versions[::-1])
    assert Counter((c.old, c.new) for c in there.words) == Counter((c.new, c.old) for c in back.words)
    assert Counter((c.old, c.new) for c in there.clips) == Counter((c.new, c.old) for c in back.clips)
    assert {(p.key, p.old, p.new) for p in there.params} == {(p.key, p.new, p.old) for p in back.params}
    assert {(t.name, t.old, t.new) for t in there.totals} == {(t.name, t.new, t.old) for t in back.totals}
    assert {(r.condition, r.name, r.old, r.new, r.margin) for r in there.rates} == {
        (r.condition, r.name, r.new, r.old, r.margin) for r in back.rates
    }
    assert {(s.id, *v, key) for s in there.sources for key, v in s.values.items()} == {
        (s.id, *v[::-1], key) for s in back.sources for key, v in s.values.items()
    }
    assert there.left_out == {why: (new, old) for why, (old, new) in back.left_out.items()}


def test_the_work_tree_is_a_version_too(history: Voice, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(history.root, copy)
    path = copy / "data/transcripts/dusk.tsv"
    path.write_text(path.read_text().replace("Good night.", "Good night, all."))
    voice = Voice.__new__(Voice)
    voice.root = copy
    found = report(voice, "main", None)
    assert [change.new_text for change in found.words] == ["Good night, all."]
    assert [(stage.stage, stage.reasons) for stage in found.stale] == [
        ("segment", ("data/transcripts changed",)), ("chunk", ()), ("dataset", ()), ("train", ()), ("evaluate", ()),
    ]  # fmt: skip
    golden("work-tree.md", render(found, "markdown"))


def test_conflict_markers_are_told_with_their_lines(history: Voice, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(history.root, copy)
    path = copy / "data/transcripts/dusk.tsv"
    lines = path.read_text().splitlines()
    ours, theirs = lines[3].replace("night", "day"), lines[3].replace("night", "bye")
    path.write_text("\n".join([*lines[:3], "<<<<<<< HEAD", ours, "=======", theirs, ">>>>>>> other"]) + "\n")
    (copy / "dvc.lock").write_text("<<<<<<< HEAD\nschema: '2.0'\n=======\n>>>>>>> other\n")
    voice = Voice.__new__(Voice)
    voice.root = copy
    found = report(voice, "main", None)
    assert {(p.path, p.line) for p in found.problems if "conflict marker" in p.what} == {
        ("data/transcripts/dusk.tsv", 4), ("data/transcripts/dusk.tsv", 6), ("data/transcripts/dusk.tsv", 8),
        ("dvc.lock", 1),
    }  # fmt: skip
    golden("conflict.md", render(found, "markdown"))


def test_a_clone_without_data_says_what_it_could_not_compare(history: Voice, tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "-q", str(history.root), str(tmp_path / "clone")], check=True)
    voice = Voice.__new__(Voice)
    voice.root = tmp_path / "clone"
    found = report(voice, *between(0))
    assert len(found.words) == 4
    assert found.rates
    assert found.leaks is None
    assert found.clips == []
    assert "data/chunks/clips.jsonl of main~10" in found.unreachable
    golden("no-data.md", render(found, "markdown"))


def test_tables_of_another_make_are_told_and_not_compared(tmp_path: Path) -> None:
    voice = first(tmp_path / "voice")
    for path in (voice.root / ".dvc/cache/files/md5").glob("*/*"):
        path.write_bytes(path.read_bytes().replace(b'"seconds"', b'"length"').replace(b"errors", b"mistakes"))
    found = report(voice, "main", None)
    assert found.unreachable == [
        f"{path} of {version}, which is of another make"
        for version in ("main", "work tree")
        for path in ("data/chunks/clips.jsonl", "reports/scores.csv")
    ]
    assert found.leaks is None


def timbre(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from timbre.cli import main; main()"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = [sys.executable, "-c", code, "diff", *arguments]
    return subprocess.run(done, cwd=root, capture_output=True, text=True, check=False, env=env)


def test_check_fails_on_a_stale_lock_a_leak_and_missing_consent(tmp_path: Path) -> None:
    voice = first(tmp_path / "voice")
    assert timbre(voice.root, "--check").returncode == 0
    voice.edit("noon", 0, text="At noon the ferry comes in.")
    voice.write()
    done = timbre(voice.root, "--check")
    assert done.returncode == 1
    assert done.stderr == "error: dvc.lock is behind the files: `dvc repro` would run segment\n"
    voice.edit("morning", 4, text=MORNING[0])
    voice.edit("morning", 5, text=MORNING[1])
    voice.run()
    assert "1 text(s) are in training and in evaluation" in timbre(voice.root, "--check").stderr
    voice.sources["noon"]["consent"] = " "
    voice.write()
    assert re.search(r"data/sources.yaml:\d+: noon has no consent", timbre(voice.root, "--check").stderr)
    assert timbre(voice.root).returncode == 0, "only --check fails"


def test_piped_it_is_markdown_and_full_is_by_the_name_of_the_file(tmp_path: Path) -> None:
    voice = first(tmp_path / "voice")
    reword(voice)
    voice.run()
    done = timbre(voice.root, "--full", "all.html")
    assert done.stdout.startswith("<!-- timbre diff -->\n**4 lines in 2 recordings reworded")
    assert (voice.root / "all.html").read_text().startswith("<!doctype html>")
    assert json.loads(timbre(voice.root, "--format", "json").stdout)["verdict"].startswith("4 lines")


def test_mistakes_end_in_one_line(tmp_path: Path) -> None:
    voice = first(tmp_path / "voice")
    assert timbre(voice.root, "--", "--upload-pack=x").stderr.startswith("error: --upload-pack=x: git knows no such")
    assert timbre(voice.root, "nowhere").stderr == (
        "error: nowhere: git knows no such version; `git fetch` may bring it\n"
    )
    assert timbre(tmp_path).stderr == "error: dvc.yaml: not here; run this in the repository's root\n"


class Seen(HTMLParser):
    """What a browser would show, and by which tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.tags = "", set[str]()
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


SHOWN = HOSTILE.replace("\x1b", "⟨U+001B⟩").replace("\u202e", "⟨U+202E⟩")
PAGE = {"html", "meta", "title", "style", "h1", "h2", "section", "p", "ul", "li", "table", "tr", "th", "td"}
MARKS = {"del", "ins", "strong", "code", "bdi"}


def test_hostile_text_shows_as_text_in_html(history: Voice) -> None:
    seen = Seen(render(report(history, *between(len(STEPS) - 1)), "html"))
    assert SHOWN in seen.text
    assert seen.tags <= PAGE | MARKS
    assert seen.attributes <= {"lang", "charset", "name", "content"}


def test_hostile_text_shows_as_text_in_markdown(history: Voice) -> None:
    markdown_it = pytest.importorskip("markdown_it")
    text = render(report(history, *between(len(STEPS) - 1)), "markdown")
    seen = Seen(markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text))
    invisible = dict.fromkeys(map(ord, "\u200b\u2068\u2069"))
    assert SHOWN in seen.text.translate(invisible)
    assert seen.tags <= {"p", "h3", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "s", *MARKS}
    assert "@\u200boctocat" in seen.text, "the name rings nobody"
    assert "#\u200b12" in seen.text
    assert "http:\u200b//" in seen.text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_hostile_text_shows_as_text_in_a_terminal(history: Voice) -> None:
    found = report(history, *between(len(STEPS) - 1))
    for form in ("terminal", "json"):
        text = render(found, form)
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert SHOWN in render(found, "terminal").replace("\u2068", "").replace("\u2069", "")


def test_ten_thousand_changed_lines_are_summed_up(tmp_path: Path) -> None:
    voice = Voice(tmp_path / "voice")
    for number in range(50):
        voice.add(f"tape-{number:02}", [f"Line {i} of the trellis tape number {number}." for i in range(200)])
    voice.commit("Many")
    for number in range(50):
        for i in range(200):
            text = f"Line {i} of the Trelis tape number {number}."
            voice.edit(f"tape-{number:02}", i, text=text if (i, number) != (7, 30) else f"{HOSTILE} <b>" * 500)
    voice.run()
    found = report(voice, "main", None)
    assert len(found.words) == 10_000
    for form in ("markdown", "html", "terminal"):
        text = render(found, form)
        assert len(text) < COMMENT
        assert "10,000 lines in 50 recordings reworded" in text
        assert "×9999" in text
        assert "tape-30.tsv:9" in text, "the one that is unlike the others"
        assert "more, in the whole report" in text
    assert render(found, "markdown", whole=True).count("Trelis") >= 9_999


def test_it_needs_no_model_library(tmp_path: Path) -> None:
    voice = first(tmp_path / "voice")
    code = (
        "import sys; from timbre.cli import execute; execute(['diff'])\n"
        "print(sorted({'torch', 'transformers', 'mlflow', 'whisper', 'datasets', 'numpy', 'dvc'} & set(sys.modules)))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=voice.root, capture_output=True, text=True, env=env, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_command_is_one_of_timbres() -> None:
    assert "diff" in cli.COMMANDS
