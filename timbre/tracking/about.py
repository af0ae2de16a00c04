"""What a person reads first of a run in MLflow: its name, who made it, where it comes from, and a short note."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

from timbre.core.errors import DataError
from timbre.core.safe_text import redacted, visible
from timbre.versions import history, snapshot

LONGEST = 60  # characters of a run's name


def run_name(id: str, dirty: bool) -> str:
    """The experiment's name in DVC, so that `dvc exp apply` knows it; else the commit's subject; else its id."""
    if name := os.environ.get("DVC_EXP_NAME"):
        return name
    subject = visible(_subject()).strip()
    if not subject:
        return id[:8]
    name = f"after {subject}" if dirty else subject  # with changes that are in no commit
    return name if len(name) <= LONGEST else name[: LONGEST - 1].rstrip() + "…"


def _subject() -> str:
    commit = snapshot.head(Path())
    return history.commit_info(Path(), commit).subject if commit else ""


def tags(note: str) -> dict[str, str]:
    """The tags that MLflow's pages show beside a run; the note is Markdown."""
    return {
        "mlflow.user": _setting("user.name") or _login(),
        "mlflow.source.type": "PROJECT",
        "mlflow.source.name": redacted(_setting("remote.origin.url")) or Path.cwd().name,
        "mlflow.note.content": note,
    }


def _setting(name: str) -> str:
    try:
        return snapshot.git(Path(), "config", "--get", name).decode(errors="replace").strip()
    except DataError:  # no git, or no such setting
        return ""


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return "unknown"
