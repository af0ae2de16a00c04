"""A Document as a page that opens offline: its style and its sounds are within it. The templates lie in page/."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import jinja2

from timbre.core.safe_text import turns
from timbre.diff.document import Document
from timbre.report.templates import environment

PAGE = Path(__file__).with_name("page")


def page(document: Document) -> str:
    return fill("page.html", document=document) + "\n"


def part(document: Document) -> str:
    """For a section of another page, which has a heading of its own and knows how tables look."""
    return fill("part.html", document=document)


def fill(template: str, **values: object) -> str:
    """A template of page/ with the style that all whole pages share."""
    style = (PAGE / "style.css").read_text(encoding="utf-8")
    return _templates().get_template(template).render(style=style, **values)


@lru_cache(maxsize=1)
def _templates() -> jinja2.Environment:
    templates = environment(PAGE)
    templates.filters["turns"] = turns
    return templates
