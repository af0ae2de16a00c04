"""A person who takes consent back leaves no trace after the next run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Repository
from timbre.commands import cli
from timbre.project import speakers


@pytest.mark.pipeline
def test_a_voice_whose_consent_was_taken_back_is_nowhere_after_the_next_run(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository.root)
    repository.edit("data/sources.yaml", "beta.flac\n  speaker: ann", "beta.flac\n  speaker: bea")
    bea = "  bea:\n    name: Bea\n    consent: {by: Bea, when: 2026-11-01, for: tests, evidence: null}\n"
    repository.edit("data/speakers.yaml", "  ann:", f"{bea}  ann:")
    path = Path("data/transcripts/beta.tsv")
    path.write_text(path.read_text().replace("\tann\t", "\tbea\t"))
    assert repository.repro("dataset", "encode").code == 0
    theirs = {row.split('"')[3] for row in Path("data/chunks/clips.jsonl").read_text().splitlines() if "beta" in row}
    assert theirs
    repository.edit("data/speakers.yaml", "evidence: null}\n  ann", "evidence: null, revoked: 2026-11-20}\n  ann")
    stopped = repository.repro("dataset", "encode", check=False)
    assert stopped.code != 0
    assert "bea took the consent back on 2026-11-20; `timbre remove bea` takes beta out" in stopped.output
    assert stopped.ran == ["segment"]
    assert cli.execute(["remove", "bea", "--write"]) == 0
    assert repository.repro("dataset", "encode").code == 0
    assert not speakers.read()["bea"].allowed, "what was agreed stays written"
    for folder in ("raw", "drafts", "segments", "chunks", "clips", "dataset", "codes", "recordings", "transcripts"):
        for file in Path("data", folder).rglob("*"):
            assert file.stem != "beta"
            assert file.stem not in theirs
            assert file.suffix not in (".json", ".jsonl") or not {"beta", *theirs} & set(file.read_text().split('"'))
