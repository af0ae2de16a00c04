"""The evidence as plain cells: for a terminal and README, and as a Markdown page for a pull request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from timbre.core.safe_text import escaped
from timbre.evaluation.measures import COMPARED, MEASURES, Measure
from timbre.evaluation.metrics import CONDITIONS, Evidence, Metric
from timbre.report import people, second
from timbre.report.columns import columns
from timbre.report.rates import VERSUS, gate_rows
from timbre.report.verdict import NAMES, change, verdict

SHOWN = [measure for measure in MEASURES if measure.first]
HEAD = ("", *(measure.title for measure in SHOWN))


@dataclass(frozen=True)
class Fact:
    """A line of the Markdown page below the tables."""

    title: str
    text: str


def cells(evidence: Evidence) -> list[tuple[str, ...]]:
    """A head, and a row per condition; a column that nobody measured is left out."""
    rows: list[tuple[str, ...]] = [HEAD]
    rows += [_row(NAMES[name][0], evidence.conditions[name]) for name in CONDITIONS if name in evidence.conditions]
    columns_shown = [place for place in range(len(HEAD)) if place == 0 or any(row[place] for row in rows[1:])]
    return [tuple(row[place] for place in columns_shown) for row in rows]


def by_speaker(evidence: Evidence) -> list[tuple[str, ...]]:
    """A head, and a row per speaker and condition; nothing of a voice of one speaker."""
    rows = [
        (name, *_row(NAMES[condition][0], one.conditions[condition]), ", ".join(one.failed) or "none")
        for name, one in evidence.speakers.items()
        for condition in CONDITIONS
        if condition in one.conditions
    ]
    head = ("speaker", "condition", *HEAD[1:], "failed gates")
    columns_shown = [place for place in range(len(head)) if any(row[place] for row in rows)]
    return [tuple(row[place] for place in columns_shown) for row in (head, *rows)] if rows else []


def _row(name: str, m: Metric) -> tuple[str, ...]:
    return (name, *(_cell(measure, m) for measure in SHOWN))


def _cell(measure: Measure, m: Metric) -> str:
    value, low, high = measure.interval(m)
    between = "" if low is None or high is None else f" ({measure.bare(low)}–{measure.bare(high)})"
    return "" if value is None else measure.text(value) + between


def terminal(evidence: Evidence) -> Iterator[str]:
    """The table in columns, and what the similarity is measured by."""
    yield from columns(cells(evidence), numbers=True)
    if evidence.speakers:
        yield from columns(by_speaker(evidence), numbers=True)
    if scale := speaker_line(evidence):
        yield scale


def speaker_line(evidence: Evidence) -> str:
    scale = evidence.speaker
    if scale is None or scale.ceiling is None or scale.floor is None:
        return ""
    return f"similarity of the speaker’s own clips {scale.ceiling:.3f}, of other voices {scale.floor:.3f}"


def gates(evidence: Evidence) -> Iterator[str]:
    """A line per gate, for a terminal."""
    rows = gate_rows(evidence)
    yield from columns([("passed" if row.passed else "FAILED", f"{row.asks}: {row.measured}") for row in rows])


def preferences(evidence: Evidence) -> list[str]:
    """What people prefer, a line each, for a terminal."""
    return [f"people    {line}" for line in people.sentences(evidence)]


def second_opinions(evidence: Evidence) -> list[str]:
    """What a second judge says, a line each, for a terminal."""
    return [f"twice     {line}" for line in second.sentences(evidence)]


def markdown(evidence: Evidence, facts: Sequence[Fact]) -> str:
    judged = verdict(evidence)
    parts = [
        [f"## {judged.headline}."],
        [" ".join([*judged.sure, *judged.more])],
        _piped(cells(evidence)),
        [
            "Intervals are 95 %." * bool(evidence.differences),
            f"{_capital(speaker_line(evidence))}." * bool(evidence.speaker),
        ],
        _piped(by_speaker(evidence)),
        _piped(_changes(evidence)),
        list(_gates(evidence)),
        [f"- **People:** {escaped(line)}" for line in people.sentences(evidence)],
        [f"- **Judged twice:** {escaped(line)}" for line in second.sentences(evidence)],
        [f"- **{fact.title}:** {fact.text}" for fact in facts],
    ]
    return "\n\n".join("\n".join(part).strip() for part in parts if any(part)) + "\n"


def _changes(evidence: Evidence) -> list[tuple[str, ...]]:
    """A row per difference, below a head; nothing without differences."""
    titles = (f"{m.title}, points" if m.unit == "share" else m.title for m in COMPARED)
    rows: list[tuple[str, ...]] = [("difference", *titles, "better, as good, worse")]
    for name, difference in ((name, evidence.differences[name]) for name in VERSUS if name in evidence.differences):
        first, second = (NAMES[part][0] for part in name.split("-"))
        counts = [str(number) for number in (difference.wins, difference.ties, difference.losses) if number is not None]
        changes = (change(difference, measure) for measure in COMPARED)
        rows.append((f"{first} against {second.lower()}", *changes, ", ".join(counts)))
    return rows if len(rows) > 1 else []


def _gates(evidence: Evidence) -> Iterator[str]:
    for row in gate_rows(evidence):
        yield f"- {'✅' if row.passed else '❌ **failed**:'} {escaped(row.asks)}: {row.measured}"


def _piped(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """A table of Markdown, its numbers to the right."""
    if not rows:
        return []
    rule = ["---", *("---:" for _ in rows[0][1:])]
    return ["| " + " | ".join(row) + " |" for row in (rows[0], rule, *rows[1:])]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
