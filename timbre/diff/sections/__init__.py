"""A Report as headings, tables and lists, short enough to be read; render.py gives them their marks.

page    how much room there is, where links lead     words   lines, their words and times
made    totals, clips, sources, speakers, parameters  voice   rates, gates, samples
state   what to mend, what will run, what is missing
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from timbre.diff.document import Block, Document, Inline, Section, TextSpan
from timbre.diff.sections import made, state, voice, words
from timbre.diff.sections.page import Page
from timbre.diff.verdict import said
from timbre.tracking.run import TrackedRun

PARTS: tuple[tuple[str, Callable[[Page], Iterator[Block]]], ...] = (
    ("To mend first", state.problems),
    ("Totals", made.totals),
    ("Words", words.words),
    ("Times", words.times),
    ("Clips", made.clips),
    ("Sources, speakers and rights", made.rights),
    ("Parameters", made.params),
    ("The voice", voice.rates),
    ("What will run again", state.reruns),
    ("Not in the remote", state.shared),
    ("Not reached", state.unreachable),
)


def build(page: Page) -> Document:
    report = page.report
    sections = (Section(title, tuple(part(page))) for title, part in PARTS)
    shown = tuple(section for section in sections if section.blocks)
    return Document(said(report), tuple(_about(page)), shown, bool(report.failures))


def _about(page: Page) -> Iterator[TextSpan]:
    report = page.report
    yield from (TextSpan(report.old, "code"), *_run(report.runs[0]), TextSpan(" → "))
    yield from (TextSpan(report.new, "code"), *_run(report.runs[1], "last " if report.stale else ""))
    yield from (TextSpan(" · "), page.everything) if page.whole and page.most else ()


def _run(run: TrackedRun | None, when: str = "") -> Inline:
    """`last` of a version whose files went on since: its results are still those of that run."""
    if run is None:
        return ()
    name = f"{when}MLflow run {run.name}"
    return (TextSpan(" ("), TextSpan(name, "link", run.href) if run.href else TextSpan(name), TextSpan(")"))
