"""A new MLflow store as a file, complete from the moment that it is there under its name.

MLflow makes some forty tables one after another. Killed in the middle, each later run would fail with "table already
exists"; so the tables are made in another file, which then gets its name.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path


def make(path: Path) -> None:
    """Unless it is there; a file that an earlier kill left half made, and so without a run, is made anew."""
    if path.exists() and not is_half_made(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        new = Path(folder) / path.name
        _create(new)
        if path.exists() and is_half_made(path):
            new.replace(path)
        else:
            with contextlib.suppress(FileExistsError):  # another process was first, and its file stays
                os.link(new, path)


def _create(path: Path) -> None:
    """On the disk once all is there: SQLite waits for the disk several hundred times otherwise."""
    from mlflow import MlflowClient
    from sqlalchemy import Engine, event

    event.listen(Engine, "connect", _without_waiting)
    try:
        MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments(max_results=1)
    finally:
        event.remove(Engine, "connect", _without_waiting)
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _without_waiting(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA synchronous = OFF")


def is_half_made(path: Path) -> bool:
    """Whether some of MLflow's tables are there, no version of them, which it writes last, and no run."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if tables and "experiments" not in tables:
                return False  # of somebody else
            filled = [table for table in ("alembic_version", "runs") if table in tables]
            return not any(database.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in filled)
    except sqlite3.Error:  # locked, or no database: MLflow says more
        return False
