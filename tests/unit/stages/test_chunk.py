"""What `chunk` refuses before it cuts anything, and what it plans again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from ruamel.yaml import YAML

from stages import chunk
from stages.chunk import check_distinct
from tests.support.paths import ROOT
from tests.support.segment_factory import TALK
from timbre.audio import kept_plans
from timbre.core import params
from timbre.core.content import content_key
from timbre.core.errors import DataError
from timbre.core.records import Segment, write_jsonl
from timbre.mapping.store import ANEW

RATE, NAMES = 16_000, ("noon", "dusk")
DATA = Path("data")
FOLDERS = {name: DATA / name for name in ("raw", "segments", "clean", "speech")}
TABLES = {"table": DATA / "chunks/clips.jsonl", "drops": DATA / "chunks/drops.jsonl"}


def test_the_same_sound_under_two_names_is_refused() -> None:
    with pytest.raises(DataError, match="again: is the same sound as talk"):
        check_distinct([TALK, replace(TALK, id="again")])


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two short recordings, cut; the recordings that are planned from now on."""
    monkeypatch.chdir(tmp_path)
    settings = params.load(ROOT / "params.yaml")
    settings["chunk"] |= {"vad": "energy", "min_seconds": 0.5}
    with Path("params.yaml").open("w") as stream:
        YAML().dump(settings, stream)
    for name in NAMES:
        Path("data/recordings").mkdir(parents=True, exist_ok=True)
        Path("data/raw").mkdir(exist_ok=True)
        seconds = np.arange(6 * RATE) / RATE
        voice = 0.3 * np.sin(seconds * 700 * (1 + NAMES.index(name))) * (seconds % 2 > 0.6)
        for folder in ("recordings", "raw"):
            soundfile.write(f"data/{folder}/{name}.flac", voice, RATE, subtype="PCM_16")
        recording = replace(TALK, id=name, sha256=content_key(name), seconds=6.0)
        Path(f"data/raw/{name}.json").write_text(json.dumps({"recording": asdict(recording)}))
        write(name, "One.", "Two.", "Three.")
    known = {"speaker": "ann", "language": "en", "licence": "CC0-1.0", "consent": "own voice"}
    entries = [{"id": name, "file": f"data/recordings/{name}.flac", **known} for name in NAMES]
    Path("data/sources.yaml").write_text(json.dumps(entries))  # JSON is YAML
    cut()
    asked: list[str] = []

    def plan(recording: Any, segments: Any, *rest: Any) -> Any:
        asked.append(recording.id)
        return original(recording, segments, *rest)

    original = chunk.plan
    monkeypatch.setattr(chunk, "plan", plan)
    return asked


def write(name: str, *texts: str) -> None:
    lines = [Segment(name, 2 * n + 0.6, 2 * n + 2.0, "ann", text) for n, text in enumerate(texts)]
    write_jsonl(FOLDERS["segments"] / f"{name}.jsonl", lines)


def cut() -> None:
    chunk.main(DATA / "sources.yaml", **FOLDERS, out=DATA / "clips", **TABLES)


def tables() -> Sequence[str]:
    return [path.read_text() for path in TABLES.values()]


def test_a_word_plans_its_recording_again_and_no_other(planned: list[str]) -> None:
    before = tables()
    assert before[0].count("\n") > 1
    cut()
    assert planned == []
    assert tables() == before
    write("dusk", "One.", "Too.", "Three.")
    cut()
    assert planned == ["dusk"]
    assert "Too." in tables()[0]
    kept = tables()
    for path in kept_plans.PLACE.iterdir():
        path.unlink()
    cut()
    assert tables() == kept, "as if all had been planned now"


@pytest.mark.parametrize("damage", ["", "{", '{"key": "', '{"key": 1}\n{}\n', "[" * 9999])
def test_a_kept_plan_that_cannot_be_read_is_made_again(damage: str, planned: list[str]) -> None:
    before = tables()
    (kept_plans.PLACE / "noon.jsonl").write_text(damage)
    cut()
    assert planned == ["noon"]
    assert tables() == before


def test_other_parameters_code_or_sound_plan_again(planned: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = params.load(Path("params.yaml"))
    settings["chunk"]["pad"] = 0.1
    with Path("params.yaml").open("w") as stream:
        YAML().dump(settings, stream)
    cut()
    assert planned == [*NAMES]
    monkeypatch.setattr(kept_plans, "code_key", lambda: "other")
    cut()
    assert planned == 2 * [*NAMES]
    Path("data/raw/dusk.json").write_text(Path("data/raw/dusk.json").read_text().replace(content_key("dusk"), "ab" * 8))
    cut()
    assert planned == [*NAMES, *NAMES, "dusk"]
    monkeypatch.setenv(ANEW, "1")
    cut()
    assert planned == [*NAMES, *NAMES, "dusk", *NAMES]


def test_the_plan_of_a_recording_that_is_gone_goes(planned: list[str]) -> None:
    sources = json.loads(Path("data/sources.yaml").read_text())
    Path("data/sources.yaml").write_text(json.dumps(sources[:1]))
    cut()
    assert [path.stem for path in kept_plans.PLACE.iterdir()] == ["noon"]
    assert planned == []
