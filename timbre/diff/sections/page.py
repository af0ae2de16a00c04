"""The page that sections are written on: how much room there is, and where its links lead."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from timbre.diff.document import Block, Folded, Inline, Items, Paragraph, Style, Table, TextSpan
from timbre.diff.report import Report
from timbre.diff.sounds import Pair
from timbre.diff.wording import ChangedText
from timbre.report.numbers import plural

T = TypeVar("T")
LONGEST = 600  # characters of one text, unless everything is wanted
OPEN = 8  # rows of a table that are shown without being asked for


@dataclass(frozen=True)
class Page:
    """`most` is the longest that a list may be: what is least usual stays, and a line says how much is not shown."""

    report: Report
    most: int | None = None  # everything, where it is None
    link: str = ""  # address before the path of a file of the new version
    whole: str = ""  # address of the whole report
    sounds: Mapping[str, Pair] = field(default_factory=dict)
    embeds: bool = False  # whether it holds the sounds itself

    def cut(self, items: Sequence[T], noun: str) -> tuple[Sequence[T], list[Block]]:
        """As many as may be shown, and the line that tells of the others."""
        if self.most is None or len(items) <= self.most:
            return items, []
        rest = f"… and {plural(len(items) - self.most, noun)} more, in "
        return items[: self.most], [Paragraph((TextSpan(rest), self.everything, TextSpan(".")))]

    @property
    def everything(self) -> TextSpan:
        return (
            TextSpan("the whole report", "link", self.whole)
            if self.whole
            else TextSpan("the whole report (--full FILE)")
        )

    def text(self, text: str, style: Style = "plain") -> TextSpan:
        if self.most is not None and len(text) > LONGEST:
            text = f"{text[: LONGEST // 2]} … {text[-LONGEST // 2 :]}"
        return TextSpan(text, style)

    def place(self, path: str, line: int) -> TextSpan:
        name = f"{path.rpartition('/')[2]}:{line}" if line else path
        return TextSpan(name, "link", f"{self.link}{path}#L{line}") if self.link and line else TextSpan(name, "code")

    def players(self, sample: str) -> tuple[Inline, ...]:
        """Cells with the sample's sound, before and now; empty ones where it is not at hand."""
        pair = self.sounds.get(sample) if self.embeds else None
        if pair is None:
            return ((), ())
        sides = zip(("before", "now"), pair, strict=True)
        return tuple(
            (TextSpan(f"{sample} {name}", "sound", f"data:{one.kind};base64,{base64.b64encode(one.content).decode()}"),)
            for name, one in sides
        )


def cells(*texts: str) -> tuple[Inline, ...]:
    return tuple((TextSpan(text),) for text in texts)


def pieces(page: Page, piece: ChangedText) -> Iterator[TextSpan]:
    """A change of words: what went, and what came."""
    old, new = piece.old.strip(), piece.new.strip()
    some = piece.old or piece.new
    yield TextSpan(" " if some[0].isspace() else "")
    yield from [page.text(old, "old")] if old else []
    yield TextSpan(" " if old and new else "")
    yield from [page.text(new, "new")] if new else []
    yield TextSpan(" " if some[-1].isspace() else "")


def say(text: str) -> Paragraph:
    return Paragraph((TextSpan(text),))


def folded(title: str, blocks: Sequence[Block]) -> Iterator[Block]:
    """Long tables and lists under their title, to be opened; short ones as they are."""
    inner = [block for block in blocks if not isinstance(block, Folded)]
    rows = sum(len(b.rows) if isinstance(b, Table) else len(b.items) for b in inner if isinstance(b, (Table, Items)))
    if rows > OPEN:
        yield Folded(title, tuple(inner))
    else:
        yield from [say(f"{title}:"), *inner] if inner else []


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds * 100), 6000)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:{minutes:02}" if hours else f"{minutes}") + f":{rest / 100:05.2f}"
