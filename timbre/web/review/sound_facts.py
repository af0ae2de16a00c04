"""What was measured of a recording's sound, for the page: when somebody speaks, what is clipped, what pace is usual.

The page computes none of it. Who speaks when is what `chunk` found (data/speech), or goes by level where the stage has
not run. Kept under .timbre/peaks by the audio's SHA-256; safe to delete.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from timbre import audio
from timbre.audio import delivery, speech_activity
from timbre.audio.speech_activity import Activity, Vad
from timbre.core.content import write_atomic
from timbre.core.records import Recording
from timbre.project import pace
from timbre.project.transcripts import Line

VERSION = 1  # raise when other facts are found in the same sound
VADS: tuple[Vad, ...] = ("silero", "energy")
Spans = list[tuple[float, float]]  # seconds, in order


class SoundFacts(NamedTuple):
    speech: Spans
    clipped: Spans


def sound_facts(recording: Recording, flac: Path, speech: Path, cache: Path) -> SoundFacts:
    """`speech` is the folder of what `chunk` found."""
    measured = _known(recording, speech)
    cached = cache / f"{recording.id}.{recording.sha256[:16]}.{VERSION}{'s' * bool(measured)}.json"
    try:
        values = json.loads(cached.read_bytes())
        return SoundFacts(*([(start, end) for start, end in values[name]] for name in SoundFacts._fields))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    activity = measured or speech_activity.of_recording(flac, "energy")
    runs = [(round(start, 2), round(end, 2)) for start, end in activity.runs(0, recording.seconds)]
    facts = SoundFacts(runs, list(_clipped(flac)))
    write_atomic(cached, json.dumps(facts._asdict()))
    for old in cache.glob(f"{recording.id}.*.json"):
        if old != cached:
            old.unlink(missing_ok=True)
    return facts


def _known(recording: Recording, folder: Path) -> Activity | None:
    """What `chunk` found in this very sound."""
    try:
        key = json.loads((folder / f"{recording.id}.json").read_bytes())["key"]
        current = [speech_activity.key(sound, vad) for sound in _sounds(recording, folder) for vad in VADS]
        return speech_activity.load(folder / f"{recording.id}.npy") if key in current else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _sounds(recording: Recording, folder: Path) -> Iterator[str]:
    """The recording, and what `chunk` has made of this very one by section `clean`."""
    yield recording.sha256
    try:
        record = json.loads((folder.parent / f"clean/{recording.id}.json").read_bytes())
        if record["audio_sha256"] == recording.sha256:
            yield record["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return


def _clipped(flac: Path) -> Iterator[tuple[float, float]]:
    rate, at = audio.rate_of(flac), 0
    for block in audio.stream(flac, rate):
        for first, last in delivery.clipped_runs(block):
            yield round((at + int(first)) / rate, 4), round((at + int(last)) / rate, 4)
        at += len(block)


def usual_pace(lines: Sequence[Line], speech: Spans) -> pace.Range:
    """Seconds of speech per letter, the least and the most that is usual in these lines."""
    counted = [line for line in lines if line.flag != "drop" and pace.letters(line.text) >= pace.FEW]
    paces = [pace.seconds_per_letter(_speech(line, speech), line.text) for line in counted]
    return pace.usual(paces, enough=pace.ENOUGH_TO_WARN) or pace.LIMITS


def _speech(line: Line, speech: Spans) -> float:
    return sum(max(0.0, min(end, line.end) - max(start, line.start)) for start, end in speech)
