"""Tests in this folder need no pipeline, no model and no browser, so `make test-fast` takes less than a minute."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
ELSEWHERE = {"made": "pipeline", "repository": "pipeline", "browser": "browser"}  # fixture → folder of its tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for name in ELSEWHERE.keys() & set(getattr(item, "fixturenames", ())) if HERE in item.path.parents else ():
            raise pytest.UsageError(f"{item.nodeid}: needs `{name}`; move it to tests/{ELSEWHERE[name]}")
