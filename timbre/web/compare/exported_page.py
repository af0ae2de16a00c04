"""A listening test as one HTML file, for people without the repository: sounds, style and script inside it.

It opens without a network and sends nothing. At its end the listener saves a file of answers, which
`timbre compare --take FILE` checks and adds.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Sequence

from timbre.web.compare.sitting import Sitting
from timbre.web.endpoints import STATIC

POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; base-uri 'none'; "
    "form-action 'none'"
)
STYLE, SCRIPT = (
    '<link rel="stylesheet" href="static/compare.css">',
    '<script type="module" src="static/compare.js"></script>',
)


def exported(sitting: Sitting, speakers: Sequence[str]) -> str:
    """The page; `speakers` is whose voices are in it."""
    page, style, script = ((STATIC / f"compare.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    screens = [sitting.screen(number) for number in range(1, len(sitting.test.screens) + 1)]
    sounds = {name: base64.b64encode(sitting.sound(name) or b"").decode() for name in _names(screens)}
    data = json.dumps({"overview": sitting.overview(), "screens": screens, "sounds": sounds}).replace("<", "\\u003c")
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    head = (
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY.format(hash=allowed)}">\n'
        f'<meta name="timbre:voices" content="{html.escape(" ".join(speakers))}">\n'
    )
    page = page.replace("<head>\n", f"<head>\n{head}", 1).replace(STYLE, f"<style>{style}</style>", 1)
    inline = f'<script type="application/json" id="test">{data}</script>\n<script type="module">{script}</script>'
    return page.replace(SCRIPT, inline, 1)


def _names(screens: Sequence[dict[str, object]]) -> list[str]:
    names: list[str] = []
    for screen in screens:
        shown, reference = screen["sounds"], screen["reference"]
        assert isinstance(shown, list)
        names += [*shown, *([str(reference)] if reference else [])]
    return names
