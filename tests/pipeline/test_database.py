"""A kill while MLflow makes its tables leaves nothing that a person has to mend."""

from __future__ import annotations

import gc
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from timbre import tracking
from timbre.tracking import database

MAKE = """\
import os, sys, time
from timbre import tracking
os.link = lambda *_: time.sleep(600)  # so that it is killed before the store gets its name, however late
tracking.connect(sys.argv[1]).search_experiments()
"""


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_a_killed_start_leaves_no_store_and_the_next_start_makes_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    process = subprocess.Popen([sys.executable, "-c", MAKE, f"sqlite:///{path}"], stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(tmp_path.glob(".mlflow.db.*/*")):
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not path.exists()
    tracking.connect(f"sqlite:///{path}").search_experiments()
    assert not database.is_half_made(path)


@pytest.mark.parametrize("statements", [[], ["CREATE TABLE experiments (experiment_id INTEGER)"]])
def test_a_store_that_was_left_half_made_is_made_anew(statements: list[str], tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.touch()
    execute(path, *statements)
    tracking.connect(f"sqlite:///{path}").search_experiments()


def test_a_store_with_runs_or_of_somebody_else_is_never_replaced(tmp_path: Path) -> None:
    old, other = tmp_path / "old.db", tmp_path / "other.db"
    execute(old, "CREATE TABLE experiments (id INTEGER)", "CREATE TABLE runs (id TEXT)", "INSERT INTO runs VALUES (1)")
    execute(other, "CREATE TABLE letters (id INTEGER)")
    for path in (old, other):
        before = path.read_bytes()
        database.make(path)
        assert path.read_bytes() == before


def test_a_new_store_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, link = [], os.link

    def named(source: Path, target: Path) -> None:
        steps.append("named")
        link(source, target)

    monkeypatch.setattr(os, "fsync", lambda _: steps.append("on the disk"))
    monkeypatch.setattr(os, "link", named)
    database.make(tmp_path / "mlflow.db")
    assert steps == ["on the disk", "named"]


def test_a_store_that_has_its_name_waits_for_the_disk_and_garbage_is_looked_for_again(tmp_path: Path) -> None:
    client = tracking.connect(f"sqlite:///{tmp_path}/mlflow.db")
    with client._tracking_client.store.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
    assert gc.isenabled()
