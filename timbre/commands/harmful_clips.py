"""The clips that likely harm the voice, to be heard: the part that `timbre report` adds to the report's page."""

from __future__ import annotations

from pathlib import Path

from timbre import audio
from timbre.project.permissions import Permissions
from timbre.project.worth import Worth, WorthRow
from timbre.report.numbers import clock, percent
from timbre.report.sound import EmbeddedSound, sound
from timbre.report.templates import PAGES, environment

SHOWN = 10
PAGE = Path(__file__).with_name("page")


def part(worth: Worth, clips: Path, allowed: Permissions) -> str:
    """`clips` is the folder of the clips' sounds; one that is not there, or may not be heard, has no player."""
    templates = environment(PAGE, PAGES)
    templates.filters |= {"clock": clock, "percent": percent}
    shown = [(row, player(row, clips, allowed)) for row in worth.rows[:SHOWN]]
    return templates.get_template("harmful_clips.html").render(worth=worth, doubtful=len(worth.doubtful), shown=shown)


def player(row: WorthRow, clips: Path, allowed: Permissions) -> EmbeddedSound | None:
    path = clips / f"{row.clip}.flac"
    if not audio.is_there(path) or allowed.holds_barred_voice(row.recording, row.start, row.end):
        return None
    return sound(path)
