from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.files import contents
from timbre.core.content import content_key, write_atomic
from timbre.mapping.batch import Files
from timbre.mapping.refresh import Job, refresh


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder: in a repository, entries are looked for in its dvc.lock."""
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))


class Recorder:
    """A compute function that remembers what it was asked for, and can be cut short."""

    def __init__(self, die_at: str | None = None) -> None:
        self.calls: list[list[str]] = []
        self.die_at = die_at

    def __call__(self, payloads: Sequence[str]) -> Iterator[Files]:
        self.calls.append(list(payloads))
        for payload in payloads:
            if payload == self.die_at:
                raise KeyboardInterrupt
            yield {".json": json.dumps({"key": content_key(payload), "text": payload}).encode()}


def jobs(*texts: str) -> list[Job[str]]:
    return [Job(text.lower(), content_key(text), text) for text in texts]


def test_only_what_changed_is_computed_and_strangers_go(tmp_path: Path) -> None:
    compute = Recorder()
    refresh(tmp_path, jobs("A", "B"), compute, suffixes=[".json"], label="t")
    (tmp_path / "old.json").write_text("{}")
    again = refresh(tmp_path, [*jobs("A"), Job("b", content_key("B2"), "B2")], compute, suffixes=[".json"], label="t")
    assert compute.calls == [["A"], ["B"], ["B2"]]
    assert (again.kept, again.computed, again.removed) == (1, 1, 1)
    assert set(contents(tmp_path)) == {"a.json", "b.json"}


def test_a_stop_keeps_what_is_finished_and_the_next_run_does_the_rest(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        refresh(tmp_path, jobs("A", "B", "C"), Recorder(die_at="B"), suffixes=[".json"], label="t")
    compute = Recorder()
    refresh(tmp_path, jobs("A", "B", "C"), compute, suffixes=[".json"], label="t")
    assert compute.calls == [["B"], ["C"]]


def test_batches_do_not_depend_on_what_is_there(tmp_path: Path) -> None:
    first = Recorder()
    refresh(tmp_path, jobs("A", "B", "C"), first, suffixes=[".json"], label="t", batch=2)
    (tmp_path / "b.json").unlink()
    second = Recorder()
    done = refresh(tmp_path, jobs("A", "B", "C"), second, suffixes=[".json"], label="t", batch=2)
    assert second.calls == [["A", "B"]], "B is computed in the same company again"
    assert done.computed == 1


def test_of_independent_entries_only_the_missing_ones_make_batches(tmp_path: Path) -> None:
    refresh(tmp_path, jobs("A", "B", "C", "D", "E"), Recorder(), suffixes=[".json"], label="t", independent=True)
    for name in ("a", "c", "e"):
        (tmp_path / f"{name}.json").unlink()
    compute = Recorder()
    refresh(tmp_path, jobs("A", "B", "C", "D", "E"), compute, suffixes=[".json"], label="t", batch=2, independent=True)
    assert compute.calls == [["A", "C"], ["E"]]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"key": "other"}'])
def test_a_damaged_or_foreign_record_is_computed_again(tmp_path: Path, damage: str) -> None:
    refresh(tmp_path, jobs("A"), Recorder(), suffixes=[".json"], label="t")
    whole = contents(tmp_path)
    (tmp_path / "a.json").write_text(damage)
    refresh(tmp_path, jobs("A"), Recorder(), suffixes=[".json"], label="t")
    assert contents(tmp_path) == whole


def test_an_entry_lacking_one_of_its_files_is_not_fresh(tmp_path: Path) -> None:
    def both(payloads: Sequence[str]) -> list[Files]:
        return [{".json": json.dumps({"key": content_key(p)}).encode(), ".bin": b"x"} for p in payloads]

    refresh(tmp_path, jobs("A"), both, suffixes=[".bin", ".json"], label="t")
    (tmp_path / "a.bin").unlink()
    assert refresh(tmp_path, jobs("A"), both, suffixes=[".bin", ".json"], label="t").computed == 1


def test_an_atomic_write_leaves_the_old_file_when_it_fails(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_atomic(target, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(target, "\ud800")
    assert target.read_text() == "old"


def test_a_content_key_ignores_the_order_of_keys_and_nothing_else() -> None:
    assert content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})
    assert len({content_key(x) for x in (1, "1", 1.5, [1], [[1]], None, True)}) == 7
