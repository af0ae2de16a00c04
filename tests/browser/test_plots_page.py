"""The page that `dvc plots` fills in: whole, and without a network."""

from __future__ import annotations

import configparser
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT

SPECIFICATION = {
    "data": {"values": [{"step": 0, "loss": 3.0}, {"step": 5, "loss": 2.0}]},
    "mark": "line",
    "encoding": {"x": {"field": "step", "type": "quantitative"}, "y": {"field": "loss", "type": "quantitative"}},
}


class Tags(HTMLParser):
    """What the page would load; a script's text is no tag."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loading: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loading += [f"{tag} {name}={value}" for name, value in attrs if name in ("src", "href")]


def template() -> str:
    config = configparser.ConfigParser()
    config.read(ROOT / ".dvc/config")
    return (ROOT / ".dvc" / config["plots"]["html_template"]).read_text(encoding="utf-8")


def test_the_page_loads_nothing_and_has_its_places() -> None:
    page = template()
    assert page.count("{plot_divs}") == page.count("{refresh_tag}") == 1
    assert "{scripts}" not in page, "DVC would put its own there, from a server"
    assert Tags(page).loading == []
    assert "Redistributions of source code must retain the above copyright notice" in page


def test_a_plot_is_drawn_without_a_network(browser: Any, tmp_path: Path) -> None:
    plot = f"<div id='plot'></div><script>vegaEmbed('#plot', {json.dumps(SPECIFICATION)})</script>"
    (tmp_path / "index.html").write_text(template().replace("{plot_divs}", plot).replace("{refresh_tag}", ""))
    context = browser.new_context(offline=True)
    try:
        page = context.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto((tmp_path / "index.html").as_uri())
        page.wait_for_selector("#plot canvas, #plot svg.marks")
        assert problems == []
    finally:
        context.close()
