"""Entries that were damaged, half written, replaced or removed: none is believed, none that is known is computed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support.files import contents
from timbre.core.content import content_key
from timbre.mapping import dvc_cache, store
from timbre.mapping.batch import Files
from timbre.mapping.entries import opened, seal
from timbre.mapping.refresh import Job, Refreshed, entry_of, refresh
from timbre.mapping.store import Store

SUFFIXES = [".bin", ".json"]
OUT = Path("data/out")


@pytest.fixture(autouse=True)
def _in_a_repository(project: Path) -> None:
    """Each test in a folder of its own."""


def jobs(version: str, *names: str) -> list[Job[str]]:
    return [Job(name, content_key(name, version), f"{name} {version}") for name in names]


def compute(texts: Sequence[str]) -> Iterator[Files]:
    for text in texts:
        record = {"key": content_key(*text.split()), "length": len(text)}
        yield {".bin": (text * 20).encode(), ".json": json.dumps(record, indent=1).encode() + b"\n"}


def never(texts: Sequence[str]) -> Iterator[Files]:
    raise AssertionError(f"{texts} were made before")
    yield {}


def bring(version: str, *names: str, by: Callable[[Sequence[str]], Iterator[Files]] = compute) -> Refreshed:
    return refresh(OUT, jobs(version, *names), by, suffixes=SUFFIXES, label="t")


def test_a_record_says_what_was_computed_and_the_hashes_of_the_files() -> None:
    bring("1", "a")
    content = (OUT / "a.json").read_bytes()
    digest = hashlib.md5((OUT / "a.bin").read_bytes()).hexdigest()
    assert json.loads(content)["md5"][".bin"] == digest
    record = opened(content)
    assert record is not None
    assert record.content == next(compute(["a 1"]))[".json"], "to the byte, without what was added"
    assert seal(record.content, {".bin": digest}) == content


def test_a_flipped_bit_in_any_byte_of_an_entry_is_found() -> None:
    bring("1", "a")
    (job,) = jobs("1", "a")
    for path in (OUT / "a.bin", OUT / "a.json"):
        content, times = path.read_bytes(), path.stat()
        for place in range(len(content)):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # the time of the write tells nothing
            assert Store(OUT).state(entry_of(OUT, job, SUFFIXES)) != "fresh", f"byte {place} of {path}"
        path.write_bytes(content)
        assert Store(OUT).state(entry_of(OUT, job, SUFFIXES)) == "fresh"


def test_a_damaged_entry_is_told_in_one_line_and_made_again(capsys: pytest.CaptureFixture[str]) -> None:
    bring("1", "a", "b")
    whole = contents(OUT)
    for name in ("a.bin", "b.json"):
        (OUT / name).write_bytes(whole[name][:-3] + b"x" + whole[name][-2:])
    capsys.readouterr()
    assert bring("1", "a", "b").computed == 2
    told = [line for line in capsys.readouterr().err.splitlines() if "damaged" in line]
    assert told == ["t: damaged, so made again: a, b (the files are not what was written)"]
    assert contents(OUT) == whole


def test_an_entry_that_is_right_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    bring("1", "a", "b")
    read: list[Path] = []
    monkeypatch.setattr(store, "file_md5", lambda path: read.append(path) or "")
    assert bring("1", "a", "b", by=never).kept == 2
    assert read == []


def test_what_was_replaced_or_removed_comes_back_without_being_computed() -> None:
    bring("1", "a", "b")
    first = contents(OUT)
    done = bring("2", "a")
    assert (done.computed, done.removed) == (1, 1)
    assert str(bring("1", "a", "b", by=never)) == "0 computed, 2 restored, 0 kept, 0 removed"
    assert contents(OUT) == first
    assert str(bring("2", "a", by=never)) == "0 computed, 1 restored, 0 kept, 1 removed"


def test_a_damaged_file_in_the_store_is_not_taken(capsys: pytest.CaptureFixture[str]) -> None:
    bring("1", "a")
    bring("2", "a")
    kept = next(path for path in store.KEPT.rglob("*") if path.is_file() and b"a 1a 1" in path.read_bytes())
    kept.write_bytes(b"a 1a 2")
    assert bring("1", "a").computed == 1
    assert f"{kept}: is damaged, removed" in capsys.readouterr().err
    assert not kept.exists()


def test_the_store_lets_go_of_what_was_longest_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    bring("1", "a")
    size = sum(len(content) for content in contents(OUT).values())
    monkeypatch.setattr(store, "MOST_BYTES", 2 * size + size // 2)
    for version in ("2", "3", "4"):
        bring(version, "a")
    assert sum(path.stat().st_size for path in store.KEPT.rglob("*") if path.is_file()) <= 2 * size + size // 2
    assert bring("3", "a", by=never).restored == 1
    assert bring("1", "a").computed == 1


def test_whoever_asks_for_it_gets_all_computed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    bring("1", "a")
    monkeypatch.setenv(store.ANEW, "1")
    assert bring("1", "a").computed == 1


def test_the_memory_may_be_deleted_or_broken() -> None:
    bring("1", "a", "b")
    memory = store.MEMORY / "data/out.json"
    for content in ("", "[]", '{"entries": 3, "files": []}', '{"entries": {"a": 3}, "files": {"data/out/a.bin": 1}}'):
        memory.write_text(content)
        assert bring("1", "a", "b", by=never).kept == 2, content
    shutil.rmtree(".timbre")
    assert bring("1", "a", "b", by=never).kept == 2


class Killed(BaseException):
    """As SIGKILL: nobody catches it."""


def test_an_entry_that_was_killed_half_way_is_never_taken_for_a_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """At each step of replacing an entry: the edit that was taken back gives the old files, the edit itself the new."""
    monkeypatch.setattr(os, "fsync", lambda stream: None)
    bring("1", "a")
    first = contents(OUT)
    bring("2", "a")
    second = contents(OUT)
    for step in range(1, 14):
        for version, expected in (("1", first), ("2", second)):
            shutil.rmtree(OUT)
            shutil.rmtree(".timbre")
            bring("1", "a")
            with monkeypatch.context() as patch, contextlib.suppress(Killed):
                kill_at(patch, step)
                bring("2", "a")
            bring(version, "a")
            assert contents(OUT) == expected, f"killed at step {step}, then version {version}"


def kill_at(patch: pytest.MonkeyPatch, step: int) -> None:
    """From the `step`th change of the disk on, nothing changes any more."""
    count = 0

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def work(*arguments: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            if count >= step:
                raise Killed
            return change(*arguments, **named)

        return work

    for owner, name in ((Path, "replace"), (Path, "unlink"), (shutil, "move"), (shutil, "copyfile"), (Path, "mkdir")):
        patch.setattr(owner, name, counted(getattr(owner, name)))


def committed(files: dict[str, bytes]) -> None:
    """As DVC leaves a stage with this folder as its out: objects in the cache, their names in dvc.lock."""

    def keep(content: bytes, suffix: str = "") -> str:
        digest = hashlib.md5(content).hexdigest() + suffix
        path = Path(".dvc/cache/files/md5", digest[:2], digest[2:])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return digest

    rows = [{"md5": keep(content), "relpath": name} for name, content in sorted(files.items())]
    listing = keep(json.dumps(rows).encode(), ".dir")
    lock = {"schema": "2.0", "stages": {"t": {"cmd": "t", "outs": [{"path": str(OUT), "md5": listing}]}}}
    YAML().dump(lock, Path("dvc.lock"))


def test_what_dvc_has_is_not_kept_twice_and_comes_back_from_there() -> None:
    bring("1", "a")
    first = contents(OUT)
    committed(first)
    bring("2", "a")
    assert not store.KEPT.exists()
    assert bring("1", "a", by=never).restored == 1
    assert contents(OUT) == first


def test_a_clone_that_remembers_nothing_finds_what_its_lock_names() -> None:
    bring("1", "a", "b")
    first = contents(OUT)
    committed(first)
    shutil.rmtree(".timbre")
    shutil.rmtree(OUT)
    bring("2", "a")
    assert bring("1", "a", "b", by=never).restored == 2
    assert contents(OUT) == first


def test_entries_of_before_are_taken_over_as_dvc_committed_them() -> None:
    """Their records held no hashes: dvc.lock tells whether they are whole."""
    bring("1", "a", "b")
    sealed = contents(OUT)
    shutil.rmtree(".timbre")
    for name in ("a.json", "b.json"):
        record = opened(sealed[name])
        assert record is not None
        (OUT / name).write_bytes(record.content)
    committed(contents(OUT))
    (OUT / "b.bin").write_bytes(b"damaged")
    assert bring("1", "a", "b", by=never).restored == 2
    assert contents(OUT) == sealed


def test_a_record_of_before_that_nobody_vouches_for_is_computed_again() -> None:
    bring("1", "a")
    record = opened((OUT / "a.json").read_bytes())
    assert record is not None
    (OUT / "a.json").write_bytes(record.content)
    shutil.rmtree(".timbre")
    assert bring("1", "a").computed == 1


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "a/../../evil", "..", ""])
def test_a_record_names_no_file_outside_of_its_entry(name: str) -> None:
    assert opened(seal(b'{"key": "k"}\n', {name: "0" * 32})) is None


def test_folders_that_are_refreshed_one_after_the_other_parse_the_lock_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    monkeypatch.setattr(dvc_cache, "plain_yaml", lambda content: parsed.append(content) or {"stages": {}})
    for name in ("cut", "heard", "known"):
        Path("dvc.lock").write_text(f"# {len(name)} letters\n")
        refresh(Path(f"data/{name}"), jobs("v1", "a"), compute, suffixes=SUFFIXES, label=name)
    assert parsed == [b"# 3 letters\n", b"# 5 letters\n"], "the last two are the same"
