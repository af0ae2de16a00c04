"""What the recognisers hear in samples, and in the speaker's own clips before and after the codec.

    listen(Path("reports/heard"), paths, options, batch=4)              # [HeardSample("The ferry waits.", …), …]
    listen(…, second=ear, clips=true_and_coded, voice=voice)            # the second ear hears all of it, too
    codec_cost(Path("reports/heard"), true_and_coded, SECOND)           # 0.05: wrong words that it adds, per word

The folder has an entry per sound and ear, <name>.json and second-<name>.json, keyed by the sound: only what is new is
heard. Clips are heard only where there is a second ear: the first may have learnt from sound that went through the
codec, and then does not hear what it costs.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timbre import asr, audio, families
from timbre.asr import second_ear
from timbre.asr.second_ear import SecondEar
from timbre.audio import Samples
from timbre.core.content import content_key, file_sha256
from timbre.core.sections import ComputeParams, VoiceParams, WhisperParams
from timbre.evaluation import speaker_similarity, word_errors
from timbre.evaluation.speaker_similarity import PREFIXES, JudgedSound
from timbre.mapping import batch
from timbre.mapping.batch import Files
from timbre.mapping.refresh import Job, refresh

SECOND = PREFIXES[1]  # begins the name of an entry that the second ear made


@dataclass(frozen=True)
class SoundToHear:
    path: Path
    language: str
    key: str
    second: bool = False  # whether the second ear is to hear it
    coded: tuple[JudgedSound, VoiceParams] | None = None  # where the path holds codes, and whose codec makes them sound


@dataclass(frozen=True)
class HeardSample:
    text: str  # as Whisper wrote it
    silent: bool
    samples: Samples
    rate: int  # Hz
    second: str | None = None  # as the second ear wrote it


def listen(
    folder: Path, paths: Sequence[Path], options: WhisperParams, batch: int, engine: ComputeParams = batch.HERE,
    spoken: Sequence[str] = (), second: SecondEar | None = None, clips: Sequence[JudgedSound] = (),
    voice: VoiceParams | None = None, version: int = 0,
) -> list[HeardSample]:  # fmt: skip
    """Let Whisper hear what is new, and the second ear where there is one, in the language that is `spoken` in it,
    English where nobody says; give what was heard and what there is to hear. `clips` are for `codec_cost`; another
    `version` hears all of it again."""
    names = [("", asr.fingerprint(options)), *([(SECOND, second_ear.fingerprint(second))] if second else [])]
    ears = [(prefix, (version, name)) for prefix, name in names]
    jobs = []
    for prefix, ear in ears:
        for path, language in zip(paths, spoken or ["en"] * len(paths), strict=True):
            sound = SoundToHear(path, language, _key(path, ear, language), bool(prefix))
            jobs.append(Job(prefix + path.stem, sound.key, sound))
        if second and voice:
            base = families.fingerprint(voice)
            jobs += [_clip_job(clip, prefix, ear, voice, base) for clip in clips]
    jobs.sort(key=lambda job: (job.payload.second, _seconds(job.payload)))  # a batch takes as long as its longest
    compute = functools.partial(hear, options, second)
    refresh(folder, jobs, compute, suffixes=[".json"], label="evaluate", batch=batch, engine=engine, gpu=True)
    return [_heard_sample(folder, path, second is not None) for path in paths]


def _key(path: Path, ear: tuple[int, str], language: str, *more: str) -> str:
    mine = [*([] if language == "en" else [language]), *more]
    return content_key(ear[0], file_sha256(path), ear[1], asr.normaliser(language), *mine)


def _clip_job(clip: JudgedSound, prefix: str, ear: tuple[int, str], voice: VoiceParams, base: str) -> Job[SoundToHear]:
    language = clip.said.language or "en" if clip.said else "en"
    codec = [speaker_similarity.codec_key(clip, voice, base)] if clip.kind == "coded" else []
    key = _key(clip.path, ear, language, *codec)
    sound = SoundToHear(clip.path, language, key, bool(prefix), (clip, voice) if codec else None)
    return Job(prefix + clip.entry, key, sound)


def _seconds(sound: SoundToHear) -> float:
    if sound.coded and (said := sound.coded[0].said):
        return said.seconds
    return audio.seconds_of(sound.path)


def _heard_sample(folder: Path, path: Path, by_two: bool) -> HeardSample:
    first, second = _record(folder, path.stem), _record(folder, SECOND + path.stem) if by_two else None
    return HeardSample(first["heard"], first["silent"], *audio.read(path), second["heard"] if second else None)


def _record(folder: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((folder / f"{name}.json").read_bytes()))


def codec_cost(folder: Path, clips: Sequence[JudgedSound], prefix: str = "") -> float | None:
    """Words that are heard wrong once a clip went through the codec, less those that were before, per word."""
    said = {clip.name: clip.said for clip in clips if clip.said}
    added, words = 0, 0
    for name, row in said.items():
        before, after = (
            word_errors.compare(row.text, _record(folder, f"{prefix}{kind}-{name}")["heard"], row.language or "en")
            for kind in ("true", "coded")
        )
        added, words = added + after.errors - before.errors, words + before.words
    return added / words if words else None


def hear(options: WhisperParams, second: SecondEar | None, some: Sequence[SoundToHear]) -> Iterator[Files]:
    sounds = [_sound(one) for one in some]
    loud = [number for number, sound in enumerate(sounds) if not audio.is_silent(sound)]
    texts: dict[int, str] = {}
    for is_second in (False, True):
        mine = [number for number in loud if some[number].second == is_second]
        asked = ([sounds[number] for number in mine], [some[number].language for number in mine])
        if mine:
            heard = second_ear.texts(second, *asked) if is_second and second else asr.texts(options, *asked)
            texts |= zip(mine, heard, strict=True)
    for number, one in enumerate(some):
        text, silent = texts.get(number, ""), number not in texts
        record = {"heard": text, "key": one.key, "normaliser": asr.normaliser(one.language), "silent": silent}
        yield {".json": f"{json.dumps(record, ensure_ascii=False, indent=2)}\n".encode()}


def _sound(one: SoundToHear) -> Samples:
    if one.coded is None:
        return audio.read(one.path, asr.SAMPLE_RATE)[0]
    clip, voice = one.coded
    return speaker_similarity.resound(clip, voice, asr.SAMPLE_RATE)
