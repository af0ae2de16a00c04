"""Whose voice everything is: the embeddings of samples, of the speaker's held-out clips and of other voices.

    (found,) = bring(Path("reports/embeddings"), [*samples, *true_sounds(…), *other_sounds(…)], [options], voice)
    scale = measure(found)                               # the speaker among other voices, ceiling and floor
    scale.voices.similarity(embedding)

The folder has an entry per sound, <name>.json, keyed by the sound: only what is new is embedded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from timbre import audio, families
from timbre.audio import Samples
from timbre.core.content import content_key
from timbre.core.errors import DataError
from timbre.core.records import Example, check_id
from timbre.core.sections import ComputeParams, SpeakerParams, VoiceParams
from timbre.evaluation import speaker_encoder
from timbre.evaluation.speaker_encoder import KnownVoices, Vector, centre
from timbre.families import codes as clip_codes
from timbre.mapping import batch, shards
from timbre.mapping.batch import Files
from timbre.mapping.refresh import Job, refresh

VERSION = 1  # raise when the code gives other numbers for the same sound
CODEC_VERSION = 2  # raise when a codec gives other sound for the same codes
SUFFIXES = {".flac", ".wav", ".mp3", ".ogg"}  # of other voices' sounds
PREFIXES = ("", "second-")  # of the entries of the first judge, and of the second
CLIPS = 5  # of each other speaker of the dataset
DIGITS = 5  # of an embedding's numbers: what lies beyond differs from machine to machine

Kind = Literal["sample", "true", "coded", "reference", "other"]


@dataclass(frozen=True)
class JudgedSound:
    kind: Kind  # coded: codes of a true clip, which the codec makes sound of
    name: str
    voice: str
    path: Path
    said: Example | None = None  # of true and coded: the clip
    reference: Example | None = None  # of coded: the clip that samples cloned

    @property
    def entry(self) -> str:
        return self.name if self.kind == "sample" else f"{self.kind}-{self.name}"


Vectors = dict[Kind, list[tuple[JudgedSound, Vector]]]


@dataclass(frozen=True)
class Scale:
    """What a similarity is read on. None where there are no clips of the speaker, or no other voices."""

    voices: KnownVoices | None
    ceiling: float | None
    floor: float | None


def true_sounds(
    rows: Sequence[Example], clips: Path, codes: Path, reference: Example | None = None
) -> Iterator[JudgedSound]:
    for row in rows:
        yield JudgedSound("true", row.id, row.source, clips / f"{row.id}.flac", row)
        yield JudgedSound("coded", row.id, row.source, codes / f"{row.id}{clip_codes.SUFFIX}", row, reference)


def cloned_sounds(ids: Iterable[str], voice: str, clips: Path) -> Iterator[JudgedSound]:
    for name in sorted(set(ids)):
        yield JudgedSound("reference", name, voice, clips / f"{name}.flac")


def other_sounds(folder: Path, rows: Sequence[Example], clips: Path) -> Iterator[JudgedSound]:
    """Other voices: the folder's, <voice>.flac or <voice>/<any>.flac, and a few clips of each speaker in `rows`."""
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder (evaluate.others in params.yaml); put recordings of other voices there"
        )
    for path in sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES):
        parts = path.relative_to(folder).with_suffix("").parts
        yield JudgedSound("other", "-".join(check_id(part) for part in parts), parts[0], path)
    for voice in sorted({row.source for row in rows}):
        own = sorted((row for row in rows if row.source == voice), key=lambda row: content_key(row.id))
        for row in own[:CLIPS]:
            yield JudgedSound("other", f"clip-{row.id}", voice, clips / f"{row.id}.flac")


def bring(
    folder: Path,
    sounds: Sequence[JudgedSound],
    encoders: Sequence[SpeakerParams],
    voice: VoiceParams | None,
    engine: ComputeParams = batch.HERE,
    label: str = "similarity",
) -> list[Vectors]:
    """Embed what is new, and give all of it, by kind, for each of the encoders: one, or two.

    `voice` makes sound of codes; None where none are among the sounds.
    """
    embed(folder, sounds, digests(sounds), encoders, voice, engine, label)
    return read(folder, sounds, len(encoders))


def digests(sounds: Sequence[JudgedSound]) -> list[str]:
    """SHA-256 of each sound's file."""
    return [hashlib.sha256(content).hexdigest() for content in shards.read_all(sound.path for sound in sounds)]


def embed(
    folder: Path,
    sounds: Sequence[JudgedSound],
    digests: Sequence[str],
    encoders: Sequence[SpeakerParams],
    voice: VoiceParams | None,
    engine: ComputeParams,
    label: str,
) -> None:
    """What `bring` does, but for reading the result."""
    base, jobs = families.fingerprint(voice) if voice else "", []
    for place, encoder in enumerate(encoders):
        fingerprint = speaker_encoder.fingerprint(encoder)
        for sound, digest in zip(sounds, digests, strict=True):
            codec = codec_key(sound, voice, base) if voice and sound.kind == "coded" else None
            key = content_key(VERSION, digest, fingerprint, codec)
            jobs.append(Job(PREFIXES[place] + sound.entry, key, (sound, encoder, key)))
    compute = partial(_embed, voice=voice)
    refresh(folder, jobs, compute, suffixes=[".json"], label=label, engine=engine, gpu=True, shards=True)


def read(folder: Path, sounds: Sequence[JudgedSound], encoders: int = 1) -> list[Vectors]:
    """The embeddings that are there, for so many encoders."""
    return [_read(folder, prefix, sounds) for prefix in PREFIXES[:encoders]]


def codec_key(sound: JudgedSound, voice: VoiceParams, base: str) -> str:
    """Of what makes sound of a clip's codes; `base` is the model's fingerprint."""
    if families.family(voice.family).cloning.kind == "turns":
        return content_key(CODEC_VERSION, base)
    # its sound is made of more than codes
    return content_key(base, *(row and (row.id, row.text) for row in (sound.said, sound.reference)))


def _read(folder: Path, prefix: str, sounds: Sequence[JudgedSound]) -> Vectors:
    vectors: Vectors = {kind: [] for kind in get_args(Kind)}
    records = shards.read_all(folder / f"{prefix}{sound.entry}.json" for sound in sounds)
    for sound, record in zip(sounds, map(json.loads, records), strict=True):
        vectors[sound.kind].append((sound, speaker_encoder.unit(np.asarray(record["embedding"]))))
    return vectors


def _embed(sounds: Sequence[tuple[JudgedSound, SpeakerParams, str]], voice: VoiceParams | None) -> Iterator[Files]:
    for sound, options, key in sounds:
        if voice and sound.kind == "coded":
            samples = resound(sound, voice, speaker_encoder.SAMPLE_RATE)
        else:
            samples, _ = audio.read(sound.path, speaker_encoder.SAMPLE_RATE)
        numbers = [round(float(number), DIGITS) for number in speaker_encoder.load(options).embed(samples)]
        yield {".json": f"{json.dumps({'embedding': numbers, 'key': key})}\n".encode()}


def of_voice(vectors: Vectors, voice: str) -> Vectors:
    """What is told of one speaker: own sounds, and those of all others."""
    return {
        kind: [one for one in some if (one[0].voice == voice) != (kind == "other")] for kind, some in vectors.items()
    }


def resound(sound: JudgedSound, voice: VoiceParams, rate: int) -> Samples:
    """What the codec makes of the clip's codes, at `rate` Hz."""
    codec = families.codec_once(voice)
    assert sound.said, "codes are of a clip"
    turn = clip_codes.turn(sound.said, sound.path.parent)
    # where a reference is something said before, codes alone make the sound
    kind, row = families.family(voice.family).cloning.kind, sound.reference
    reference = clip_codes.turn(row, sound.path.parent) if row and kind != "turns" else None
    return audio.resample(codec.resound(turn, reference), codec.sample_rate, rate)


def known_voices(vectors: Vectors) -> KnownVoices | None:
    """The speaker's own clips among other voices; None where there are none of the speaker."""
    true = [vector for _, vector in vectors["true"]]
    names = dict.fromkeys(sound.voice for sound, _ in vectors["other"])
    others = {name: centre([v for sound, v in vectors["other"] if sound.voice == name]) for name in names}
    return KnownVoices(centre(true), others) if true else None


def measure(vectors: Vectors) -> Scale:
    true, coded = ([vector for _, vector in vectors[kind]] for kind in ("true", "coded"))
    if (voices := known_voices(vectors)) is None:
        return Scale(None, None, None)
    return Scale(voices, speaker_encoder.ceiling(coded, true), speaker_encoder.floor(voices))
