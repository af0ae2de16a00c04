"""A file of lines, each spoken into a file of its own, once.

    lines.txt   a text in every line; the files are 0001.flac, 0002.flac, …
    lines.tsv   columns `id`, `text`, and if wanted `seed`, `voice` and `speaker`, named in the first line

Beside each sound lies a record of what it was spoken from. Where that is the same, nothing is spoken again, so a run
that was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from tqdm import tqdm

from timbre.audio.emitting import Mark, MarkedSound
from timbre.core.content import content_key, read_text, write_atomic
from timbre.core.errors import DataError, raise_all
from timbre.core.params import read
from timbre.core.records import check_id
from timbre.families import codes
from timbre.synthesis.narration import Narration, manner_of, narrated, passages
from timbre.synthesis.params import of_a_sound
from timbre.synthesis.reference import usual_speaker
from timbre.synthesis.sinks import file
from timbre.synthesis.spoken_log import SpokenLog
from timbre.synthesis.written_text import spelled_out

if TYPE_CHECKING:
    from timbre.families import Turn, Voice

COLUMNS = ("id", "text", "seed", "voice", "speaker")


class SpokenLine(NamedTuple):
    id: str
    text: str
    seed: int = 0
    voice: str | None = None  # None: the one that the command names
    speaker: str | None = None  # likewise


class Loaded(Protocol):
    @property
    def voice(self) -> Voice: ...
    @property
    def mark(self) -> Mark: ...
    @property
    def reference(self) -> tuple[Turn, ...]: ...
    @property
    def like(self) -> Turn | None: ...


class VoiceSource(Protocol):
    def get(self, name: str | None = None, speaker: str | None = None) -> Loaded: ...


def read_lines(path: Path) -> list[SpokenLine]:
    """All mistakes at once."""
    rows = read_text(path).splitlines()
    if path.suffix != ".tsv":
        return [SpokenLine(f"{n:04}", row.strip()) for n, row in enumerate(rows, 1) if row.strip()]
    header = rows[0].split("\t") if rows else []
    if "text" not in header or "id" not in header or set(header) - set(COLUMNS):
        raise DataError(f"{path}:1: expected a header of `id`, `text` and, if wanted, `seed`, `voice` and `speaker`")
    lines: dict[str, SpokenLine] = {}
    wrong = []
    for number, row in enumerate(rows[1:], 2):
        cells = dict(zip(header, row.split("\t"), strict=False))
        try:
            check_id(cells["id"])
            line = SpokenLine(
                cells["id"], cells["text"].strip(), int(cells.get("seed") or 0), cells.get("voice") or None,
                cells.get("speaker") or None,
            )  # fmt: skip
        except (DataError, KeyError, ValueError) as error:
            wrong.append(f"{path}:{number}: {error}")
            continue
        if line.id in lines or not line.text:
            wrong.append(f"{path}:{number}: the id {line.id} is there twice, or its text is empty")
        lines[line.id] = line
    raise_all(DataError, wrong)
    return list(lines.values())


def speak_lines(
    lines: Sequence[SpokenLine], folder: Path, voices: VoiceSource, language: str, speed: float, spelled: bool
) -> str:
    """Speak what is not there yet; returns a line that says what was done."""
    folder.mkdir(parents=True, exist_ok=True)
    new, seconds, began, params = 0, 0.0, time.monotonic(), read().generate
    ordered = sorted(lines, key=lambda line: (line.voice or "", line.speaker or ""))  # a voice is loaded once
    loaded: Loaded | None = None
    name: tuple[str | None, str | None] | None = None
    usual = usual_speaker(language)
    for line in tqdm(ordered, unit="line", leave=False, disable=None):
        if loaded is None or (line.voice, line.speaker) != name:
            loaded, name = voices.get(line.voice, line.speaker), (line.voice, line.speaker)
        text = spelled_out(line.text, language) if spelled else line.text
        reference = [(turn.text, heard_of(turn)) for turn in loaded.reference]
        mark = loaded.mark
        how = [speed, of_a_sound(params), params.heard_before, *([] if language == "en" else [language])]
        if loaded.like and usual and loaded.like.speaker != usual.speaker:
            how.append(loaded.like.speaker)
        key = content_key(text, line.seed, mark.version, mark.why_not, reference, *how)
        record = folder / f"{line.id}.json"
        if is_there(record, folder / f"{line.id}.flac", key):
            continue
        record.unlink(missing_ok=True)  # so that after a kill no record speaks of another sound
        spoken, result = speak_line(folder / f"{line.id}.flac", text, line, loaded, language, speed)
        write_atomic(
            record, json.dumps({"id": line.id, "key": key, "version": mark.version, "text": text, **result}) + "\n"
        )
        new, seconds = new + 1, seconds + spoken
    took = time.monotonic() - began
    factor = f", {took / seconds:.2f} of real time" if seconds else ""
    return f"{folder}: {new} spoken, {len(lines) - new} were there; {seconds:.1f} s of sound in {took:.1f} s{factor}"


def heard_of(turn: Turn) -> str:
    return "" if turn.codes is None else hashlib.sha256(codes.to_bytes(turn.codes)).hexdigest()


def is_there(record: Path, sound: Path, key: str) -> bool:
    try:
        return bool(json.loads(record.read_bytes())["key"] == key) and sound.is_file()
    except (OSError, ValueError, KeyError, TypeError):
        return False


def speak_line(
    path: Path, text: str, line: SpokenLine, loaded: Loaded, language: str, speed: float
) -> tuple[float, dict[str, object]]:
    """Seconds of sound, and what is written down."""
    voice, params = loaded.voice, read().generate
    manner = manner_of(voice, params, seed=line.seed, reference=loaded.reference, like=loaded.like, whole=True)
    script = Narration(passages(text, language), manner)
    samples = 0
    with file(path, voice.sample_rate, loaded.mark.tags()) as write:
        for piece in MarkedSound(voice.sample_rate, loaded.mark, speed).pieces(narrated(voice, script)):
            write(piece)
            samples += len(piece)
    seconds = round(samples / voice.sample_rate, 3)
    more = {"unmarked": loaded.mark.why_not} if loaded.mark.why_not else {}
    SpokenLog().add(door="lines", version=loaded.mark.version, key=None, text=text, seconds=seconds, id=line.id, **more)
    return seconds, {"seconds": seconds, "seed": line.seed, "cut": script.cut, "repeated": script.repeated}
