"""What a person reads first of a run in MLflow: its name, who made it, where it comes from, and a short note."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

from timbre.core.errors import DataError
from timbre.core.safe_text import escaped, redacted, visible
from timbre.evaluation.metrics import Evidence
from timbre.versions import history, snapshot

LONGEST = 60  # characters of a run's name
MAIN = ("tuned_clone", "tuned")  # the condition that a voice is judged by: the first that was measured


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


def tags(evidence: Evidence, id: str, commit: str) -> dict[str, str]:
    """The tags that MLflow's pages show beside a run."""
    return {
        "mlflow.user": _setting("user.name") or _login(),
        "mlflow.source.type": "PROJECT",
        "mlflow.source.name": redacted(_setting("remote.origin.url")) or Path.cwd().name,
        "mlflow.note.content": note(evidence, id, commit),
    }


def note(evidence: Evidence, id: str, commit: str) -> str:
    """In Markdown."""
    lines = [_rates(evidence)]
    if evidence.gates:
        failed = f"failed: {', '.join(evidence.failed)}"
        lines.append(f"- gates: {'all passed' if evidence.passed else escaped(failed)}")
    lines.append(f"- version `{id}`" + (f" of commit `{commit[:12]}`" if commit else ""))
    if commit:
        lines.append(f"- back to it: `git checkout {commit[:12]} && dvc checkout`, or `dvc pull` in another clone")
    return "\n".join(line for line in lines if line)


def _rates(evidence: Evidence) -> str:
    condition = next((name for name in MAIN if name in evidence.conditions), "")
    measured = evidence.conditions.get(condition)
    if measured is None:
        return ""
    parts = [f"{measured.wer:.1%} of the words wrong"] if measured.wer is not None else []
    parts += [f"similarity to the speaker {measured.similarity:.3f}"] if measured.similarity is not None else []
    return f"- {condition.replace('_', ' + ')}: {', '.join(parts)}" if parts else ""


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
