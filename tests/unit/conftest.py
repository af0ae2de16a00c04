"""Unit tests load no torch: loading it takes longer than a hundred of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def alone(request: pytest.FixtureRequest) -> bool:
    """Whether this process runs unit tests and no others, as `make test-fast` does."""
    return all(item.path.is_relative_to(HERE) for item in request.session.items)


@pytest.fixture(autouse=True, scope="module")
def _without_torch(alone: bool) -> Iterator[None]:
    yield
    assert not alone or "torch" not in sys.modules, (
        "this module, or one before it, loads torch: see docs/contributing.md"
    )
