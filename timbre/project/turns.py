"""Which lines of a transcript lie in the turns of others: `transcribe` found who speaks when, and lines say whose a
voice is.

A voice is a number (timbre/core/records.py). It is the speaker's whose lines hold most of it: of the lines that a
person flagged `ok` where there are any, else of all. So one flag decides where the speaker speaks less than the others.
What a person has flagged is never marked.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from timbre.core.errors import DataError
from timbre.core.records import Recording, SpeakerTurn
from timbre.project.transcripts import Line

MOSTLY = 0.5  # share of a line's speech, above which it is another's


def read(path: Path, recording: Recording) -> list[SpeakerTurn]:
    """As `transcribe` wrote them; none where nobody asked, or of other audio."""
    try:
        record = json.loads(path.read_bytes())
        turns = [SpeakerTurn(*turn) for turn in record["turns"]]
        return turns if record["audio_sha256"] == recording.sha256 else []
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, DataError) as error:
        raise DataError(f"{path}: cannot be read ({error}); remove it and run `dvc repro transcribe`") from error


def whose(lines: Sequence[Line], turns: Sequence[SpeakerTurn]) -> dict[str, int]:
    """Speaker → their voice, of those who are heard at all."""
    voice_of: dict[str, int] = {}
    for speaker in dict.fromkeys(line.speaker for line in lines):
        own = [line for line in lines if line.speaker == speaker and line.flag != "drop"]
        for chosen in ([line for line in own if line.flag == "ok"], own):
            seconds = sum((heard_in(line, turns) for line in chosen), Counter[int]())
            if speaker not in voice_of and seconds:
                voice_of[speaker] = max(seconds, key=lambda voice: (seconds[voice], -voice))
    return voice_of


def others_share(line: Line, voices: Mapping[str, int], turns: Sequence[SpeakerTurn]) -> float:
    """Of what is spoken in a line, the share that others speak; 0 where that is not most of it, or a person decided."""
    if line.flag or line.speaker not in voices:
        return 0.0
    seconds = heard_in(line, turns)
    others = sum(seconds.values()) - seconds[voices[line.speaker]]
    share = others / sum(seconds.values()) if seconds else 0.0
    return round(share, 2) if share > MOSTLY else 0.0


def heard_in(line: Line, turns: Sequence[SpeakerTurn]) -> Counter[int]:
    """Voice → seconds."""
    seconds: Counter[int] = Counter()
    for turn in turns:
        if (shared := min(line.end, turn.end) - max(line.start, turn.start)) > 0:
            seconds[turn.voice] += shared  # type: ignore[assignment]
    return seconds
