"""What the voice is made of: how much there is, its clips, whose it is, and the parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from timbre.diff.clips import ClipChange
from timbre.diff.clips import Kind as ClipKind
from timbre.diff.document import Block, Inline, Items, Table, TextSpan
from timbre.diff.rights import Change, SourceChange
from timbre.diff.sections.page import Page, cells, clock, folded, say
from timbre.diff.verdict import change_of
from timbre.report.numbers import amount

# of clips, what a reviewer can least foresee first
ORDER: tuple[ClipKind, ...] = ("moved", "re-cut", "removed", "added", "re-worded")
STRONG = ("consent", "licence", "revoked")


def totals(page: Page) -> Iterator[Block]:
    changed = [total for total in page.report.totals if change_of(total)]
    if changed:
        rows = (cells(t.name, amount(t.old, t.unit), amount(t.new, t.unit), change_of(t)) for t in changed)
        yield Table(("", "before", "now", "change"), tuple(rows))
        same = [f"{t.name} {amount(t.new, t.unit)}" for t in page.report.totals if not change_of(t)]
        yield from [say("Unchanged: " + "; ".join(same) + ".")] if same else []


def clips(page: Page) -> Iterator[Block]:
    report = page.report
    changes = sorted(report.clips, key=lambda change: (not _odd(change, report.outliers), ORDER.index(change.kind)))
    shown, more = page.cut(changes, "clip")
    if shown:
        kinds = Counter(change.kind for change in changes)
        title = ", ".join(f"{kinds[kind]} {kind}" for kind in ORDER if kinds[kind])
        head = ("clip", "", "recording", "time", "seconds", "used for")
        table = Table(head, tuple(_clip(page, change) for change in shown))
        yield from folded(title, [table, *more])
    if report.left_out:
        rows = (cells(why, str(old), str(new)) for why, (old, new) in report.left_out.items())
        yield say("Left out or warned of, by reason:")
        yield Table(("reason", "before", "now"), tuple(rows))
    rejected, more = page.cut(report.rejected, "stretch")
    if rejected:
        items = (
            (
                TextSpan(r.recording, "strong"),
                TextSpan(f" {clock(r.start)} "),
                page.text(r.text),
                page.text(f" — {r.reason}"),
            )
            for r in rejected
        )
        yield from folded("Among them, that were not before", [Items(tuple(items)), *more])


def _odd(change: ClipChange, outliers: dict[str, str]) -> list[str]:
    return [outliers[clip.id] for clip in change.new if clip.id in outliers]


def _clip(page: Page, change: ClipChange) -> tuple[Inline, ...]:
    rows = change.new or change.old
    seconds = [" + ".join(f"{clip.seconds:.1f}" for clip in side) for side in (change.old, change.new) if side]
    parts = [", ".join(dict.fromkeys(clip.part for clip in side)) for side in (change.old, change.new) if side]
    odd = _odd(change, page.report.outliers)
    kind = (TextSpan(change.kind), *((TextSpan(" — outlier: ", "strong"), TextSpan("; ".join(odd))) if odd else ()))
    return (
        (TextSpan(", ".join(clip.id[:8] for clip in rows), "code"),),
        kind,
        *cells(
            rows[0].recording,
            f"{clock(rows[0].start)}–{clock(rows[-1].end)}",
            " → ".join(dict.fromkeys(seconds)),
            " → ".join(dict.fromkeys(parts)),
        ),
    )


def rights(page: Page) -> Iterator[Block]:
    parts: tuple[tuple[Sequence[Change | SourceChange], str], ...] = (
        (page.report.people, "speaker"),
        (page.report.sources, "recording"),
    )
    for entries, kind in parts:
        shown, more = page.cut(entries, kind)
        if shown:
            yield Items(tuple(tuple(_entry(page, entry, kind)) for entry in shown))
            yield from more


def _entry(page: Page, entry: SourceChange | Change, kind: str) -> Iterator[TextSpan]:
    yield from (TextSpan(f"{kind} "), TextSpan(entry.id, "code"), TextSpan(" "))
    yield TextSpan(entry.kind, "strong" if entry.kind in ("revoked", "removed") else "plain")
    for key, (old, new) in entry.values.items():
        yield from (TextSpan("; "), TextSpan(key, "strong" if key in STRONG else "plain"), TextSpan(" "))
        if entry.kind in ("added", "removed"):
            yield page.text(new or old or "")
            continue
        yield from [page.text(old, "old"), TextSpan(" ")] if old is not None else []
        yield page.text(new, "new") if new is not None else TextSpan("(gone)")


def params(page: Page) -> Iterator[Block]:
    shown, more = page.cut(page.report.params, "parameter")
    if shown:
        rows = (((TextSpan(p.key, "code"),), *((page.text(_shown(v)),) for v in (p.old, p.new))) for p in shown)
        table = Table(("parameter", "before", "now"), tuple(rows))
        yield from folded(f"{len(page.report.params)} changed", [table, *more])


def _shown(value: object) -> str:
    """As it stands in params.yaml."""
    if isinstance(value, bool):
        return str(value).lower()
    return "—" if value is None else str(value)
