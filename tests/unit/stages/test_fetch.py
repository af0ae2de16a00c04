"""Recordings come from files, each with its provenance, and only what changed is brought again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import soundfile

from stages import fetch
from tests.support.fetching import PARAMS, RATE, RAW, encoded, failures, local, record, remote
from timbre.core.content import file_sha256
from timbre.core.errors import SourceError


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/recordings").mkdir(parents=True)


def test_a_file_becomes_a_recording_with_its_provenance() -> None:
    source = local("talk")
    fetch.fetch_all([replace(source, start=0.5)], RAW, PARAMS)
    written = record("talk")
    assert written["recording"] == {
        "id": "talk",
        "speaker": "marina",
        "language": "en",
        "licence": "CC0-1.0",
        "consent": "own voice",
        "origin": "data/recordings/talk.wav",
        "sha256": written["recording"]["sha256"],
        "sample_rate": RATE,
        "seconds": 1.5,
    }
    assert written["provenance"]["channels"] == 1
    assert soundfile.info(RAW / "talk.flac").frames == 1.5 * RATE


def test_two_runs_write_the_same_bytes() -> None:
    source = local("talk")
    contents = []
    for out in (Path("one"), Path("two")):
        fetch.fetch_all([source], out, PARAMS)
        contents.append([path.read_bytes() for path in sorted(out.iterdir())])
    assert contents[0] == contents[1]


def test_only_what_changed_is_brought_again(capsys: pytest.CaptureFixture[str]) -> None:
    declared = [local("one", 200), local("two", 300)]
    fetch.fetch_all(declared, RAW, PARAMS)
    fetch.fetch_all([local("one", 250), declared[1]], RAW, PARAMS)
    assert "fetch: 1 computed, 1 kept, 0 removed" in capsys.readouterr().out


def test_another_licence_rewrites_the_record_alone(capsys: pytest.CaptureFixture[str]) -> None:
    source = local("talk")
    fetch.fetch_all([source], RAW, PARAMS)
    before = (RAW / "talk.flac").stat().st_mtime_ns
    capsys.readouterr()
    fetch.fetch_all([replace(source, licence="CC-BY-4.0", speaker="nele")], RAW, PARAMS)
    assert "0 computed, 1 kept" in capsys.readouterr().out
    assert (record("talk")["recording"]["licence"], record("talk")["recording"]["speaker"]) == ("CC-BY-4.0", "nele")
    assert (RAW / "talk.flac").stat().st_mtime_ns == before


def test_one_that_fails_does_not_keep_the_others_from_being_finished_nor_loses_what_was_there() -> None:
    good, bad = local("good"), local("bad")
    fetch.fetch_all([bad], RAW, PARAMS)
    old = (RAW / "bad.flac").read_bytes(), record("bad")
    Path(bad.origin).write_bytes(b"not audio")
    [told] = failures(bad, good)
    assert told.startswith("bad: data/recordings/bad.wav: is not audio")
    assert record("good")["recording"]["seconds"] == 2
    assert ((RAW / "bad.flac").read_bytes(), record("bad")) == old


def test_a_site_that_needs_javascript_says_what_to_install() -> None:
    messages = fetch.Messages()
    messages.warning("[youtube] No supported JavaScript runtime could be found. Only deno is enabled by default; …")
    error = Exception("ERROR: [youtube] abc: Requested format is not available. Use --list-formats for a list")
    told = fetch.reason(error, messages)
    assert told.startswith("Requested format is not available")
    assert "install deno" in told


def test_a_recording_that_is_too_long_is_refused() -> None:
    [told] = failures(local("talk"), params=replace(PARAMS, max_hours=1 / 3600))
    assert told.startswith("talk: data/recordings/talk.wav: is longer than")


def test_what_a_site_claims_is_checked_before_anything_is_downloaded() -> None:
    source = remote("talk", "https://a.b/c")
    with pytest.raises(SourceError, match=r"lasts 9\.0 h; declare a part"):
        fetch.check_claims(source, {"duration": 9 * 3600}, PARAMS)
    with pytest.raises(SourceError, match="live stream"):
        fetch.check_claims(source, {"is_live": True}, PARAMS)
    fetch.check_claims(replace(source, start=60, end=120), {"duration": 9 * 3600}, PARAMS)


@pytest.mark.parametrize("ending", ["wav", "flac", "mp3", "m4a", "ogg", "opus", "mp4", "mkv"])
def test_a_local_file_in_any_container_is_a_recording(ending: str) -> None:
    path = encoded(ending, "data/recordings")
    fetch.fetch_all([replace(remote("talk", ""), url=None, file=str(path))], RAW, PARAMS)
    written = record("talk")
    assert written["recording"]["seconds"] == pytest.approx(2, abs=0.1)
    assert written["recording"]["sample_rate"] == 2 * RATE
    assert written["provenance"]["file_sha256"] == file_sha256(path)
