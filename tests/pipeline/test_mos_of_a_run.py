"""Opinions that DNSMOS gives later are shown at the run of their version."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages import track
from tests.support import dnsmos, mlflow_store


def test_the_run_of_a_version_shows_opinions_that_came_later_and_is_no_other_version(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dnsmos.put_in_place(monkeypatch)
    track.main(**mlflow_store.ARGUMENTS)
    (run,) = mlflow_store.runs(f"sqlite:///{root}/mlflow.db")
    assert not [name for name in run.data.metrics if name.startswith("mos/")]
    expected = dnsmos.judged(root / "reports/samples")
    track.main(**mlflow_store.ARGUMENTS)
    track.main(**mlflow_store.ARGUMENTS)
    (run,) = mlflow_store.runs(f"sqlite:///{root}/mlflow.db")
    assert {name: value for name, value in run.data.metrics.items() if name.startswith("mos/")} == {
        f"mos/{condition}": value for condition, value in expected.items()
    }
