"""A Report as headings, tables and lists, short enough to be read; render.py gives them their marks.

`most` is the longest that a list may be: what is least usual stays, and a line says how much is not shown.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from timbre.diff import wording
from timbre.diff.clips import ClipChange
from timbre.diff.clips import Kind as ClipKind
from timbre.diff.document import Block, Document, Inline, Items, Paragraph, Section, Span, Style, Table
from timbre.diff.lines import Kind, LineChange, count
from timbre.diff.report import Report
from timbre.diff.rows import FOLDER, Row
from timbre.diff.verdict import amount, change_of, plural, rate, rate_change, said, signed

T = TypeVar("T")
LONGEST = 600  # characters of one text, unless everything is wanted
SHOWN: set[Kind] = {"reworded", "split", "merged", "regrouped", "dropped", "restored", "speaker", "added", "removed"}
ORDER: tuple[ClipKind, ...] = (
    "moved",
    "re-cut",
    "removed",
    "added",
    "re-worded",
)  # of clips, what a reviewer can least foresee first


def build(report: Report, most: int | None = None, link: str = "") -> Document:
    """`link` is the address before the path of a file of the new version."""
    made = _Builder(report, most, link)
    parts: list[tuple[str, Callable[[], Iterator[Block]]]] = [
        ("To mend first", made.problems),
        ("Totals", made.totals),
        ("Words", made.words),
        ("Times", made.times),
        ("Clips", made.clips),
        ("Sources and rights", made.sources),
        ("Parameters", made.params),
        ("Error rates", made.rates),
        ("What will run again", made.reruns),
        ("Not reached", made.unreachable),
    ]
    sections = (Section(title, tuple(part())) for title, part in parts)
    return Document(said(report), tuple(section for section in sections if section.blocks))


class _Builder:
    def __init__(self, report: Report, most: int | None, link: str) -> None:
        self.report, self.most, self.link = report, most, link

    def cut(self, items: Sequence[T], what: str) -> tuple[Sequence[T], list[Block]]:
        """As many as may be shown, and the line that tells of the others."""
        if self.most is None or len(items) <= self.most:
            return items, []
        rest = plural(len(items) - self.most, what)
        return items[: self.most], [Paragraph((Span(f"… and {rest} more, in the whole report (--full FILE)."),))]

    def text(self, text: str, style: Style = "plain") -> Span:
        if self.most is not None and len(text) > LONGEST:
            text = f"{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}"
        return Span(text, style)

    def place(self, path: str, line: int) -> Span:
        name = f"{path.rpartition('/')[2]}:{line}" if line else path
        return Span(name, "link", f"{self.link}{path}#L{line}") if self.link and line else Span(name, "code")

    def problems(self) -> Iterator[Block]:
        found, more = self.cut(self.report.problems, "place")
        if found:
            yield Items(tuple((self.place(p.path, p.line), Span(" "), self.text(p.what)) for p in found))
            yield from more
        if self.report.leaks:
            yield Paragraph((Span("In training and in evaluation, so that the evaluation tests what was learnt:"),))
            leaks, more = self.cut(self.report.leaks, "text")
            yield Items(
                tuple(
                    (self.text(leak.text), Span(" "), Span(", ".join(leak.training + leak.evaluation), "code"))
                    for leak in leaks
                )
            )
            yield from more

    def totals(self) -> Iterator[Block]:
        changed = [total for total in self.report.totals if change_of(total)]
        if changed:
            rows = (_cells(t.name, amount(t.old, t.unit), amount(t.new, t.unit), change_of(t)) for t in changed)
            yield Table(("", "before", "now", "change"), tuple(rows))
            same = (f"{t.name} {amount(t.new, t.unit)}" for t in self.report.totals if not change_of(t))
            yield Paragraph((Span("Unchanged: " + "; ".join(same) + "."),))

    def words(self) -> Iterator[Block]:
        report = self.report
        if report.transcripts:
            whole, more = self.cut(report.transcripts, "transcript")
            yield Items(
                tuple(
                    (Span(t.path, "code"), Span(f" {t.kind}: {plural(t.lines, 'line')}, {t.seconds / 60:.1f} min"))
                    for t in whole
                )
            )
            yield from more
        often, _ = self.cut([r for r in report.replacements if r.times > 2 or len(report.words) > 20], "replacement")
        if often:
            yield Paragraph((Span("Replaced again and again:"),))
            yield Items(
                tuple(
                    (self.text(r.old, "old"), Span(" "), self.text(r.new, "new"), Span(f" ×{r.times}")) for r in often
                )
            )
        shown = [change for change in report.words if SHOWN & set(change.kinds)]
        usual = Counter({(r.old, r.new): r.times for r in report.replacements})
        chosen, more = self.cut(sorted(shown, key=lambda change: -_surprise(change, usual)), "line")
        kept = {id(change) for change in chosen}
        by_recording: dict[str, list[LineChange]] = defaultdict(list)
        for change in report.words:
            by_recording[change.recording].append(change)
        for name, changes in by_recording.items():
            told = [change for change in changes if id(change) in kept]
            if told or (self.most is None) or len(by_recording) <= self.most:
                yield Paragraph((Span(name, "strong"), Span(f": {_counted(changes)}")))
            if told:
                yield Items(tuple(self.line(change) for change in told))
        yield from more

    def line(self, change: LineChange) -> Inline:
        row = change.at
        path = f"{FOLDER}/{change.recording}.tsv"
        spans = [self.place(path, row.number) if change.new else Span(f"{change.recording}.tsv", "code")]
        spans.append(Span(f" {clock(row.start)} "))
        spans += [Span(f"{note} ") for note in _notes(change)]
        if why := next(
            (self.report.odd[at] for r in change.new if (at := f"{path}:{r.number}") in self.report.odd), ""
        ):
            spans.append(Span(f"(likely wrong: {why}) "))
        for index, piece in enumerate(change.pieces):
            if not piece.changed:
                last = index == len(change.pieces) - 1
                spans.append(self.text(wording.fold(piece.old, index == 0, last) if index or not last else piece.old))
                continue
            spans += self.change(piece)
        return tuple(spans)

    def change(self, piece: wording.Piece) -> Iterator[Span]:
        old, new = piece.old.strip(), piece.new.strip()
        some = piece.old or piece.new
        yield Span(" " if some[0].isspace() else "")
        yield from [self.text(old, "old")] if old else []
        yield Span(" " if old and new else "")
        yield from [self.text(new, "new")] if new else []
        yield Span(" " if some[-1].isspace() else "")

    def times(self) -> Iterator[Block]:
        moves: dict[tuple[str, float, float], list[tuple[Row, Row]]] = defaultdict(list)
        for change in self.report.words:
            if "retimed" in change.kinds:
                (old,), (new,) = change.old, change.new
                shift = (change.recording, round(new.start - old.start, 2), round(new.end - old.end, 2))
                moves[shift].append((old, new))
        ordered = sorted(moves.items(), key=lambda item: (-len(item[1]), -abs(item[0][1]) - abs(item[0][2])))
        found, more = self.cut(ordered, "shift")
        if not found:
            return
        table = []
        for (name, start, end), rows in found:
            old, new = rows[0]
            where = f"{clock(old.start)}–{clock(old.end)} → {clock(new.start)}–{clock(new.end)}"
            first = self.place(f"{FOLDER}/{name}.tsv", new.number)
            table.append(
                (*_cells(str(len(rows))), (first,), *_cells(where, f"{signed(start, 2)} s", f"{signed(end, 2)} s"))
            )
        yield Table(("lines", "first", "its times", "start", "end"), tuple(table))
        yield from more

    def clips(self) -> Iterator[Block]:
        changes = sorted(self.report.clips, key=lambda change: ORDER.index(change.kind))
        found, more = self.cut(changes, "clip")
        if found:
            kinds = Counter(change.kind for change in changes)
            yield Paragraph((Span(", ".join(f"{kinds[kind]} {kind}" for kind in ORDER if kinds[kind]) + "."),))
            yield Table(("clip", "", "recording", "time", "seconds", "used for"), tuple(map(_clip_row, found)))
            yield from more
        if self.report.left_out:
            yield Paragraph((Span("Left out, by reason:"),))
            rows = (_cells(why, str(old), str(new)) for why, (old, new) in self.report.left_out.items())
            yield Table(("reason", "before", "now"), tuple(rows))

    def sources(self) -> Iterator[Block]:
        found, more = self.cut(self.report.sources, "source")
        items: list[Inline] = []
        for source in found:
            spans = [Span(source.id, "code"), Span(f" {source.kind}")]
            for key, (old, new) in source.values.items():
                spans += [Span("; "), Span(key, "strong" if key in ("consent", "licence") else "plain"), Span(" ")]
                if source.kind != "changed":
                    spans.append(self.text(new or old or ""))
                    continue
                spans += [self.text(old, "old"), Span(" ")] if old is not None else []
                spans += [self.text(new, "new")] if new is not None else [Span("(gone)")]
            items.append(tuple(spans))
        if items:
            yield Items(tuple(items))
            yield from more

    def params(self) -> Iterator[Block]:
        found, more = self.cut(self.report.params, "parameter")
        if found:
            rows = (((Span(p.key, "code"),), *((self.text(_shown(v)),) for v in (p.old, p.new))) for p in found)
            yield Table(("parameter", "before", "now"), tuple(rows))
            yield from more

    def rates(self) -> Iterator[Block]:
        if self.report.rates:
            rows = (
                _cells(r.condition, r.name.upper(), rate(r.old), rate(r.new), rate_change(r)) for r in self.report.rates
            )
            yield Table(("condition", "rate", "before", "now", "change"), tuple(rows))
        found, more = self.cut(self.report.prompts, "sample")
        if found:
            yield Paragraph((Span("Samples whose word error rate changed, what became worse first:"),))
            table = []
            for p in found:
                cells = _cells(p.condition, f"{p.prompt} (seed {p.seed})", f"{rate(p.old)} → {rate(p.new)}")
                table.append((*cells, *((self.text(text),) for text in (p.text, p.heard_before, p.heard_now))))
            yield Table(("condition", "prompt", "WER", "said", "heard before", "heard now"), tuple(table))
            yield from more

    def reruns(self) -> Iterator[Block]:
        direct = [stage for stage in self.report.stale if stage.reasons]
        if not direct:
            return
        yield Paragraph((Span("dvc.lock is behind the files; clips and rates above are those of the last run."),))
        items = []
        for stage in direct:
            reasons = stage.reasons[:6] + (f"and {len(stage.reasons) - 6} more",) * (len(stage.reasons) > 6)
            items.append((Span(stage.stage, "code"), self.text(": " + "; ".join(reasons))))
        yield Items(tuple(items))
        after = [stage.stage for stage in self.report.stale if not stage.reasons]
        if after:
            yield Paragraph((Span(f"After them, as far as their results differ: {', '.join(after)}."),))

    def unreachable(self) -> Iterator[Block]:
        if self.report.unreachable:
            yield Paragraph((Span("Neither in DVC's cache here nor to be had from a remote, so not compared:"),))
            yield Items(tuple((Span(what, "code"),) for what in self.report.unreachable))


def _cells(*texts: str) -> tuple[Inline, ...]:
    return tuple((Span(text),) for text in texts)


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds * 100), 6000)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02}" if hours else f"{minutes}") + f":{rest / 100:05.2f}"


def _shown(value: object) -> str:
    return "—" if value is None else str(value)


def _surprise(change: LineChange, usual: Counter[tuple[str, str]]) -> float:
    """In words; a line that goes, comes or is put together otherwise weighs at least ten."""
    weighed = wording.weight(change.pieces, usual)
    return weighed + 10 * bool(set(change.kinds) - {"reworded", "retimed", "respelled"})


def _counted(changes: Sequence[LineChange]) -> str:
    names = {"heard": "marked as heard", "unheard": "no longer marked as heard", "speaker": "with another speaker",
             "respelled": "written otherwise with the same words"}  # fmt: skip
    return ", ".join(f"{times} {names.get(kind, kind)}" for kind, times in count(changes).items())


def _notes(change: LineChange) -> Iterator[str]:
    for kind in change.kinds:
        if kind == "speaker":
            yield f"speaker {change.old[0].speaker} → {change.new[0].speaker}:"
        elif kind in ("split", "merged", "regrouped"):
            yield f"{kind}, {len(change.old)} → {plural(len(change.new), 'line')}:"
        elif kind in ("dropped", "restored", "added", "removed"):
            yield f"{kind}:"


def _clip_row(change: ClipChange) -> tuple[Inline, ...]:
    some = change.new or change.old
    seconds = [" + ".join(f"{clip.seconds:.1f}" for clip in side) for side in (change.old, change.new) if side]
    parts = [", ".join(dict.fromkeys(clip.part for clip in side)) for side in (change.old, change.new) if side]
    return (
        (Span(", ".join(clip.id[:8] for clip in some), "code"),),
        *_cells(
            change.kind,
            some[0].recording,
            f"{clock(some[0].start)}–{clock(some[-1].end)}",
            " → ".join(dict.fromkeys(seconds)),
            " → ".join(dict.fromkeys(parts)),
        ),
    )
