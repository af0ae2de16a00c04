"""`timbre diff` over a repository with a history: each commit's report is a golden file.

On purpose: `GOLDEN=write python -m pytest tests/unit/diff/test_diff.py`, then read what changed in tests/golden/diff.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.support.git_histories import STEPS, between, first, page, report
from tests.support.git_history import Voice
from timbre.core import running
from timbre.diff.render import FORMATS, render
from timbre.diff.sections import made as sections
from timbre.diff.sections.page import Page
from timbre.tracking.run import TrackedRun

GOLDEN = Path(__file__).parents[2] / "golden/diff"
LINK = "https://example.org/blob/c0ffee/"


def golden(name: str, text: str) -> None:
    path = GOLDEN / name
    text = re.sub(r"<style>.*?</style>", "<style></style>", text, flags=re.DOTALL)
    if os.environ.get("GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), f"{path.name} differs; see {__name__}"


@pytest.mark.parametrize("number", range(len(STEPS)), ids=[step.__name__ for step in STEPS])
def test_each_commit_reads_as_its_golden_file(history: Voice, number: int) -> None:
    found = page(history.root, *between(number), heard=True)
    made = Page(found.report, link=LINK, whole="https://example.org/run#artifacts", sounds=found.sounds)
    name = f"{number + 1:02}-{STEPS[number].__name__}"
    golden(f"{name}.md", render(made, "markdown"))
    golden(f"{name}.html", render(made, "html", whole=True))


@pytest.mark.parametrize(
    ("form", "suffix"), [("markdown", "md"), ("html", "html"), ("terminal", "txt"), ("json", "json")]
)
def test_the_whole_history_reads_as_its_golden_file(history: Voice, form: str, suffix: str) -> None:
    golden(f"all.{suffix}", render(page(history.root, f"main~{len(STEPS)}", "main"), form))


@pytest.mark.parametrize("version", ["main", f"main~{len(STEPS)}", None])
def test_a_version_against_itself_is_empty(history: Voice, version: str | None) -> None:
    found = page(history.root, version, version)
    assert found.report.is_empty
    assert found.report.stale == []
    for form in FORMATS:
        assert "nothing changed" in render(found, form)


def test_the_way_back_is_the_report_turned(history: Voice) -> None:
    versions = f"main~{len(STEPS)}", "main"
    there, back = report(history.root, *versions), report(history.root, *versions[::-1])
    assert Counter((c.old, c.new) for c in there.words) == Counter((c.new, c.old) for c in back.words)
    assert Counter((c.old, c.new) for c in there.clips) == Counter((c.new, c.old) for c in back.clips)
    assert {(p.key, p.old, p.new) for p in there.params} == {(p.key, p.new, p.old) for p in back.params}
    assert {(t.name, t.old, t.new) for t in there.totals} == {(t.name, t.new, t.old) for t in back.totals}
    assert {(r.condition, r.name, r.old, r.new, r.margin) for r in there.rates} == {
        (r.condition, r.name, r.new, r.old, r.margin) for r in back.rates
    }
    assert {(g.name, g.old, g.new) for g in there.gates} == {(g.name, g.new, g.old) for g in back.gates}
    for one, other in ((there.sources, back.sources), (there.people, back.people)):
        assert {(s.id, *v, key) for s in one for key, v in s.values.items()} == {
            (s.id, *v[::-1], key) for s in other for key, v in s.values.items()
        }
    assert there.left_out == {why: (new, old) for why, (old, new) in back.left_out.items()}


def test_the_work_tree_is_a_version_too(history: Voice, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(history.root, copy)
    path = copy / "data/transcripts/dusk.tsv"
    path.write_text(path.read_text().replace("Good night.", "Good night, all."))
    running.write_times({"train": 190.0, "segment": 0.4}, copy / running.TIMES)
    found = page(copy, "main", None)
    assert [change.new_text for change in found.report.words] == ["Good night, all."]
    assert [(stage.stage, stage.reasons) for stage in found.report.stale] == [
        ("segment", ("data/transcripts changed",)), ("chunk", ()), ("dataset", ()), ("train", ()), ("generate", ()),
        ("evaluate", ()),
    ]  # fmt: skip
    text = render(found, "markdown")
    assert "About 3.2 min by the last runs here (train 3.2 min, segment 1 s), without chunk, dataset, " in text
    assert "min**" not in text.splitlines()[1], "the headline has no cost, as long as a part of it is unknown"
    running.write_times(
        dict.fromkeys(("segment", "chunk", "dataset", "train", "generate", "evaluate"), 60.0), copy / running.TIMES
    )
    assert "behind by 1 stage, about 6.0 min**" in render(page(copy, "main", None), "markdown")
    golden("work-tree.md", text)


def test_a_run_of_before_the_edit_is_not_told_as_that_of_the_work_tree(history: Voice, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(history.root, copy)
    run = TrackedRun("1", "calm fox")

    def about() -> str:
        found = page(copy, "main", None)
        found = dataclasses.replace(found, report=dataclasses.replace(found.report, runs=(run, run)))
        return render(found, "markdown").splitlines()[3]

    assert about() == "<code>main</code> (MLflow run calm fox) → <code>work tree</code> (MLflow run calm fox)"
    path = copy / "data/transcripts/dusk.tsv"
    path.write_text(path.read_text().replace("Good night.", "Good night, all."))
    assert about() == "<code>main</code> (MLflow run calm fox) → <code>work tree</code> (last MLflow run calm fox)"


def test_a_conflict_shows_both_versions_of_its_line(history: Voice, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(history.root, copy)
    path = copy / "data/transcripts/dusk.tsv"
    lines = path.read_text().splitlines()
    ours, theirs = lines[3].replace("night", "day"), lines[3].replace("night", "bye")
    path.write_text("\n".join([*lines[:3], "<<<<<<< HEAD", ours, "=======", theirs, ">>>>>>> other"]) + "\n")
    (copy / "dvc.lock").write_text("<<<<<<< HEAD\nschema: '2.0'\n=======\n>>>>>>> other\n")
    (copy / "data/speakers.yaml").write_text("<<<<<<< HEAD\nspeakers: {}\n=======\n>>>>>>> other\n")
    found = page(copy, "main", None)
    assert {(p.path, p.line) for p in found.report.problems if "git conflict" in p.what} == {
        ("data/transcripts/dusk.tsv", 4), ("dvc.lock", 1), ("data/speakers.yaml", 1)
    }  # fmt: skip
    assert "HEAD says “Good day.” and other says “Good bye.”" in render(found, "markdown")
    assert [change.new_text for change in found.report.words] == ["Good day."]
    golden("conflict.md", render(found, "markdown"))
    golden("conflict.html", render(found, "html"))


def test_markers_that_make_no_conflict_are_told_with_their_lines(history: Voice, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(history.root, copy)
    path = copy / "data/transcripts/dusk.tsv"
    path.write_text("=======\n" + path.read_text() + ">>>>>>> other\n")
    found = report(copy, "main", None)
    assert [p.line for p in found.problems if "conflict marker" in p.what] == [1, 6]


def test_a_clone_without_data_says_what_it_could_not_compare(history: Voice, tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "-q", str(history.root), str(tmp_path / "clone")], check=True)
    found = page(tmp_path / "clone", *between(0), heard=True)
    assert len(found.report.words) == 4
    assert found.report.rates
    assert found.report.leaks is None
    assert found.report.clips == []
    assert found.sounds == {}
    assert "data/chunks/clips.jsonl of main~10" in found.report.unreachable
    golden("no-data.md", render(found, "markdown"))


def test_tables_of_another_make_are_told_and_not_compared(tmp_path: Path) -> None:
    voice = first(tmp_path / "voice")
    for path in (voice.root / ".dvc/cache/files/md5").glob("*/*"):
        path.write_bytes(path.read_bytes().replace(b'"seconds"', b'"length"').replace(b"errors", b"mistakes"))
    found = report(voice.root, "main", None)
    assert found.unreachable == [
        f"{path} of {version}, which is of another make"
        for version in ("main", "work tree")
        for path in ("data/chunks/clips.jsonl", "reports/scores.csv")
    ]
    assert found.leaks is None


def test_rates_of_the_old_form_are_compared_with_those_of_the_new(tmp_path: Path) -> None:
    voice = first(tmp_path / "voice")
    old = '{"tuned": {"cer": 0.1, "ended": 1.0, "errors": 3, "samples": 6, "seconds": 9, "silent": 0, "wer": 0.2}}'
    (voice.root / "reports/metrics.json").write_text(old)
    found = page(voice.root, None, "main")
    assert {(r.name, r.old, r.new) for r in found.report.rates if r.condition == "tuned"} >= {
        ("wer", 0.2, 0.25), ("similarity", None, 0.5)
    }  # fmt: skip
    shown = render(found, "markdown")
    assert "WER 0.200 → 0.250 (+0.050 ± 0.000); gates pass" in shown
    assert "No recording, line, clip or parameter changed: code, prompts, packages or the processor did." in shown


def test_the_samples_that_changed_most_are_heard_in_the_page(history: Voice) -> None:
    found = page(history.root, *between(0), heard=True)
    assert list(found.sounds) == [prompt.sample for prompt in found.report.prompts]
    before, now = found.sounds["tuned-ferry-0"]
    assert (before.content, now.content, now.kind) == (b"fLaC before", b"fLaC now", "audio/flac")
    assert render(found, "html", whole=True).count("<audio controls") == 2 * len(found.sounds)
    text = render(found, "markdown")
    assert "audio" not in text
    assert "Hear 6 of them, before and now, in the whole report" in text


def test_a_switch_is_shown_as_params_yaml_has_it() -> None:
    assert [sections._shown(value) for value in (True, False, None, 0, "off")] == ["true", "false", "—", "0", "off"]
