"""Whatever people wrote shows as text in each format, and a report stays short whatever they did."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.support.git_histories import HOSTILE, STEPS, between, page
from tests.support.git_history import Voice
from timbre.diff.render import COMMENT, render
from timbre.diff.sections.page import Page


class Seen(HTMLParser):
    """What a browser would show, and by which tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.tags = "", set[str]()
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


SHOWN = HOSTILE.replace("\x1b", "⟨U+001B⟩").replace("\u202e", "⟨U+202E⟩")
EVIDENCE = 'https://e.vil/"><script>alert(1)</script>`|'
PAGE = {"html", "meta", "title", "style", "header", "h1", "br", "h2", "section", "div", "details", "summary", "p"}
LISTS = {"ul", "li", "table", "tr", "th", "td"}
MARKS = {"del", "ins", "strong", "code", "bdi"}


def last(history: Voice) -> Page:
    return page(history.root, *between(len(STEPS) - 1))


def test_hostile_text_shows_as_text_in_html(history: Voice) -> None:
    seen = Seen(render(last(history), "html"))
    assert seen.text.count(SHOWN) == 3, "a line, a consent and a speaker's name"
    assert EVIDENCE in seen.text
    assert seen.tags <= PAGE | LISTS | MARKS
    assert seen.attributes <= {"lang", "charset", "name", "content", "class"}


def test_hostile_text_shows_as_text_in_markdown(history: Voice) -> None:
    markdown_it = pytest.importorskip("markdown_it")
    text = render(last(history), "markdown")
    seen = Seen(markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text))
    invisible = dict.fromkeys(map(ord, "\u200b\u2068\u2069"))
    assert seen.text.translate(invisible).count(SHOWN) == 3
    assert EVIDENCE in seen.text.translate(invisible)
    assert seen.tags <= {"p", "h3", "details", "summary", "thead", "tbody", "s", *LISTS, *MARKS}
    assert "@\u200boctocat" in seen.text, "the name rings nobody"
    assert "#\u200b12" in seen.text
    assert "http:\u200b//" in seen.text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_hostile_text_shows_as_text_in_a_terminal(history: Voice) -> None:
    found = last(history)
    for form in ("terminal", "json"):
        text = render(found, form)
        assert "\x1b" not in text
        assert "\u202e" not in text
    text = render(found, "terminal").replace("\u2068", "").replace("\u2069", "")
    assert text.count(SHOWN) == 3
    assert EVIDENCE in text


RECORDINGS = 10  # of 200 lines: three times as many as a comment holds


def test_thousands_of_changed_lines_are_summed_up(tmp_path: Path) -> None:
    voice = Voice(tmp_path / "voice")
    for number in range(RECORDINGS):
        voice.add(f"tape-{number:02}", [f"Line {i} of the trellis tape number {number}." for i in range(200)])
    voice.commit("Many")
    for number in range(RECORDINGS):
        for i in range(200):
            text = f"Line {i} of the Trelis tape number {number}."
            voice.edit(f"tape-{number:02}", i, text=text if (i, number) != (7, 5) else f"{HOSTILE} <b>" * 500)
    voice.run()
    found = page(voice.root, "main", None)
    assert len(found.report.words) == 2000
    for form in ("markdown", "html", "terminal"):
        text = render(found, form)
        assert len(text) < COMMENT
        assert "2,000 lines in 10 recordings reworded" in text
        assert "×1999" in text
        assert "tape-05.tsv:9" in text, "the one that is unlike the others"
        assert "more, in the whole report" in text
    assert render(found, "markdown", whole=True).count("Trelis") >= 1999
