"""A map keeps entries of an older run, so its VERSION must rise when its code gives other bytes for the same input.

Nobody would remember that; this golden file does. On purpose: change VERSION, then
`GOLDEN=write python -m pytest tests/pipeline/test_versions.py`, and commit tests/golden/versions.json with it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

import pytest

from tests.conftest import Repository
from tests.support.paths import ROOT
from timbre.mapping.entries import RECORD, opened

pytestmark = pytest.mark.pipeline

GOLDEN = Path(__file__).parents[1] / "golden/versions.json"
# Stages whose bytes are the same on any machine, as models' sums are not, and where their VERSION is.
STAGES = {"fetch": ("stages/fetch.py", "data/raw"), "chunk": ("timbre/audio/clips.py", "data/clips")}


def test_other_bytes_come_with_another_version(made: Repository) -> None:
    now = {
        name: {"version": version(code), "sha256": digest(made.root / folder)}
        for name, (code, folder) in STAGES.items()
    }
    if os.environ.get("GOLDEN") == "write":
        GOLDEN.write_text(json.dumps(now, indent=2) + "\n")
    golden = json.loads(GOLDEN.read_text())
    for stage, seen in now.items():
        if seen["version"] == golden[stage]["version"]:
            assert seen["sha256"] == golden[stage]["sha256"], f"raise VERSION in {STAGES[stage][0]}; see {__name__}"
        else:
            assert seen == golden[stage], f"the version rose: write the golden file anew; see {__name__}"


def version(code: str) -> int:
    found = re.search(r"^VERSION = (\d+)", (ROOT / code).read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def digest(folder: Path) -> str:
    entries = [(path.name, hashlib.sha256(computed(path)).hexdigest()) for path in sorted(folder.iterdir())]
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()


def computed(path: Path) -> bytes:
    """The file as the stage computed it: the map adds hashes to a record."""
    content = path.read_bytes()
    if path.suffix != RECORD:
        return content
    record = opened(content)
    assert record is not None, f"{path} has no hashes"
    return record.content
