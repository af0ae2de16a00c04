"""The way back from a sample, a clip or an adapter, and the way forward from a recording or a speaker."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import PurePosixPath

from timbre.core.errors import DataError
from timbre.core.records import beginning, early_ending
from timbre.core.text import normalise
from timbre.trace.facts import Adapter, Forward, TracedClip, TracedPiece, TracedSample, TrainedClips, Use
from timbre.versions.clip_rows import LEFT_OUT, PARTS, REJECTED, TABLE, ClipRow
from timbre.versions.dvc_lock import way_to
from timbre.versions.lenient_rows import FOLDER
from timbre.versions.tables import ADAPTER, SAMPLES
from timbre.versions.traced import TracedVersion

SPEAKER = "speaker:"  # before a name that a recording has too
PREFIX = 6  # characters of a key that may stand for it


class NotHere(DataError):
    """This version has nothing of that name; an older one may."""


def follow(version: TracedVersion, what: str) -> TracedSample | TracedClip | Adapter | Forward:
    """`what` is an id, the beginning of a key, `adapter`, or a path as other commands print it."""
    if version.snapshot.size("dvc.yaml") is None:
        raise DataError("no dvc.yaml here, so there is no voice to trace; run this in the repository's root")
    name = _named(version, what)
    if name in ("adapter", version.id, version.adapter_key) or _begins(name, version.names):
        return adapter(version)
    if name in version.samples:
        return sample(version, name)
    if names := ([name] if name in version.clips else _begins(name, version.clips)):
        return clip(version, names[0])
    if name in version.recordings and not what.startswith(SPEAKER):
        return Forward(name, None, (use(version, name),))
    speakers = speakers_of(version)
    if name in speakers:
        recordings = (id for id, of in version.recordings.items() if of == name or name in speakers_in(version, id))
        return Forward(name, version.voice(name), tuple(use(version, id, name) for id in recordings))
    known = [*version.samples, *version.recordings, *speakers]
    close = difflib.get_close_matches(name, known, 1)
    hint = f"; did you mean {close[0]}?" if close else ""
    if not version.reached(TABLE) or not version.samples:
        hint += f"; not all of its tables are here: {way_to(TABLE, version.lock)}"
    raise NotHere(f"{what}: no sample, clip, adapter, recording or speaker of this version{hint}")


def _named(version: TracedVersion, what: str) -> str:
    """The id that a path means: `data/clips/ab12.flac`, `data/transcripts/noon.tsv:14`, `models/adapter`."""
    if what.startswith(SPEAKER):
        return what.removeprefix(SPEAKER)
    path, _, number = what.partition(":")
    if re.fullmatch(rf"(\./)?{FOLDER}/[^/]+\.tsv", path) and number:
        return _clip_at(version, PurePosixPath(path).stem, what)
    if PurePosixPath(path) == PurePosixPath(ADAPTER):
        return "adapter"
    if (recording := version.declared_as(what)) is not None:
        return recording
    return PurePosixPath(path).stem if "/" in path else what


def _clip_at(version: TracedVersion, recording: str, where: str) -> str:
    place = where.removeprefix("./")
    line = next((line for line in version.lines(recording) if line.where == place), None)
    if line is None:
        raise DataError(f"{where}: is no line of a transcript")
    for id, row in version.clips_of[recording].items():
        if line in version.held(row):
            return id
    why = "; ".join(version.notes(recording, line.start, line.end)) or f"{REJECTED} does not say why"
    raise DataError(f"{where}: “{line.text}” is in no clip: {why}")


def _begins(name: str, keys: object) -> list[str]:
    if not re.fullmatch(rf"[0-9a-f]{{{PREFIX},}}", name):
        return []
    return [key for key in keys if key.startswith(name)][:1]  # type: ignore[attr-defined]


def speakers_of(version: TracedVersion) -> set[str]:
    lines = {speaker for id in version.recordings for speaker in speakers_in(version, id)}
    return set(version.recordings.values()) | lines | set(version.people)


def speakers_in(version: TracedVersion, recording: str) -> set[str]:
    return {line.speaker for line in version.lines(recording)} - {""}


def clip(version: TracedVersion, id: str) -> TracedClip:
    row = version.clips[id]
    lines = version.held(row)
    return TracedClip(
        id=id,
        audio=f"data/clips/{id}.flac",
        recording=version.origin(row.recording),
        start=row.start,
        end=row.end,
        spans=row.spans,
        seconds=row.seconds,
        text=row.text,
        part=version.parts.get(id, LEFT_OUT),
        lines=lines,
        changed=normalise(" ".join(line.text for line in lines)) != normalise(row.text),
        notes=tuple(note.reason for note in version.rejected[row.recording] if note.clip == id),
        learnt_by=(version.id or ADAPTER) if id in version.learnt_ids else None,
        cloned_by=tuple(_samples(version, "reference", {id})),
    )


def adapter(version: TracedVersion) -> Adapter:
    training, voice = version.facts(f"{ADAPTER}/training.json"), version.params("train", "voice")
    rows: dict[str, list[ClipRow]] = defaultdict(list)
    for row in version.learnt:
        rows[row.recording].append(row)
    key = version.adapter_key
    return Adapter(
        version=version.id,
        key=key,
        path=ADAPTER,
        base=str(voice["base"]) if "base" in voice else None,
        base_licence=training.get("base_licence"),
        best_step=training.get("best_step"),
        steps=training.get("steps"),
        best_eval_loss=training.get("best_eval_loss"),
        ended_early=early_ending(training),
        began_with=beginning(training),
        params=version.params("train", "train"),
        table=version.dependency("train", "data/dataset/train.jsonl"),
        seconds=round(sum(row.seconds for row in version.learnt), 2),
        learnt=tuple(
            TrainedClips(
                version.origin(id),
                tuple(_piece(version, row) for row in clips_of),
                round(sum(row.seconds for row in clips_of), 2),
            )
            for id, clips_of in rows.items()
        ),
        samples=tuple(id for id, row in version.samples.items() if key and row.get("adapter") == key),
    )


def _piece(version: TracedVersion, row: ClipRow) -> TracedPiece:
    return TracedPiece(row.id, row.start, row.end, row.text, tuple(line.where for line in version.held(row)))


def sample(version: TracedVersion, id: str) -> TracedSample:
    row, score = version.samples[id], version.scores.get(id)
    reference, worn, truth = row.get("reference"), row.get("adapter"), row.get("clip")
    if reference and reference not in version.clips:
        version.lacks(
            f"clip {reference}, which it cloned, is no clip of this version; `dvc repro generate` speaks anew"
        )
    if worn and worn != version.adapter_key:
        version.lacks(
            f"the adapter of key {worn}, which spoke it, is not {ADAPTER} of this version; `dvc repro` speaks anew"
        )
    return TracedSample(
        id=id,
        audio=f"{SAMPLES}/{id}.flac",
        condition=str(row.get("condition")),
        text=str(row.get("text", "")),
        prompt=str(row.get("prompt")),
        prompt_where=version.prompt_line(str(row.get("prompt"))),
        kind=row.get("kind"),
        truth=clip(version, truth) if truth in version.clips else None,
        seed=int(row.get("seed", 0)),
        seconds=float(row.get("seconds", 0)),
        ended=bool(row.get("ended")),
        heard=score.heard if score else None,
        errors=score.errors if score else None,
        words=score.words if score else None,
        similarity=score.similarity if score else None,
        sampling=version.params("generate", "generate"),
        base=version.params("generate", "voice").get("base"),
        base_licence=version.facts(f"{ADAPTER}/training.json").get("base_licence"),
        base_key=str(row.get("base")),
        adapter_key=worn,
        reference=clip(version, reference) if reference in version.clips else None,
        reference_id=reference,
        adapter=adapter(version) if worn and worn == version.adapter_key else None,
    )


def use(version: TracedVersion, recording: str, speaker: str | None = None) -> Use:
    """Of another's recording only what holds the `speaker`'s lines."""
    lines, whole = version.lines(recording), speaker in (None, version.recordings.get(recording))
    spoken_lines = [line for line in lines if whole or line.speaker == speaker]
    mine = set(spoken_lines)
    rows = version.clips_of[recording].items()
    clips = {id for id, row in rows if whole or mine & set(version.held(row))}
    learnt = clips & version.learnt_ids
    key = version.adapter_key if learnt else None
    path = f"{FOLDER}/{recording}.tsv"
    complete = version.reached(TABLE) and all(version.reached(part) for part in PARTS.values())
    return Use(
        recording=version.origin(recording),
        files=version.files(recording),
        transcript=path if version.read(path) is not None else None,
        lines=len(spoken_lines),
        heard=sum(bool(line.flag) for line in spoken_lines),
        training=tuple(sorted(id for id in clips if version.parts.get(id) == "training")) if complete else None,
        evaluation=tuple(sorted(id for id in clips if version.parts.get(id) == "evaluation")),
        left_out=version.left_out(recording),
        learnt=tuple(sorted(learnt)) if version.learnt or version.reached(PARTS["training"]) else None,
        adapter=key,
        version=version.id if learnt else None,
        spoken=tuple(_samples(version, "adapter", {key} if key else set())),
        cloned=tuple(_samples(version, "reference", clips)),
    )


def _samples(version: TracedVersion, field: str, keys: set[str]) -> Iterator[str]:
    yield from (id for id, row in version.samples.items() if row.get(field) in keys)
