"""Each clip is heard: what Whisper hears beside the text that is learnt, worst first; and whether the voice is another.

Reads   data/sources.yaml, data/raw/<id>.json   which language each recording is in
        data/clips/<clip id>.flac               the sound
        data/chunks/clips.jsonl                 Clip rows, with their texts
        evaluate.others (a folder)              other voices, which say how far apart two voices are
Writes  data/heard/<clip id>.json               what Whisper hears; keyed by the sound, so that a corrected word hears
                                                nothing again, and new times one clip
        data/voices/<name>.json                 embeddings of clips and of other voices, keyed by the sound
        data/labels.jsonl                       Label rows, the least alike first: a clip's text, what is heard in it,
                                                and how far apart they are; and whether it is of another voice than
                                                most clips of its speaker

    python -m stages.check --sources data/sources.yaml --raw data/raw --clips data/clips \\
        --table data/chunks/clips.jsonl --out data/heard --voices data/voices --labels data/labels.jsonl

Of a wrong text, a model learns to leave words out and to make some up. A high rate is no proof: Whisper may be wrong,
and a rare name often is. So people see these clips first (`timbre review`), and `dataset` leaves out the hopeless ones.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from timbre import asr, audio
from timbre.asr import languages
from timbre.asr.comparisons import FILE, Comparison, Comparisons
from timbre.core.content import content_key
from timbre.core.params import read
from timbre.core.records import Clip, Label, read_jsonl, write_jsonl
from timbre.core.safe_text import warn
from timbre.core.sections import ComputeParams, SpeakerParams, WhisperParams
from timbre.evaluation import one_voice, speaker_similarity
from timbre.evaluation.speaker_similarity import JudgedSound
from timbre.mapping import shards
from timbre.mapping.batch import Files
from timbre.mapping.kept_values import kept_value
from timbre.mapping.refresh import Job, refresh
from timbre.mapping.stage import run_stage
from timbre.mapping.store import ANEW
from timbre.project.sources import fetched

HEARD = ("heard", "language")  # of a record, what a label is made of
VERSION = 2  # raise when the code gives other bytes for the same input


@dataclass(frozen=True)
class Hearing:
    """A clip that Whisper is to hear."""

    path: Path
    language: str
    key: str


def hear(hearings: Sequence[Hearing], model: WhisperParams) -> Iterator[Files]:
    loaded = asr.load(model)
    sounds = audio.read_all([hearing.path for hearing in hearings], asr.SAMPLE_RATE)
    for hearing, result in zip(hearings, asr.hear(loaded, sounds, [h.language for h in hearings]), strict=True):
        language = None if result.language is None else round(result.language, 3)
        record = {"key": hearing.key, "heard": result.text, "language": language}
        yield {".json": f"{json.dumps(record, ensure_ascii=False)}\n".encode()}


def label(clip: Clip, record: Mapping[str, Any], compared: Comparison, stranger: bool = False) -> Label:
    return Label(
        clip.id, clip.recording, clip.start, clip.end, clip.text, record["heard"], compared.cer, record["language"],
        compared.worst, compared.numbers, stranger,
    )  # fmt: skip


def labelled(rows: Sequence[Clip], out: Path, spoken: Mapping[str, str], strange: Collection[str]) -> Iterator[Label]:
    with Comparisons(None if os.environ.get(ANEW) else FILE) as comparisons:
        records = kept_value("heard", shards.state(out), partial(records_of, rows, out))
        for clip in rows:
            compared = comparisons.of(clip.text, clip.sentences, records[clip.id]["heard"], spoken[clip.recording])
            yield label(clip, records[clip.id], compared, clip.id in strange)


def records_of(rows: Sequence[Clip], out: Path) -> dict[str, dict[str, Any]]:
    records = map(json.loads, shards.read_all(out / f"{clip.id}.json" for clip in rows))
    return {clip.id: {name: record[name] for name in HEARD} for clip, record in zip(rows, records, strict=True)}


def strangers(
    sounds: Sequence[JudgedSound], clips: Path, others: Path, out: Path, encoder: SpeakerParams, engine: ComputeParams
) -> set[str]:
    """Ids of the clips that sound like somebody else than most of their speaker's."""
    strange = list(speaker_similarity.other_sounds(others, [], clips))
    judged, make = [*sounds, *strange], partial(digests_of, sounds)
    digests = kept_value("sounds", shards.state(clips), make)
    known = [*(digests[sound.name] for sound in sounds), *speaker_similarity.digests(strange)]
    speaker_similarity.embed(out, judged, known, [encoder], None, engine, "voices")
    state = shards.state(out)
    key = state and content_key(one_voice.VERSION, state, [(sound.entry, sound.voice) for sound in judged])
    return set(kept_value("strangers", key, partial(of_second_voices, judged, out)))


def digests_of(sounds: Sequence[JudgedSound]) -> dict[str, str]:
    return dict(zip((sound.name for sound in sounds), speaker_similarity.digests(sounds), strict=True))


def of_second_voices(judged: Sequence[JudgedSound], out: Path) -> list[str]:
    strange: set[str] = set()
    (embedded,) = speaker_similarity.read(out, judged)
    for name in sorted({sound.voice for sound in judged if sound.kind == "true"}):
        own = speaker_similarity.of_voice(embedded, name)
        if voices := speaker_similarity.known_voices(own):
            vectors = [vector for _, vector in own["true"]]
            second = one_voice.second_voice(vectors, one_voice.limit(voices))
            strange |= {own["true"][place][0].name for place in second}
    return sorted(strange)


def tell(rows: Sequence[Clip], strange: Collection[str]) -> None:
    """Before anything is learnt from them."""
    for name in sorted({clip.speaker for clip in rows if clip.id in strange}):
        own = sorted((c.recording, c.start) for c in rows if c.speaker == name and c.id in strange)
        warn(f"check: {one_voice.doubt(name, [f'{recording} at {start:.2f} s' for recording, start in own])}")


def main(
    sources: Annotated[Path, "the list of recordings"],
    raw: Annotated[Path, "folder of fetched recordings"],
    clips: Annotated[Path, "folder of clips"],
    table: Annotated[Path, "table of clips"],
    out: Annotated[Path, "folder for what Whisper hears"],
    voices: Annotated[Path, "folder for whose voice each clip is"],
    labels: Annotated[Path, "table for texts beside what was heard"],
) -> None:
    settings = read()
    params, model = settings.check, settings.whisper
    spoken = {r.id: r.language for r in fetched(sources, raw)}
    languages.refuse(model, spoken)
    rows, fingerprint = read_jsonl(table, Clip), asr.fingerprint(model)
    sounds = [JudgedSound("true", clip.id, clip.speaker, clips / f"{clip.id}.flac") for clip in rows]
    jobs = []
    # a batch takes as long as its longest
    for clip, sound in sorted(zip(rows, sounds, strict=True), key=lambda pair: pair[0].seconds):
        key = content_key(VERSION, clip.id, spoken[clip.recording], fingerprint)
        jobs.append(Job(clip.id, key, Hearing(sound.path, spoken[clip.recording], key)))
    compute, engine = partial(hear, model=model), settings.compute
    refresh(
        out, jobs, compute, suffixes=[".json"], label="check", batch=params.batch, engine=engine, gpu=True, shards=True
    )
    strange = strangers(sounds, clips, Path(settings.evaluate.others), voices, settings.speaker, engine)
    compared = list(labelled(rows, out, spoken, strange))
    compared.sort(key=lambda row: (-row.cer, not row.numbers, row.recording, row.start))
    write_jsonl(labels, compared)
    apart = sum(row.cer > 0 for row in compared)
    print(f"check: Whisper hears {len(compared) - apart} of {len(compared)} clips as they are written")
    tell(rows, strange)


if __name__ == "__main__":
    run_stage(main)
