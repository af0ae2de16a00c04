"""Plans of recordings (timbre/audio/clips.py), each made once: after an edit of a word one recording is planned again.

    clips, drops = kept_plan(PLACE, recording.id, key, lambda: plan(…))

A plan depends on a recording's lines and sound, on `chunk` in params.yaml and on the code that plans, which the key is
of. The folder is this machine's own and safe to delete.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from timbre.core.content import content_key, file_sha256, files_key, write_atomic
from timbre.core.errors import DataError
from timbre.core.records import Clip, Drop, Recording, from_json, to_json
from timbre.core.sections import ChunkParams

PLACE = Path(".timbre/plans")
CODE = (Path(__file__).parent, Path(__file__).parents[1] / "core")  # whose modules a plan depends on

Plan = tuple[list[Clip], list[Drop]]


def code_key() -> str:
    return files_key((path.name, file_sha256(path)) for folder in CODE for path in folder.glob("*.py"))


def plan_key(code: str, recording: Recording, segments: Path, speech: str, params: ChunkParams) -> str:
    """`speech` is the key of where somebody speaks in the recording."""
    return content_key(code, asdict(recording), file_sha256(segments), speech, asdict(params))


def kept_plan(place: Path | None, name: str, key: str, make: Callable[[], Plan]) -> Plan:
    """The recording's plan; without a place it is made, and not kept."""
    if place is None:
        return make()
    path = place / f"{name}.jsonl"
    if (kept := _read(path, key)) is not None:
        return kept
    clips, drops = make()
    head = json.dumps({"key": key, "clips": len(clips)})
    write_atomic(path, "".join(f"{line}\n" for line in [head, *map(to_json, [*clips, *drops])]))
    return clips, drops


def forget_others(place: Path, names: Collection[str]) -> None:
    """Plans of recordings that are there no more."""
    for path in place.glob("*.jsonl"):
        if path.stem not in names:
            path.unlink(missing_ok=True)


def _read(path: Path, key: str) -> Plan | None:
    """None where it was never written, is of something else, or was damaged: it only saves work."""
    with suppress(OSError, ValueError, TypeError, KeyError, RecursionError, DataError):
        head, *lines = path.read_text(encoding="utf-8").splitlines()
        about = json.loads(head)
        if about["key"] == key:
            count = int(about["clips"])
            clips = [from_json(line, Clip, str(path)) for line in lines[:count]]
            return clips, [from_json(line, Drop, str(path)) for line in lines[count:]]
    return None
