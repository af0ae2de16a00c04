"""What mkdocs adds to pages when it builds them, so that nobody has to copy it: `--help`, and the keys of params.yaml.

commands.md               every command's `--help`
parameters.md             a table per section of params.yaml: key, value, and the comment that explains it
what-a-number-means.md    a table of the measures, at its mark
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from timbre.commands import cli
from timbre.evaluation.measures import MEASURES

ROOT = Path(__file__).parents[1]
SECTION = re.compile(r"(\w+):(?:\s+#\s*(.*))?$")
TABLE = ("| key | value | meaning |", "|---|---|---|")
MEASURES_HERE = "<!-- measures -->"
KEY = re.compile(r"(\s+)(\w+):\s*(.*?)\s*(?:#\s*(.*))?$")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Called by mkdocs for each page."""
    markdown = markdown.replace(MEASURES_HERE, "\n".join(measures()))
    more = {"commands.md": commands, "parameters.md": parameters}.get(page.file.src_uri)
    return "\n".join([markdown, *more()]) if more else markdown


def commands() -> Iterator[str]:
    yield "## Options and examples"
    for name in cli.COMMANDS:
        yield from (f"### timbre {name}", "", "```text", help_of(name), "```", "")


def help_of(command: str) -> str:
    """What `timbre COMMAND --help` prints, 100 characters wide and without colours."""
    os.environ.update(COLUMNS="100", NO_COLOR="1")
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        cli.execute([command, "--help"])
    return printed.getvalue().rstrip()


def measures() -> Iterator[str]:
    """How each measure is computed; the columns are those of reports/scores.csv."""
    yield from ("| name | in tables | better | computed as |", "|---|---|---|---|")
    for one in MEASURES:
        about = (one.title, one.better or "–", one.formula or one.total.formula)
        yield f"| `{one.name}` | {' | '.join(map(_cell, about))} |"


def parameters() -> Iterator[str]:
    outer = ""
    for line in (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines():
        if found := SECTION.match(line):
            yield from ("", f"## {found[1]}", "", _sentence(found[2]), "", *TABLE)
        elif found := KEY.match(line):
            indent, key, value, comment = found.groups()
            outer = outer if len(indent) > 2 else key
            if value:
                name = f"{outer}.{key}" if len(indent) > 2 else key
                yield f"| `{name}` | `{value}` | {_cell(comment)} |"


def _sentence(comment: str | None) -> str:
    return f"{comment[0].upper()}{comment[1:]}." if comment else ""


def _cell(comment: str | None) -> str:
    return (comment or "").replace("|", "\\|")
