"""A voice whose clips and codes lie in shards: the same results, and an edit that touches one file of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile

from tests.conftest import MAPS, Repository
from tests.support.files import contents
from timbre.commands import cli

SHARDED = ("data/clips", "data/codes/csm", "data/heard", "data/voices")
SAME = ("data/dataset", "data/labels.jsonl", "models/adapter", "reports/samples", "reports/scores.csv")
PAGES = ("reports/index.html", "reports/report.md")


def results(root: Path, names: tuple[str, ...]) -> dict[str, dict[str, bytes]]:
    paths = {name: root / name for name in names}
    return {name: contents(path) if path.is_dir() else {"": path.read_bytes()} for name, path in paths.items()}


@pytest.mark.pipeline
def test_a_voice_goes_to_shards_and_back_with_the_same_results(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, before = repository.root, repository.lock()
    same, pages = results(root, SAME), results(root, PAGES)
    repository.edit("params.yaml", "shards: auto", "shards: 2")
    assert set(repository.repro().ran) <= {"track"}, "it changes no result"
    done = [repository.repro("-f", "-s", "chunk", "check", "encode"), repository.repro()]
    assert not [stage for one in done for stage in MAPS if one.computed(stage)]
    assert done[1].trained is False
    assert results(root, SAME) == same
    assert results(root, PAGES) == pages
    files = {name: {path.suffix for path in (root / name).iterdir()} for name in SHARDED}
    assert files == {name: {".tar"} for name in SHARDED}

    monkeypatch.chdir(root)
    row = json.loads(Path("data/dataset/train.jsonl").read_text().splitlines()[0])
    assert cli.execute(["trace", row["id"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["found"]["lines"]
    cli.execute(["export", "ljspeech", "out"])
    assert soundfile.info(f"out/wavs/{row['id']}.wav").duration == pytest.approx(row["seconds"], abs=0.01)

    packed = {name: contents(root / name) for name in SHARDED}
    repository.edit("data/transcripts/alpha.tsv", "9.00\t12.00", "9.00\t11.60")
    assert repository.repro("check", "encode").computed("encode") >= 1
    for name in SHARDED:
        now = contents(root / name)
        same_files = now.items() & packed[name].items()
        assert 0 < len(same_files) < len(now), name

    repository.edit("data/transcripts/alpha.tsv", "9.00\t11.60", "9.00\t12.00")
    repository.edit("params.yaml", "shards: 2", "shards: off")
    done = [repository.repro("-f", "-s", "chunk", "check", "encode"), repository.repro()]
    assert not [stage for one in done for stage in MAPS if one.computed(stage)]
    assert repository.lock() == before
