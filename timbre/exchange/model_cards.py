"""Where the card of a version can be read, once it was pushed: sounds name it in their metadata.

    remember("5b73…", "https://…/ann/marina")       # `timbre push voice` does
    mark_of("5b73…")                                # Mark(version="5b73…", card="https://…/ann/marina")

The file is .timbre/cards.json, of this machine; whoever deletes it gets sounds that name no card.
"""

from __future__ import annotations

import json
from pathlib import Path

from timbre.audio.emitting import Mark
from timbre.core.content import write_atomic

PATH = Path(".timbre/cards.json")


def remember(version: str, address: str) -> None:
    write_atomic(PATH, json.dumps(known() | {version: address}, indent=1) + "\n")


def known() -> dict[str, str]:
    """Version → address; nothing where the file is missing or damaged."""
    try:
        return {str(version): str(address) for version, address in json.loads(PATH.read_bytes()).items()}
    except (OSError, ValueError, AttributeError):
        return {}


def mark_of(version: str, why_not: str | None = None) -> Mark:
    return Mark(version, known().get(version), why_not)
