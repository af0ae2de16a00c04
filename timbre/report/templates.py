"""How jinja2 fills the templates of a page: all text is escaped, and a name that nobody set is an error."""

from __future__ import annotations

from pathlib import Path

import jinja2

from timbre.core.safe_text import visible

PAGES = Path(__file__).with_name("page")  # the report's own


def environment(*folders: Path) -> jinja2.Environment:
    """For the templates of these folders; their filter `visible` shows the characters that would act on the page."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["visible"] = visible
    return templates
