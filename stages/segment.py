"""The person's transcript where there is one, else the draft; checked, and normalised; nobody's without consent.

Reads   data/sources.yaml              which recordings there are
        data/speakers.yaml             who allowed their voice to be used
        data/raw/<id>.json             whose voice each is, its length, and the sha256 of its samples
        data/transcripts/<id>.tsv      the person's file, where there is one: it wins
        data/drafts/<id>.json          Whisper's draft, where there is none; and how sure it was of lines not flagged
        data/turns/<id>.json           who speaks when, where section `who` asks; lines of others are marked
Writes  data/segments/<id>.jsonl       Segment rows; lines flagged `drop` stay, marked, so that chunk can list them
        data/review.json               how much of it a person has heard; only the report reads it

    python -m stages.segment --sources data/sources.yaml --speakers data/speakers.yaml --raw data/raw \\
        --drafts data/drafts --turns data/turns --transcripts data/transcripts --out data/segments \\
        --review data/review.json

A flag `ok`, a double space or a comment leave the segments as they were, so nothing after this stage runs. Nothing is
written while any line of any transcript is wrong, or while anybody's voice is in it who has not allowed it or took
their consent back. `timbre remove` takes them out; a line that is flagged `drop` needs nobody's consent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

from timbre.core.content import write_atomic
from timbre.core.errors import DataError, TranscriptError
from timbre.core.records import Recording, Segment, SpeakerTurn, write_jsonl
from timbre.core.text import normalise
from timbre.mapping.stage import run_stage
from timbre.project import speakers as people
from timbre.project import transcripts
from timbre.project import turns as speaker_turns
from timbre.project.sources import fetched
from timbre.project.transcripts import Transcript

UNSURE = 0.5  # mean confidence of a line's words in the draft, below which an accepted line waits for a person's flag


@dataclass(frozen=True)
class Review:
    """How far a person has come with one recording."""

    origin: str  # "transcript" or "draft"
    lines: int
    ok: int  # heard, and right
    dropped: int
    seconds: float  # of all lines
    reviewed_seconds: float  # of those flagged ok or drop


def undeclared(folder: Path, recordings: list[Recording]) -> Iterator[str]:
    """A transcript that belongs to no recording would be ignored without a word; most likely an id was mistyped."""
    declared = {recording.id for recording in recordings}
    for path in transcripts.files(folder):
        if path.stem not in declared:
            yield (
                f"{path}: no recording `{path.stem}` in data/sources.yaml (there are {', '.join(sorted(declared))}); "
                "rename the file after its recording, or remove it"
            )


def words_of(recording: Recording, folder: Path, drafts: Path) -> tuple[str, Transcript]:
    """The recording's transcript and where it is from; raises where neither file fits the audio."""
    path = folder / f"{recording.id}.tsv"
    if path.exists():
        transcript = transcripts.read(path, recording.seconds)
        if transcript.audio not in (None, recording.sha256):
            raise TranscriptError(other_audio(path, transcript, recording))
        return "transcript", with_confidence(transcript, recording, drafts / f"{recording.id}.json")
    draft = transcripts.read_draft(drafts / f"{recording.id}.json")
    if draft.audio != recording.sha256:
        raise DataError(f"{drafts / recording.id}.json: was made from other audio; run `dvc repro transcribe`")
    return "draft", transcripts.seed_from_draft(draft, recording)


def with_confidence(transcript: Transcript, recording: Recording, draft: Path) -> Transcript:
    """Lines that are the draft's still and that nobody has flagged stay doubtful, where Whisper was not sure of them.

    So `timbre accept --all` does not let through what `chunk.min_confidence` would stop; and where Whisper was sure, a
    flag changes no segment.
    """
    if not draft.is_file() or (read := transcripts.read_draft(draft)).audio != recording.sha256:
        return transcript
    unsure = {
        (line.start, line.end, line.text): line.confidence
        for line in transcripts.seed_from_draft(read, recording).lines
        if line.confidence is not None and line.confidence < UNSURE
    }
    lines = (
        line if line.flag else replace(line, confidence=unsure.get((line.start, line.end, line.text)))
        for line in transcript.lines
    )
    return replace(transcript, lines=tuple(lines))


def other_audio(path: Path, transcript: Transcript, recording: Recording) -> str:
    line = next(n for n, comment in enumerate(transcript.comments, 1) if str(transcript.audio) in comment)
    return (
        f"{path}:{line}: was written for other audio than {recording.id} has now; if its times still fit, "
        f"put `# audio: {recording.sha256}` here; if not, remove the file and begin from the new draft"
    )


def voices_in(words_by_id: dict[str, tuple[str, Transcript]], recordings: list[Recording]) -> dict[str, list[str]]:
    """Speaker → recordings that hold their voice: the declared one, and whoever has a line that is to be learnt."""
    used: dict[str, list[str]] = {}
    for recording in recordings:
        speakers = words_by_id[recording.id][1].speakers if recording.id in words_by_id else ()
        for speaker in dict.fromkeys([recording.speaker, *speakers]):
            used.setdefault(speaker, []).append(recording.id)
    return used


def segments_of(transcript: Transcript, recording: Recording, turns: Sequence[SpeakerTurn] = ()) -> list[Segment]:
    voices = speaker_turns.whose(transcript.lines, turns)
    return [
        Segment(
            recording=recording.id,
            start=line.start,
            end=min(line.end, recording.seconds),  # two decimals may round up past the last sample
            speaker=line.speaker,
            text=normalise(line.text),
            dropped=line.flag == "drop",
            confidence=line.confidence,
            others=speaker_turns.others_share(line, voices, turns),
        )
        for line in transcript.lines
    ]


def review_of(origin: str, transcript: Transcript) -> Review:
    lines = transcript.lines
    return Review(
        origin=origin,
        lines=len(lines),
        ok=sum(line.flag == "ok" for line in lines),
        dropped=sum(line.flag == "drop" for line in lines),
        seconds=round(sum(line.end - line.start for line in lines), 2),
        reviewed_seconds=round(sum(line.end - line.start for line in lines if line.flag), 2),
    )


def summary(reviews: dict[str, Review]) -> dict[str, object]:
    seconds = sum(review.seconds for review in reviews.values())
    reviewed = sum(review.reviewed_seconds for review in reviews.values())
    return {
        "recordings": {name: asdict(review) for name, review in reviews.items()},
        "seconds": round(seconds, 2),
        "reviewed_seconds": round(reviewed, 2),
        "reviewed_share": round(reviewed / seconds, 4) if seconds else 0.0,
    }


def tell_voices(recording: Recording, segments: Sequence[Segment], turns: Sequence[SpeakerTurn]) -> None:
    if others := sum(segment.others > 0 for segment in segments):
        voices = len({turn.voice for turn in turns})
        doubt = "; are the lines flagged ok the speaker's own?" if others * 2 > len(segments) else ""
        print(
            f"segment: {recording.id}: {voices} voices; {others} of {len(segments)} lines in the turns of others{doubt}"
        )


def main(
    sources: Annotated[Path, "the list of recordings"],
    speakers: Annotated[Path, "whose voices they are, and their consent"],
    raw: Annotated[Path, "folder of fetched recordings"],
    drafts: Annotated[Path, "folder of Whisper's drafts"],
    turns: Annotated[Path, "folder of who speaks when"],
    transcripts: Annotated[Path, "folder of people's transcripts"],
    out: Annotated[Path, "folder for the segments"],
    review: Annotated[Path, "file for what was heard by a person"],
) -> None:
    recordings = fetched(sources, raw)
    problems = list(undeclared(transcripts, recordings))
    words_by_id: dict[str, tuple[str, Transcript]] = {}
    for recording in recordings:
        try:
            words_by_id[recording.id] = words_of(recording, transcripts, drafts)
        except DataError as error:
            problems.append(str(error))
    people_by_id, used = people.read(speakers), voices_in(words_by_id, recordings)
    problems += people.problems(people_by_id, used, str(speakers))
    if problems:
        raise TranscriptError("\n".join(problems))
    for recording in recordings:
        voice_turns = speaker_turns.read(turns / f"{recording.id}.json", recording)
        segments = segments_of(words_by_id[recording.id][1], recording, voice_turns)
        write_jsonl(out / f"{recording.id}.jsonl", segments)
        tell_voices(recording, segments, voice_turns)
    reviews = {name: review_of(*origin_and_lines) for name, origin_and_lines in words_by_id.items()}
    write_atomic(review, json.dumps(summary(reviews), indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    for speaker in used:
        if not people_by_id[speaker].consent.evidence:
            print(f"segment: {speakers}:{people_by_id[speaker].line}: {speaker}'s consent names no evidence")
    reviewed = sum(review.ok + review.dropped for review in reviews.values())
    print(f"segment: {sum(review.lines for review in reviews.values())} lines, {reviewed} of them heard by a person")


if __name__ == "__main__":
    run_stage(main)
