"""A flipped byte in what a stage reads: one line that names the file and helps, whatever the stage made of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import pytest

from timbre.core.content import content_key
from timbre.core.errors import DataError, StageError
from timbre.mapping import damage, stage
from timbre.mapping.batch import Files
from timbre.mapping.refresh import Job, refresh

CLIPS = Path("data/clips")


@pytest.fixture(autouse=True)
def _clips(project: Path) -> None:
    bring()


def bring() -> None:
    """Three clips, as a stage leaves them."""
    jobs = [Job(name, content_key(name), name) for name in ("a", "b", "c")]
    refresh(CLIPS, jobs, compute, suffixes=[".flac", ".json"], label="chunk")


def compute(names: Sequence[str]) -> Iterator[Files]:
    for name in names:
        record = json.dumps({"key": content_key(name), "name": name})
        yield {".flac": f"sound {name}".encode(), ".json": f"{record}\n".encode()}


def read(clips: Annotated[Path, "folder of clips"]) -> None:
    """A stage that trusts what it reads, as all do."""
    for path in clips.glob("*.json"):
        assert json.loads(path.read_bytes())["name"] == path.stem
    for path in clips.glob("*.flac"):
        if path.read_bytes() != f"sound {path.stem}".encode():
            raise DataError(f"{path}: cannot be read as audio; run `dvc repro`")


def flip(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:3] + bytes([content[3] ^ 0x81]) + content[4:])


def run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    monkeypatch.setattr(sys, "argv", ["read", "--clips", str(CLIPS)])
    stage.watched(read)


@pytest.mark.parametrize("name", ["a.flac", "b.json"])
def test_a_flipped_byte_is_told_in_one_line_and_what_it_says_helps(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch)
    flip(CLIPS / name)
    with pytest.raises(StageError) as told:
        run(monkeypatch)
    assert str(told.value) == (
        f"damaged: data/clips/{name}; `rm -f data/clips/{name}`, then `dvc repro` brings back or makes what is "
        "missing; `timbre doctor --verify` looks for more"
    )
    (CLIPS / name).unlink()
    bring()
    run(monkeypatch)


def test_another_mistake_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    (CLIPS / "d.flac").write_bytes(b"a stranger")
    with pytest.raises(DataError, match=r"d\.flac: cannot be read as audio"):
        run(monkeypatch)


def test_other_json_files_of_a_folder_are_no_damage(tmp_path: Path) -> None:
    (tmp_path / "stats.json").write_text('{"train": {"clips": 82}}')
    (tmp_path / "training.json").write_text('{"key": "0123", "speakers": {}}')
    assert list(damage.damaged([tmp_path])) == []
    (tmp_path / "heard.json").write_text('{"heard": "the ferry", "key": "01')
    assert list(damage.damaged([tmp_path])) == [tmp_path / "heard.json"]
    (tmp_path / "heard.json").write_text("[" * 100_000)  # deeper than Python's parser goes
    assert list(damage.damaged([tmp_path])) == [tmp_path / "heard.json"]
