"""Whisper writes a draft of every recording, with the times and the confidence of each word.

    python -m stages.transcribe --sources data/sources.yaml --raw data/raw --glossary data/glossary.txt \\
        --out data/drafts --turns data/turns

Reads   data/sources.yaml, data/raw/<id>.flac, data/raw/<id>.json
        data/glossary.txt       names and terms to expect, one per line
Writes  data/drafts/<id>.json   segments that do not overlap and go no further than a sentence, with their words
        data/turns/<id>.json    who speaks when, as section `who` asks for it; no turns where it does not

With `transcribe.align`, a segment is a sentence, or a part of a long one that ends in a pause, and begins and ends as
the voice does (timbre/audio/word_times.py).

A draft is made anew when the audio, the model, the language or the glossary changes; none is made of a recording that
has `draft: false` in data/sources.yaml, which `timbre import` and the booth write, as they know the words. A person's
transcript wins over it later, so a better Whisper never touches what was corrected by hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from timbre import asr, audio
from timbre.asr import HeardUtterance, WhisperTranscript, faster_whisper, languages
from timbre.asr.sentences import by_sentence, joined, parted
from timbre.audio import speech_activity, word_times
from timbre.audio.word_times import TimedLine
from timbre.core.content import content_key
from timbre.core.params import read
from timbre.core.records import Recording, SpeakerTurn
from timbre.core.safe_text import warn
from timbre.core.sections import ComputeParams, SpeakerParams, TranscribeParams, WhisperParams, WhoParams
from timbre.evaluation import diarisation, speaker_encoder, who_speaks
from timbre.mapping import batch
from timbre.mapping.batch import Files
from timbre.mapping.refresh import Job, refresh
from timbre.mapping.stage import run_stage
from timbre.project import obstacles, transcripts
from timbre.project.glossary import terms
from timbre.project.known_words import KnownWords, of_model
from timbre.project.prompts import PATH as PROMPTS
from timbre.project.prompts import read_prompts
from timbre.project.sources import fetched, to_draft
from timbre.project.sources import read as read_sources

VERSION = 2  # raise when the code gives other bytes for the same input
PIECE = 600.0  # seconds that are in memory at once; about 200 MB while Whisper hears them
PAUSE_WITHIN = 30.0  # seconds before a piece's end in which the quietest moment is looked for
PAUSE = 0.5  # seconds over which it is to be quiet
SHORTEST = 0.02  # seconds: Whisper's own resolution; what is shorter holds no speech


Listen = Callable[..., WhisperTranscript]
"""samples, language=…, prompt=… → what is said, with word times."""


def transcribe_all(
    recordings: Sequence[Recording],
    raw: Path,
    prompt: str,
    out: Path,
    params: TranscribeParams,
    model: WhisperParams,
    engine: ComputeParams = batch.HERE,
) -> None:
    fingerprint = (faster_whisper if params.engine == "faster-whisper" else asr).fingerprint(model)
    jobs = [
        Job(r.id, key, (r, raw / f"{r.id}.flac", key))
        for r in recordings
        for key in [content_key(VERSION, r.sha256, r.language, fingerprint, prompt, *aligned(params))]
    ]
    compute = partial(draft_each, prompt=prompt, model=model, fingerprint=fingerprint, params=params)
    refresh(out, jobs, compute, suffixes=[".json"], label="transcribe", engine=engine, gpu=True)
    tell(
        [json.loads((out / f"{recording.id}.json").read_bytes()) for recording in recordings],
        recordings,
        of_model(model.model),
    )


def aligned(params: TranscribeParams) -> list[int]:
    """What the times of the lines add to a draft's key."""
    return [word_times.VERSION, speech_activity.VERSION] if params.align else []


def draft_each(
    jobs: Sequence[tuple[Recording, Path, str]],
    prompt: str,
    model: WhisperParams,
    fingerprint: str,
    params: TranscribeParams,
) -> Iterator[Files]:
    listen = listener(params, model, [recording for recording, _, _ in jobs], prompt)
    for recording, path, key in jobs:
        draft = draft_of(recording, path, partial(listen, prompt=prompt), align=params.align)
        document = {"key": key, "audio_sha256": recording.sha256, "whisper": fingerprint, **draft}
        yield {".json": (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode()}


def listener(params: TranscribeParams, model: WhisperParams, recordings: Sequence[Recording], prompt: str) -> Listen:
    """The engine's ear, after it was asked whether it knows the languages and has room for the prompt."""
    engine: Any = faster_whisper if params.engine == "faster-whisper" else asr
    loaded = engine.load(model)
    engine.check_prompt(loaded, prompt)
    for recording in recordings:
        engine.check_language(loaded, recording.language, recording.id)
    own = {"batch": params.batch} if engine is faster_whisper else {"word_timestamps": True}
    return partial(engine.transcribe, loaded, **own)


def draft_of(recording: Recording, path: Path, listen: Listen, *, align: bool = False) -> dict[str, Any]:
    utterances: list[HeardUtterance] = []
    for start, end in pieces(path, recording.seconds):
        samples, _ = audio.read(path, asr.SAMPLE_RATE, start, end)
        utterances += [
            shifted(utterance, start) for utterance in listen(samples, language=recording.language).utterances
        ]
    lines = by_sentence(utterances, recording.language)
    if align:
        lines = settled(joined(lines, recording.language), path, recording.seconds)
    fitting, left_out, mended = in_order(lines, recording.seconds)
    return {
        "language": recording.language,
        "mended": mended,  # segments whose times overlapped or lay outside the recording
        "left_out": left_out,  # texts for which there was no time
        "segments": [rounded(utterance) for utterance in fitting],
    }


def settled(utterances: Sequence[HeardUtterance], path: Path, seconds: float) -> list[HeardUtterance]:
    """With the times at which the voice begins and ends; long ones in parts, which end in pauses."""
    sound = speech_activity.of_recording(path, "silero")
    utterances = [
        part
        for one in utterances
        for part in parted(one, word_times.parts([(word.start, word.end) for word in one.words], sound))
    ]
    lines = [
        TimedLine((u.start, u.end), *((word.start, word.end) for word in (u.words[0], u.words[-1])))
        if u.words
        else TimedLine((u.start, u.end), (u.start, u.end), (u.start, u.end))
        for u in utterances
    ]
    times = word_times.settled(lines, sound, seconds)
    return [replace(one, start=start, end=end) for one, (start, end) in zip(utterances, times, strict=True)]


def pieces(
    path: Path, seconds: float, longest: float = PIECE, within: float = PAUSE_WITHIN
) -> Iterator[tuple[float, float]]:
    """The recording's spans of at most `longest` seconds, each ending in the quietest moment near its end."""
    start = 0.0
    while seconds - start > longest:
        first = start + longest - within
        samples, rate = audio.read(path, None, first, start + longest)
        window = round(PAUSE / audio.LEVEL_WINDOW)
        loudness = np.convolve(audio.levels(samples, rate), np.ones(window), "valid")
        cut = round(first + (int(loudness.argmin()) + window / 2) * audio.LEVEL_WINDOW, 2)
        yield start, cut
        start = cut
    yield start, seconds


def in_order(utterances: Sequence[HeardUtterance], seconds: float) -> tuple[list[HeardUtterance], list[str], int]:
    """The utterances within the recording and one after the other; texts without room; how many were moved.

    Whisper may let two overlap, end after the recording, or give two the same time.
    """
    last = int(seconds * 100) / 100  # not rounded up: no segment ends after its recording
    fitting: list[HeardUtterance] = []
    left_out, moved = [], 0
    for utterance in sorted(utterances, key=lambda u: (u.start, u.end)):
        start, end = max(0.0, round(utterance.start, 2)), min(last, round(utterance.end, 2))
        before = fitting[-1] if fitting else None
        shared = before is not None and start < before.end
        if before and shared:  # each gets half of what both claim
            start = max(round((start + min(before.end, end)) / 2, 2), round(before.start + SHORTEST, 2))
        if end - start < SHORTEST:
            left_out.append(utterance.text)
            continue
        if before and shared:
            fitting[-1] = fitted(before, before.start, min(before.end, start))
        fitting.append(fitted(utterance, start, end))
        moved += (start, end) != (round(utterance.start, 2), round(utterance.end, 2))
    return fitting, left_out, moved


def fitted(utterance: HeardUtterance, start: float, end: float) -> HeardUtterance:
    """With these times, and its words inside them and in order."""
    words, reached = [], start
    for word in utterance.words:
        word_start = min(max(round(word.start, 2), reached), end)
        reached = min(max(round(word.end, 2), word_start), end)
        words.append(replace(word, start=word_start, end=reached))
    return replace(utterance, start=start, end=end, words=words)


def shifted(utterance: HeardUtterance, seconds: float) -> HeardUtterance:
    words = [replace(word, start=word.start + seconds, end=word.end + seconds) for word in utterance.words]
    return replace(utterance, start=utterance.start + seconds, end=utterance.end + seconds, words=words)


def rounded(utterance: HeardUtterance) -> dict[str, Any]:
    """To a thousandth: the last digits of probabilities differ between machines."""
    words = [replace(word, probability=round(word.probability, 3)) for word in utterance.words]
    return asdict(
        replace(
            utterance,
            avg_logprob=round(utterance.avg_logprob, 3),
            no_speech_prob=round(utterance.no_speech_prob, 3),
            words=words,
        )
    )


def tell(drafts: Sequence[dict[str, Any]], recordings: Sequence[Recording], known: KnownWords | None = None) -> None:
    """`known` is of a Whisper that knows a few words only."""
    segments, mended = sum(len(draft["segments"]) for draft in drafts), sum(draft["mended"] for draft in drafts)
    print(f"transcribe: {segments} segments, the times of {mended} mended")
    for recording, draft in zip(recordings, drafts, strict=True):
        if not draft["segments"]:
            print(f"{recording.id}: nothing was heard; if somebody speaks there, try another whisper.model")
        if known and (line := known.foreign(recording.id, transcripts.sureness(draft["segments"]))):
            print(f"warning: {line}")
        for text in draft["left_out"]:
            print(f"{recording.id}: left out, because it has no time of its own: {text}")


def find_turns(
    recordings: Sequence[Recording],
    raw: Path,
    out: Path,
    who: WhoParams,
    encoder: SpeakerParams,
    engine: ComputeParams = batch.HERE,
) -> None:
    method = method_key(who, encoder)
    jobs = [
        Job(r.id, key, (r, raw / f"{r.id}.flac", key))
        for r in recordings
        for key in [content_key(who_speaks.VERSION, r.sha256, method)]
    ]
    compute = partial(turns_of_each, who=who, encoder=encoder)
    refresh(out, jobs, compute, suffixes=[".json"], label="who", engine=engine, gpu=True)


def method_key(who: WhoParams, encoder: SpeakerParams) -> list[Any]:
    """What the turns depend on, beside the sound."""
    if who.method == "embeddings":
        return ["embeddings", who.limit, speaker_encoder.fingerprint(encoder)]
    return ["pyannote", diarisation.fingerprint(who)] if who.method == "pyannote" else []


def turns_of_each(
    jobs: Sequence[tuple[Recording, Path, str]], who: WhoParams, encoder: SpeakerParams
) -> Iterator[Files]:
    for recording, path, key in jobs:
        turns: list[SpeakerTurn] = []
        if who.method == "embeddings":
            turns = who_speaks.find(path, speaker_encoder.load(encoder), who.limit)
        elif who.method == "pyannote":
            turns = diarisation.find(path, who)
        rows = [[turn.start, turn.end, turn.voice] for turn in turns]
        document = {"key": key, "audio_sha256": recording.sha256, "turns": rows}
        yield {".json": f"{json.dumps(document)}\n".encode()}


def tell_languages(model: WhisperParams, sources: Path) -> None:
    """Refuse what `check` or `evaluate` could not hear. Prompts change no draft, so they are no dependency."""
    asked = {source.id: source.language for source in read_sources(sources)}
    spoken = read_prompts(PROMPTS) if PROMPTS.is_file() else []
    asked |= {f"{PROMPTS}: {prompt.id}": prompt.language for prompt in spoken if prompt.language}
    languages.refuse(model, asked)
    for doubt in languages.doubts(asked.values()):
        warn(doubt)


def main(
    sources: Annotated[Path, "what is declared, data/sources.yaml"],
    raw: Annotated[Path, "what was fetched, data/raw"],
    glossary: Annotated[Path, "names and terms to expect, data/glossary.txt"],
    out: Annotated[Path, "folder of drafts, data/drafts"],
    turns: Annotated[Path, "folder of who speaks when, data/turns"],
) -> None:
    settings = read()
    params, model = settings.transcribe, settings.whisper
    obstacles.tell(settings)
    tell_languages(model, sources)
    recordings = to_draft(sources, raw)
    prompt, engine = ", ".join(terms(glossary)), settings.compute
    transcribe_all(recordings, raw, prompt, out, params, model, engine)
    find_turns(fetched(sources, raw), raw, turns, settings.who, settings.speaker, engine)


if __name__ == "__main__":
    run_stage(main)
