"""What it did to the voice: gates, rates with their intervals, and the samples that changed, to be heard."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from timbre.diff import material, regression, wording
from timbre.diff.document import Block, Folded, Inline, Items, Paragraph, Table, TextSpan
from timbre.diff.regression import RegressionCheck
from timbre.diff.report import GateChange, PromptChange, Rate
from timbre.diff.sections.page import OPEN, Page, cells, folded, pieces, say
from timbre.diff.verdict import measured, rate_change
from timbre.evaluation.measures import BY_NAME
from timbre.report.numbers import plural, rate, signed

SAID = {True: "pass", False: "FAIL", None: "—"}
CONDITIONS = {"base": "base", "base_clone": "base + cloning", "tuned": "tuned", "tuned_clone": "tuned + cloning"}
TO = "\u00a0→\u00a0"  # does not break in a narrow column


def rates(page: Page) -> Iterator[Block]:
    report = page.report
    if any(gate.old != gate.new or gate.new is False for gate in report.gates):
        yield Table(("gate", "asks", "before", "now", "measured", "limit"), tuple(map(_gate, report.gates)))
    first = [change for change in report.rates if BY_NAME[change.name].first]
    others = [change for change in report.rates if not BY_NAME[change.name].first]
    if (first or others) and not material.said(report):
        yield say("No recording, line, clip or parameter changed: code, prompts, packages or the processor did.")
    head = ("condition", "", "before", "now", "change")
    if first:
        yield Table(head, tuple(map(_rate, first)))
    if others:
        shown, more = page.cut(others, "measure")
        yield from folded("What else was measured", [Table(head, tuple(map(_rate, shown))), *more])
    if report.regression:
        yield say("Regression check: changes over the sentences that both versions spoke, with 95% intervals.")
        yield Table(("", "asks", "change", "compared", ""), tuple(map(_check, report.regression)))
    if report.heard:
        yield say("What people prefer, in blind listening tests:")
        yield Items(tuple((TextSpan(line),) for line in report.heard))
    yield from _prompts(page)


def _check(check: RegressionCheck) -> tuple[Inline, ...]:
    outcome = TextSpan("HARM", "strong") if check.outcome == "harm" else TextSpan(check.outcome, "plain")
    kind = "answer" if check.name == "preferred" else "sentence"
    return (
        (TextSpan(check.name, "code"),),
        *cells(check.asks, regression.shown(check), plural(check.compared, kind)),
        (outcome,),
    )


def _gate(gate: GateChange) -> tuple[Inline, ...]:
    now = TextSpan(SAID[gate.new], "strong" if gate.new is False else "plain")
    numbers = ("—" if value is None else f"{value:.4g}" for value in (gate.value, gate.limit))
    return ((TextSpan(gate.name, "code"),), *cells(gate.asks, SAID[gate.old]), (now,), *cells(*numbers))


def _rate(rate: Rate) -> tuple[Inline, ...]:
    values = (_with_range(rate.name, rate.old, rate.old_range), _with_range(rate.name, rate.new, rate.new_range))
    return cells(CONDITIONS.get(rate.condition, rate.condition), BY_NAME[rate.name].short, *values, rate_change(rate))


def _with_range(name: str, value: float | None, span: tuple[float, float] | None) -> str:
    return measured(name, value) + (f" ({measured(name, span[0])} to {measured(name, span[1])})" if span else "")


def _prompts(page: Page) -> Iterator[Block]:
    shown, more = page.cut(page.report.prompts, "sample")
    if not shown:
        return
    yield say("Samples that are heard otherwise, or sound more or less like the speaker; what became worse first:")
    yield _table(page, shown[:OPEN])
    if len(shown) > OPEN:
        yield Folded(plural(len(shown) - OPEN, "sample") + " more", (_table(page, shown[OPEN:]),))
    yield from more
    if page.sounds and not page.embeds:
        yield Paragraph(
            (TextSpan(f"Hear {len(page.sounds)} of them, before and now, in "), page.everything, TextSpan("."))
        )


def _table(page: Page, prompts: Sequence[PromptChange]) -> Table:
    played = page.embeds and any(prompt.sample in page.sounds for prompt in prompts)
    like = any(prompt.similarity for prompt in prompts)
    head = ["sample", "WER", *["similarity"] * like, "heard before", "heard now", *["before", "now"] * played]
    return Table(tuple(head), tuple(_row(page, prompt, like, played) for prompt in prompts))


def _row(page: Page, prompt: PromptChange, like: bool, played: bool) -> tuple[Inline, ...]:
    name = f"{CONDITIONS.get(prompt.condition, prompt.condition)}: {prompt.prompt} (seed {prompt.seed})"
    row = [*cells(name, f"{rate(prompt.old)}{TO}{rate(prompt.new)}")]
    if like:
        row += cells(_similarity(prompt))
    asked = ((prompt.text_before or prompt.text, prompt.heard_before), (prompt.text, prompt.heard_now))
    row += [tuple(_heard(page, text, heard)) for text, heard in asked]
    return (*row, *(page.players(prompt.sample) if played else ()))


def _heard(page: Page, text: str, heard: str) -> Iterator[TextSpan]:
    """What was to be said, and against it what was heard."""
    for piece in wording.compare(text, heard):
        if _letters(piece.old) == _letters(piece.new):
            yield page.text(piece.new)
        else:
            yield from pieces(page, piece)


def _letters(text: str) -> list[str]:
    """What is heard of it."""
    return re.findall(r"\w+", text.casefold())


def _similarity(prompt: PromptChange) -> str:
    if prompt.similarity is None:
        return "—"
    old, new = prompt.similarity
    return f"{rate(old)}{TO}{rate(new)} ({signed(new - old, 3)})"
