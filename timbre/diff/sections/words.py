"""What is said: lines that read otherwise now, what came and went, and times that moved."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from timbre.diff import wording
from timbre.diff.document import Block, Inline, Items, Paragraph, Table, TextSpan
from timbre.diff.lines import Kind, LineChange, count
from timbre.diff.report import Doubt
from timbre.diff.sections.page import Page, cells, clock, folded, pieces, say
from timbre.report.numbers import plural, signed
from timbre.versions.lenient_rows import FOLDER, TranscriptRow

SHOWN: set[Kind] = {"reworded", "split", "merged", "regrouped", "dropped", "restored", "speaker", "added", "removed"}
NAMES = {
    "heard": "marked as heard",
    "unheard": "no longer marked as heard",
    "speaker": "with another speaker",
    "respelled": "written otherwise with the same words",
}
DOUBTS = 5  # lines of the list of those that are likely wrong, in a short report


def words(page: Page) -> Iterator[Block]:
    yield from _transcripts(page)
    yield from _replacements(page)
    yield from _lines(page)
    yield from _doubts(page)


def _transcripts(page: Page) -> Iterator[Block]:
    whole, more = page.cut(page.report.transcripts, "transcript")
    if whole:
        texts = (f" {t.kind}: {plural(t.lines, 'line')}, {t.seconds / 60:.1f} min" for t in whole)
        yield Items(tuple((TextSpan(t.path, "code"), TextSpan(text)) for t, text in zip(whole, texts, strict=True)))
        yield from more


def _replacements(page: Page) -> Iterator[Block]:
    report = page.report
    often, _ = page.cut([r for r in report.replacements if r.times > 2 or len(report.words) > 20], "replacement")
    if often:
        yield say("Replaced again and again:")
        yield Items(
            tuple(
                (page.text(r.old, "old"), TextSpan(" "), page.text(r.new, "new"), TextSpan(f" ×{r.times}"))
                for r in often
            )
        )


def _lines(page: Page) -> Iterator[Block]:
    report = page.report
    usual = Counter({(r.old, r.new): r.times for r in report.replacements})
    doubts = {(doubt.path, doubt.row.number): doubt for doubt in report.doubts}
    shown = [change for change in report.words if SHOWN & set(change.kinds)]
    ordered = sorted(shown, key=lambda change: -_surprise(change, usual, doubts))
    chosen, more = page.cut(ordered, "line")
    shown_ids = {id(change) for change in chosen}
    by_recording: dict[str, list[LineChange]] = defaultdict(list)
    for change in report.words:
        by_recording[change.recording].append(change)
    for name, changes in by_recording.items():
        chosen_changes = [change for change in changes if id(change) in shown_ids]
        if chosen_changes or page.most is None or len(by_recording) <= page.most:
            yield Paragraph((TextSpan(name, "strong"), TextSpan(f": {_counted(changes)}")))
        if chosen_changes:
            yield Items(tuple(_line(page, change, doubts) for change in chosen_changes))
    yield from more


def _line(page: Page, change: LineChange, doubts: dict[tuple[str, int], Doubt]) -> Inline:
    row = change.at
    path = f"{FOLDER}/{change.recording}.tsv"
    spans = [page.place(path, row.number) if change.new else TextSpan(f"{change.recording}.tsv", "code")]
    spans.append(TextSpan(f" {clock(row.start)} "))
    spans += [TextSpan(f"{note} ") for note in _notes(change)]
    for index, piece in enumerate(change.pieces):
        if piece.changed:
            spans += pieces(page, piece)
        else:
            last = index == len(change.pieces) - 1
            alone = index == 0 and last  # nothing changed but what the line is for
            spans.append(page.text(piece.old if alone else wording.fold(piece.old, index == 0, last)))
    why = [reason for row in change.new for reason in _why(doubts.get((path, row.number)))]
    return (*spans, TextSpan(" — likely wrong?", "strong"), page.text(f" {'; '.join(why)}")) if why else tuple(spans)


def _why(doubt: Doubt | None) -> tuple[str, ...]:
    return doubt.why if doubt else ()


def _surprise(
    change: LineChange, usual: Counter[tuple[str, str]], doubts: dict[tuple[str, int], Doubt] | None = None
) -> float:
    """In words; a line that goes, comes or is put together otherwise weighs at least ten, and so does a doubt."""
    weighed = wording.weight(change.pieces, usual)
    path = f"{FOLDER}/{change.recording}.tsv"
    doubtful = any((path, row.number) in (doubts or {}) for row in change.new)
    return weighed + 10 * bool(set(change.kinds) - {"reworded", "retimed", "respelled"}) + 10 * doubtful


def _counted(changes: Sequence[LineChange]) -> str:
    return ", ".join(f"{times} {NAMES.get(kind, kind)}" for kind, times in count(changes).items())


def _notes(change: LineChange) -> Iterator[str]:
    for kind in change.kinds:
        if kind == "speaker":
            yield f"speaker {change.old[0].speaker} → {change.new[0].speaker}:"
        elif kind in ("split", "merged", "regrouped"):
            yield f"{kind}, {len(change.old)} → {plural(len(change.new), 'line')}:"
        elif kind in ("dropped", "restored", "added", "removed"):
            yield f"{kind}:"


def _doubts(page: Page) -> Iterator[Block]:
    """Those that no change above shows: of a transcript that is new as a whole, or moved in time alone."""
    changed = {
        (f"{FOLDER}/{change.recording}.tsv", row.number)
        for change in page.report.words
        if SHOWN & set(change.kinds)
        for row in change.new
    }
    others = [doubt for doubt in page.report.doubts if (doubt.path, doubt.row.number) not in changed]
    shown = others if page.most is None else others[: min(DOUBTS, page.most)]
    if shown:
        more = f", the first {len(shown)} of {len(others):,}" if len(shown) < len(others) else ""
        yield say(f"Likely wrong among the other lines{more}:")
        yield Items(tuple(_doubt(page, doubt) for doubt in shown))


def _doubt(page: Page, doubt: Doubt) -> Inline:
    where = (
        page.place(doubt.path, doubt.row.number),
        TextSpan(f" {clock(doubt.row.start)} "),
        page.text(doubt.row.text),
    )
    return (*where, TextSpan(" — "), page.text("; ".join(doubt.why)))


def times(page: Page) -> Iterator[Block]:
    moves: dict[tuple[str, float, float], list[tuple[TranscriptRow, TranscriptRow]]] = defaultdict(list)
    for change in page.report.words:
        if "retimed" in change.kinds:
            (old,), (new,) = change.old, change.new
            shift = (change.recording, round(new.start - old.start, 2), round(new.end - old.end, 2))
            moves[shift].append((old, new))
    ordered = sorted(moves.items(), key=lambda item: (-len(item[1]), -abs(item[0][1]) - abs(item[0][2])))
    shown, more = page.cut(ordered, "shift")
    if not shown:
        return
    table = []
    for (name, start, end), rows in shown:
        old, new = rows[0]
        where = f"{clock(old.start)}–{clock(old.end)} → {clock(new.start)}–{clock(new.end)}"
        first = page.place(f"{FOLDER}/{name}.tsv", new.number)
        ends = cells(where, *(f"{signed(shift, 2)} s" if shift else "—" for shift in (start, end)))
        table.append((*cells(str(len(rows))), (first,), *ends))
    title = f"{plural(sum(len(rows) for rows in moves.values()), 'line')} moved in time"
    yield from folded(title, [Table(("lines", "first", "its times", "start", "end"), tuple(table)), *more])
