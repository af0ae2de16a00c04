"""Who consented: the files of one speaker, ann, and of her recording `talk`, and entries of others."""

from __future__ import annotations

from pathlib import Path

PEOPLE = """speakers:
  ann:
    name: Ann
    consent: {by: Ann, when: 2026-01-01, for: "training, publish, serve", evidence: null, revoked: null}
"""
SOURCES = "- {id: talk, file: talk.flac, speaker: ann, language: en, licence: CC0-1.0, consent: given}\n"


def entry_of(name: str, *, uses: str = "tests", revoked: str = "null", number: int | None = None) -> str:
    """A line below `speakers:` in data/speakers.yaml."""
    consent = f"{{by: {name}, when: 2026-03-01, for: '{uses}', evidence: null, revoked: {revoked}}}"
    return f"  {name}: {{name: {name}, {f'number: {number}, ' if number is not None else ''}consent: {consent}}}\n"


def write_speakers(root: Path, **revoked: str) -> None:
    """Each speaker with the day on which the consent was taken back, or `null`."""
    (root / "data/speakers.yaml").write_text(
        "speakers:\n" + "".join(entry_of(name, revoked=day) for name, day in revoked.items())
    )


def write_consent(root: Path) -> None:
    (root / "data").mkdir(parents=True, exist_ok=True)
    (root / "data/speakers.yaml").write_text(PEOPLE)
    (root / "data/sources.yaml").write_text(SOURCES)


def withdraw_consent(root: Path) -> None:
    (root / "data/speakers.yaml").write_text(PEOPLE.replace("revoked: null", "revoked: 2026-02-01"))


def without_a_recording(root: Path) -> None:
    """As `timbre remove ann` leaves it."""
    (root / "data/sources.yaml").write_text("[]\n")
