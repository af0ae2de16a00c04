"""A scripted history of a voice, a commit for each thing that may happen to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support.git_history import Voice
from timbre.diff import sounds
from timbre.diff.compare import compare
from timbre.diff.report import Report
from timbre.diff.sections.page import Page
from timbre.versions.dvc_outs import Outs
from timbre.versions.snapshot import open_snapshot
from timbre.versions.tables import VersionTables

MORNING = [
    "The trellis boat leaves the harbour at nine.", "Passengers with coffee to pier five please.",
    "Under the old lantern the silver boat waits.", "The night ferry stops again.",
    "Captain Marlow reads the trellis map.", "A quiet train crosses the golden bridge.",
    "Yes.", "The station clock is slow today.", "Nobody saw the trellis lamp.", "The last boat is late.",
]  # fmt: skip
NOON = ["At noon the gulls come in.", "They want bread.", "They get fish.", "Then they go.", "Until tomorrow."]
HOSTILE = (
    "@octocat #12 | `rm` <script>alert(1)</script> ![x](http://e.vil/i.png) **b** "
    "\x1b[31m \u202egnp.exe $x^2$ שלום :tada:"
)


def reword(voice: Voice) -> None:
    for number in (0, 4, 8):
        voice.edit("morning", number, text=MORNING[number].replace("trellis", "Trelis"))
    voice.edit("noon", 1, text="They want white bread, and they want it now.")
    voice.wrong |= {"ferry": 2, "train": 0, "lamp": 0, "gull": 1}
    voice.similarity = 0.61
    voice.sounds = dict.fromkeys(voice.wrong, b"fLaC now")


def retime(voice: Voice) -> None:
    for number in (0, 1, 2):
        start, end, *_ = voice.transcripts["noon"][number]
        voice.edit("noon", number, start=start + 0.3, end=end + 0.3)
    voice.edit("noon", 4, end=18.5)


def split(voice: Voice) -> None:
    voice.transcripts["morning"][5:6] = [
        (20.0, 21.2, "marina", "", "A quiet train"),
        (21.2, 23.0, "marina", "", "crosses the golden bridge."),
    ]


def merge(voice: Voice) -> None:
    voice.transcripts["noon"][3:5] = [(12.0, 18.5, "marina", "", "Then they go, until tomorrow.")]


def drop(voice: Voice) -> None:
    voice.edit("morning", 3, flag="drop")
    voice.edit("morning", 1, flag="ok")
    voice.edit("noon", 0, text="At  noon the gulls come in.")


def new_recording(voice: Voice) -> None:
    voice.add("dusk", ["The lamps are lit.", "The boats are home.", "Good night."], speaker="otto", licence="CC-BY-4.0")
    voice.drafts["dusk"] = [(0.2, "The", 0.99), (0.5, "lamps", 0.31), (1.0, "are", 0.98), (1.4, "lit.", 0.44)]
    voice.sources["dawn"] = {**voice.sources["dusk"], "file": "data/recordings/dawn.flac"}  # nobody corrected it yet


def removed_recording(voice: Voice) -> None:
    del voice.transcripts["noon"], voice.sources["noon"]


def revoked_consent(voice: Voice) -> None:
    voice.sources["morning"]["consent"] = "revoked on 2 November"
    voice.sources["dusk"].pop("consent")
    voice.allow("otto", revoked="2026-11-02")


def parameter(voice: Voice) -> None:
    voice.params = {"chunk": {"max_seconds": 30}, "train": {"rate": 0.0001, "rank": 16}}
    voice.wrong = dict.fromkeys(voice.wrong, 2)  # more than the gate lets through
    voice.similarity = 0.3


def hostile(voice: Voice) -> None:
    voice.edit("morning", 0, text=HOSTILE)
    voice.sources["dusk"]["consent"] = HOSTILE
    voice.speakers["otto"]["name"] = HOSTILE
    voice.allow("otto", evidence='https://e.vil/"><script>alert(1)</script>`|')
    voice.wrong = dict.fromkeys(voice.wrong, 1)


STEPS: list[Callable[[Voice], None]] = [
    reword, retime, split, merge, drop, new_recording, removed_recording, revoked_consent, parameter, hostile,
]  # fmt: skip


def first(root: Path) -> Voice:
    voice = Voice(root)
    voice.add("morning", MORNING)
    voice.add("noon", NOON)
    voice.drafts["noon"] = [(4.0, "They", 0.97), (4.5, "want", 0.42), (5.0, "bread.", 0.96)]
    voice.sounds = dict.fromkeys(voice.wrong, b"fLaC before")
    voice.commit("First voice")
    return voice


def write(root: Path) -> Voice:
    """The first version, and a commit for each of STEPS."""
    voice = first(root)
    for step in STEPS:
        step(voice)
        voice.commit(step.__name__)
    return voice


def page(root: Path, old: str | None, new: str | None, heard: bool = False, remotes: bool = True) -> Page:
    with open_snapshot(root, old) as before, open_snapshot(root, new) as after:
        outs = Outs(root, remotes)
        sides = VersionTables(before, outs), VersionTables(after, outs)
        found = compare(*sides, remote=remotes)
        return Page(found, sounds=sounds.fetch(found, *sides) if heard else {})


def report(root: Path, old: str | None, new: str | None, remotes: bool = True) -> Report:
    return page(root, old, new, remotes=remotes).report


def between(number: int) -> tuple[str, str]:
    return f"main~{len(STEPS) - number}", f"main~{len(STEPS) - number - 1}"
