"""One version in a few lines of Markdown: its rates, whether it passed its gates, and the way back to it.

MLflow shows them beside the version's run.
"""

from __future__ import annotations

from timbre.core.safe_text import escaped
from timbre.evaluation.metrics import Evidence


def note(evidence: Evidence, id: str, commit: str) -> str:
    lines = [_rates(evidence)]
    if evidence.gates:
        failed = f"failed: {', '.join(evidence.failed)}"
        lines.append(f"- gates: {'all passed' if evidence.passed else escaped(failed)}")
    lines.append(f"- version `{id}`" + (f" of commit `{commit[:12]}`" if commit else ""))
    if commit:
        lines.append(f"- back to it: `git checkout {commit[:12]} && dvc checkout`, or `dvc pull` in another clone")
    return "\n".join(line for line in lines if line)


def _rates(evidence: Evidence) -> str:
    condition = evidence.judged
    measured = evidence.conditions.get(condition)
    if measured is None:
        return ""
    parts = [f"{measured.wer:.1%} of the words wrong"] if measured.wer is not None else []
    parts += [f"similarity to the speaker {measured.similarity:.3f}"] if measured.similarity is not None else []
    return f"- {condition.replace('_', ' + ')}: {', '.join(parts)}" if parts else ""
