"""The files of one speaker, ann, who consented, and of her recording `talk`: whoever trains or speaks asks for them."""

from __future__ import annotations

from pathlib import Path

PEOPLE = """speakers:
  ann:
    name: Ann
    consent: {by: Ann, when: 2026-01-01, for: "training, publish, serve", evidence: null, revoked: null}
"""
SOURCES = "- {id: talk, file: talk.flac, speaker: ann, language: en, licence: CC0-1.0, consent: given}\n"


def write_consent(root: Path) -> None:
    (root / "data").mkdir(parents=True, exist_ok=True)
    (root / "data/speakers.yaml").write_text(PEOPLE)
    (root / "data/sources.yaml").write_text(SOURCES)


def withdraw_consent(root: Path) -> None:
    (root / "data/speakers.yaml").write_text(PEOPLE.replace("revoked: null", "revoked: 2026-02-01"))


def without_a_recording(root: Path) -> None:
    """As `timbre remove ann` leaves it."""
    (root / "data/sources.yaml").write_text("[]\n")
