from __future__ import annotations

import io
import itertools
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.files import contents
from timbre.core.content import content_key, listing_md5, md5, write_atomic
from timbre.core.errors import DataError
from timbre.core.sections import ComputeParams
from timbre.mapping import kept_values, packing, shards
from timbre.mapping.batch import HERE, Files
from timbre.mapping.damage import damaged
from timbre.mapping.kept_values import kept_value
from timbre.mapping.refresh import Job, Refreshed, refresh
from timbre.versions import dvc_lock
from timbre.versions.dvc_outs import Outs
from timbre.versions.snapshot import WorkTree

FOLDER = Path("data/clips")
TEXTS = [f"clip{number}" for number in range(40)]
EIGHT = ComputeParams("local", 1, None, 8)
TWO = ComputeParams("local", 1, None, 2)
OFF = ComputeParams("local", 1, None, "off")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda file: None)  # thousands of files here, and no power is cut


def jobs(texts: Sequence[str]) -> list[Job[str]]:
    """An entry's name is before the colon, so that a text can change and its name stay."""
    return [Job(text.partition(":")[0], content_key(text), text) for text in texts]


def compute(payloads: Sequence[str]) -> Iterator[Files]:
    for payload in payloads:
        record = json.dumps({"key": content_key(payload), "text": payload})
        yield {".json": f"{record}\n".encode(), ".flac": payload.encode() * 50}


def bring(texts: Sequence[str] = TEXTS, engine: ComputeParams = EIGHT, folder: Path = FOLDER) -> Refreshed:
    return refresh(folder, jobs(texts), compute, suffixes=[".flac", ".json"], label="t", engine=engine, shards=True)


def commit() -> None:
    """What `dvc repro` leaves: each file of the folder in the cache, and the folder's list in dvc.lock."""
    files = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    listed = [{"md5": md5(content), "relpath": name} for name, content in sorted(files.items())]
    folder = listing_md5({entry["relpath"]: entry["md5"] for entry in listed})
    for digest, content in [*((md5(c), c) for c in files.values()), (folder, json.dumps(listed).encode())]:
        write_atomic(Path(".dvc/cache/files/md5") / digest[:2] / digest[2:], content)
    out = f"    outs:\n    - path: {FOLDER}\n      md5: {folder}\n"
    write_atomic(Path("dvc.lock"), f"schema: '2.0'\nstages:\n  chunk:\n    cmd: cut\n{out}")


def differing(one: dict[str, bytes], other: dict[str, bytes]) -> set[str]:
    return {name for name in one | other if one.get(name) != other.get(name)}


def test_an_entry_reads_the_same_in_both_layouts_and_has_the_same_key() -> None:
    bring(engine=OFF, folder=Path("loose"))
    bring()
    assert {path.suffix for path in FOLDER.iterdir()} == {".tar"}
    assert shards.paths(FOLDER, ".flac") == [FOLDER / path.name for path in shards.paths(Path("loose"), ".flac")]
    for path in Path("loose").iterdir():
        assert shards.read(FOLDER / path.name) == shards.read(path) == path.read_bytes()
        assert shards.size(FOLDER / path.name) == path.stat().st_size
        assert shards.exists(FOLDER / path.name)
        assert not (FOLDER / path.name).exists()
    loose = sorted(Path("loose").iterdir(), key=lambda path: path.read_bytes())
    mixed = [where for path in loose for where in (path, FOLDER / path.name)]
    assert list(shards.read_all(mixed)) == [path.read_bytes() for path in loose for _ in "ab"], "in any order"
    packed = {name: entry.key for shard in shards.found(FOLDER) for name, entry in (shards.index(shard) or {}).items()}
    assert packed == {text: content_key(text) for text in TEXTS}
    assert not shards.exists(FOLDER / "clip0.npy")
    with pytest.raises(FileNotFoundError):
        shards.read(FOLDER / "clip99.flac")
    with pytest.raises(FileNotFoundError):
        list(shards.read_all([FOLDER / "clip99.flac"]))


def test_a_shard_is_a_tar_file_with_its_index_first() -> None:
    bring()
    for shard in shards.found(FOLDER):
        with tarfile.open(shard) as file:
            first, *names = file.getnames()
            rows = [json.loads(line) for line in file.extractfile("index.jsonl") or ()]
            assert first == "index.jsonl"
            assert names == [f"{row['name']}{suffix}" for row in rows for suffix in (".flac", ".json")]
            member = file.extractfile(names[0])
            assert member is not None
            assert member.read() == shards.read(FOLDER / names[0])


def test_with_nothing_to_do_no_file_is_written() -> None:
    bring()
    times = {path: path.stat().st_mtime_ns for path in FOLDER.iterdir()}
    done = bring()
    assert (done.computed, done.kept, done.restored, done.removed) == (0, 40, 0, 0)
    assert {path: path.stat().st_mtime_ns for path in FOLDER.iterdir()} == times


def test_shards_that_nobody_touched_are_not_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    bring()
    looks: list[Path] = []
    look = packing.Packing._look
    monkeypatch.setattr(packing.Packing, "_look", lambda self, shard: (looks.append(shard), look(self, shard)))
    state = shards.state(FOLDER)
    for shard in shards.found(FOLDER):
        shard.chmod(shard.stat().st_mode)  # as DVC does before each stage
    assert (bring().kept, looks) == (40, [])
    assert bring([*TEXTS, "new"]).computed == 1, "another question"
    assert looks
    assert shards.state(FOLDER) != state


@pytest.mark.parametrize("touch", ["stranger", "written", "lost", "anew", "smaller"])
def test_what_was_touched_is_looked_into(touch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bring()
    before, shard = contents(FOLDER), shards.found(FOLDER)[0]
    if touch == "stranger":
        (FOLDER / "stranger.txt").write_text("x")
    elif touch == "written":
        shard.write_bytes(shard.read_bytes()[:-2000])
    elif touch == "lost":
        shard.unlink()
    elif touch == "anew":
        monkeypatch.setenv("TIMBRE_ANEW", "1")
    done = bring(engine=TWO if touch == "smaller" else EIGHT)
    assert done.computed == (40 if touch == "anew" else 0) or touch in ("written", "lost")
    if touch == "smaller":
        assert len(shards.found(FOLDER)) > len(before)
    else:
        assert contents(FOLDER) == before


def test_a_value_is_made_again_for_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    makes: list[int] = []

    def make() -> int:
        makes.append(1)
        return len(makes)

    assert [kept_value("count", key, make) for key in ("one", "one", "two", "one", None, None)] == [1, 1, 2, 3, 4, 5]
    assert kept_value("other", "one", make) == 6
    (kept_values.PLACE / "count.json").write_text("{")
    assert kept_value("count", "one", make) == 7
    monkeypatch.setenv("TIMBRE_ANEW", "1")
    assert kept_value("count", "one", make) == 8


def test_an_edit_rewrites_one_shard_and_no_entry_moves() -> None:
    bring()
    before = contents(FOLDER)
    done = bring(["clip7:edited" if text == "clip7" else text for text in TEXTS])
    assert done.names == ["clip7"]
    assert len(differing(before, contents(FOLDER))) == 1


def test_an_entry_that_comes_or_goes_rewrites_one_shard() -> None:
    twenty = ComputeParams("local", 1, None, 20)
    bring(engine=twenty)
    for texts in ([*TEXTS, "new"], TEXTS, TEXTS[1:]):
        before = contents(FOLDER)
        bring(texts, engine=twenty)
        assert len(differing(before, contents(FOLDER))) == 1


def test_no_shard_has_more_than_it_may_and_each_name_is_where_its_hash_says() -> None:
    plan = shards.planned([f"{number:04}" for number in range(3000)], 100)
    assert sorted(name for names in plan.values() for name in names) == [f"{number:04}" for number in range(3000)]
    assert max(map(len, plan.values())) <= 100
    assert len(plan) < 3000 / 100 * 3
    without = shards.planned([f"{number:04}" for number in range(3000) if number != 5], 100)
    assert sum(plan.get(shard) != without.get(shard) for shard in plan.keys() | without.keys()) == 1


def test_the_same_entries_are_the_same_shards_whatever_was_before() -> None:
    bring(TEXTS[:20])
    bring([*TEXTS, "more:1", "other"])
    bring(TEXTS)
    bring(TEXTS, folder=Path("straight"))
    assert contents(FOLDER) == contents(Path("straight"))


def test_from_files_to_shards_and_back_nothing_is_computed() -> None:
    bring(engine=OFF)
    loose = contents(FOLDER)
    assert bring(engine=EIGHT).computed == 0
    packed = contents(FOLDER)
    assert differing(loose, packed) == {*loose, *packed}
    assert bring(engine=ComputeParams("local", 1, None, 3)).computed == 0
    assert bring(engine=EIGHT).computed == 0
    assert contents(FOLDER) == packed
    assert bring(engine=OFF).computed == 0
    assert contents(FOLDER) == loose


def test_by_itself_a_folder_has_shards_from_many_entries_on(monkeypatch: pytest.MonkeyPatch) -> None:
    bring(engine=HERE)
    assert not shards.found(FOLDER)
    monkeypatch.setattr(packing, "MANY", len(TEXTS))
    assert bring(engine=HERE).computed == 0
    assert len(list(FOLDER.iterdir())) == len(shards.found(FOLDER)) == 2
    assert bring(TEXTS[:-1], engine=HERE).computed == 0
    assert not shards.found(FOLDER)


def stopping(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """The `at`th change on the disk is not made: the process is killed there."""
    count = itertools.count(1)

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*arguments: Any, **options: Any) -> Any:
            if next(count) >= at:
                raise KeyboardInterrupt
            return change(*arguments, **options)

        return changed

    monkeypatch.setattr(Path, "replace", counted(Path.replace))
    monkeypatch.setattr(Path, "unlink", counted(Path.unlink))


@pytest.mark.parametrize(("before", "after"), [(OFF, TWO), (TWO, OFF), (TWO, ComputeParams("local", 1, None, 1))])
def test_a_kill_at_any_write_loses_nothing(
    before: ComputeParams, after: ComputeParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"t{number}" for number in range(6)]
    edited = ["t3:edited", *(text for text in texts if text != "t3")]
    bring(edited, engine=after, folder=Path("whole"))
    whole = contents(Path("whole"))
    for at in itertools.count(1):
        folder = Path(f"killed{at}")
        bring(texts, engine=before, folder=folder)
        with monkeypatch.context() as patch:
            stopping(patch, at)
            try:
                bring(edited, engine=after, folder=folder)
                finished = True
            except KeyboardInterrupt:
                finished = False
        again = bring(edited, engine=after, folder=folder)
        assert again.computed <= 1, "the edited entry alone"
        assert contents(folder) == whole
        if finished:
            assert at > 10
            return


@pytest.mark.parametrize("place", ["content", "tar's header", "tail", "record"])
def test_a_flipped_byte_in_a_shard_costs_its_entry_alone(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    bring()
    whole = contents(FOLDER)
    flac, record = (shards.located(FOLDER / f"clip7{suffix}") for suffix in (".flac", ".json"))
    assert flac
    assert record
    at = {
        "content": flac.start + 5,
        "tar's header": flac.start - 500,
        "tail": flac.start + flac.length,
        "record": record.start + 3,
    }
    rotten = bytearray(flac.path.read_bytes())
    rotten[at[place]] ^= 1
    flac.path.write_bytes(rotten)
    assert list(damaged([FOLDER])) == [flac.path]
    assert bring().names == ["clip7"]
    assert "t: damaged, so made again: clip7 (" in capsys.readouterr().err
    assert contents(FOLDER) == whole
    assert not list(damaged([FOLDER]))


@pytest.mark.parametrize("place", [0, 520, 600, 700])
def test_a_flipped_byte_in_an_index_is_noticed(place: int) -> None:
    bring()
    whole, shard = contents(FOLDER), shards.found(FOLDER)[0]
    inside = set(shards.index(shard) or ())
    rotten = bytearray(shard.read_bytes())
    rotten[place] ^= 1
    shard.write_bytes(rotten)
    done = bring()
    assert len(done.names) > 0
    assert set(done.names) <= inside
    assert contents(FOLDER) == whole


def test_a_shard_that_was_cut_short_or_lost_is_made_again_alone() -> None:
    bring()
    whole = contents(FOLDER)
    first, second, *_ = shards.found(FOLDER)
    inside = {*(shards.index(first) or ()), *(shards.index(second) or ())}
    first.write_bytes(first.read_bytes()[:900])
    second.unlink()
    assert set(bring().names) <= inside
    assert contents(FOLDER) == whole


def test_taking_an_edit_back_computes_nothing() -> None:
    bring()
    before = contents(FOLDER)
    bring(["clip7:edited", *(text for text in TEXTS[1:] if text != "clip7")])
    done = bring()
    assert (done.computed, done.restored) == (0, 2)
    assert contents(FOLDER) == before


def test_an_entry_comes_back_from_a_shard_in_dvcs_cache() -> None:
    bring()
    before = contents(FOLDER)
    commit()
    for path in FOLDER.iterdir():
        path.unlink()
    done = bring()
    assert (done.computed, done.restored) == (0, 40)
    assert contents(FOLDER) == before
    assert bring(engine=OFF).computed == 0


def test_of_a_shard_in_dvcs_cache_only_what_is_whole_comes_back() -> None:
    bring()
    whole = contents(FOLDER)
    commit()
    part = shards.located(FOLDER / "clip7.flac")
    assert part
    digest = md5(part.path.read_bytes())
    kept = Path(".dvc/cache/files/md5") / digest[:2] / digest[2:]
    rotten = bytearray(kept.read_bytes())
    rotten[part.start] ^= 1
    kept.write_bytes(rotten)
    part.path.unlink()
    assert bring().names == ["clip7"]
    assert contents(FOLDER) == whole


def test_a_version_is_read_from_its_shards() -> None:
    bring()
    commit()
    lock, outs = dvc_lock.read(WorkTree(Path())), Outs(Path())
    assert WorkTree(Path()).read("data/clips/clip7.flac") == b"clip7" * 50
    for path in FOLDER.iterdir():
        path.unlink()
    assert WorkTree(Path()).read("data/clips/clip7.flac") is None
    assert outs.find(lock, "data/clips/clip7.flac") == b"clip7" * 50
    assert outs.read(lock, "data/clips/clip8.flac", "here") == b"clip8" * 50
    assert outs.find(lock, "data/clips/clip99.flac") is None
    assert outs.unreachable == []


def test_a_foreign_index_names_no_file_elsewhere() -> None:
    """A shard may come from anybody's push."""
    row = {"key": "k", "files": {".json": [0, 4, "0" * 32]}}
    for name in ("../up", "a/b", ""):
        assert not shards.index(written(json.dumps({"name": name, **row})))
    for files in ({"/../x": [0, 1, "0" * 32]}, {".x": [-9, 1, "0" * 32]}, {".x": ["0"]}, {".x": 3}, [1]):
        assert shards.index(written(json.dumps({"name": "a", "key": "k", "files": files}))) is None
    for text in ("[]", "1", "{", "[" * 5000):
        assert shards.index(written(text)) is None


def written(index: str) -> Path:
    shard = FOLDER / "shard-0.tar"
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tarfile.open(shard, "w") as file:
        about = tarfile.TarInfo("index.jsonl")
        about.size = len(index)
        file.addfile(about, io.BytesIO(index.encode()))
    shards.forget()
    return shard


def test_a_file_that_changes_while_it_is_packed_is_told() -> None:
    FOLDER.mkdir(parents=True)
    (FOLDER / "a.json").write_bytes(b"other")
    entry = shards.PackedEntry("a", "k", {".json": shards.FilePart(FOLDER / "a.json", 0, 5, "0" * 32)})
    with pytest.raises(DataError, match=r"changed while it was put into .*shard-0\.tar; run `dvc repro` again"):
        shards.write(FOLDER / "shard-0.tar", [entry])
    assert [path.name for path in FOLDER.iterdir()] == ["a.json"]
