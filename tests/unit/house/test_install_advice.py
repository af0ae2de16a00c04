"""Who is told to install an extra gets the pinned versions."""

from __future__ import annotations

import re

import pytest

from tests.support.paths import ROOT

EXTRA = re.compile(r"pip install[^\n`]*\.\[[a-z0-9]+\]")
FILES = [
    *(ROOT / "timbre").rglob("*.py"),
    *(ROOT / "stages").glob("*.py"),
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "presets").glob("*.yaml"),
    ROOT / "params.yaml",
    ROOT / "README.md",
]


def test_an_extra_is_installed_with_the_pinned_versions() -> None:
    advice = {(path.relative_to(ROOT), found) for path in FILES for found in EXTRA.findall(path.read_text())}
    assert len(advice) > 10
    assert [(path, found) for path, found in sorted(advice) if "-c constraints.txt" not in found] == []


@pytest.mark.parametrize("line", ["`pip install '.[ray]'`", "pip install .[fast]"])
def test_such_advice_is_found_in_either_form(line: str) -> None:
    assert EXTRA.search(line)
