"""A real Whisper on real speech: how well it hears, where its drafts end, what is kept of them, how noise is judged.

    python -m benchmarks.real_speech [--model base] [--only check]

It first brings the materials that are missing (benchmarks/real_materials.py). On a core of a CPU, hearing takes as long
as the sound or longer: half an hour in all, or more. docs/real-speech.md says which of its numbers come from here.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import real_materials as materials
from stages import check as label_check
from stages import dataset, segment, transcribe
from timbre import asr, audio
from timbre.asr import WhisperTranscript
from timbre.asr.alignment import characters
from timbre.asr.normalising import normalise
from timbre.audio import Samples, clip_plan, line_times, speech_activity
from timbre.audio.clips import limits_of, plan, spoken_of
from timbre.audio.speech_activity import Activity
from timbre.core import params
from timbre.core.records import Clip, Label, Recording, Segment
from timbre.core.sections import ChunkParams, WhisperParams
from timbre.core.text import ends_sentence
from timbre.evaluation import word_errors
from timbre.families.codes import opening_end
from timbre.project import transcripts

DRAFTED = ("linda", "austen", "sonnet-1")
LENGTHS = (30.0, 10.0)  # seconds of a clip, at most
BATCH = 4  # clips at once
WRONG = 0.15  # CER above which a correct clip was not heard, and from which on a draft's text is wrong
SOFT = 20.0  # dB below a take's speech: what is softer is no word of it
CUT = 0.05  # seconds of a word that a line may lack
ALIGNED = {False: "as Whisper times them", True: "aligned"}
PRESET = Path("presets/csm-1b.yaml")


class RealDraft(NamedTuple):
    recording: Recording
    lines: list[Segment]
    activity: Activity


def rate() -> int:
    return asr.SAMPLE_RATE


def check(model: str) -> Iterator[str]:
    """Correct clips: the rate of errors that are the recogniser's or ours; and what wrong texts come to."""
    takes = materials.clips()
    heard = hear(model, [sound for *_, sound in takes], ["en"] * len(takes))
    rates = [characters(text, one.text).rate for (_, text, _), one in zip(takes, heard, strict=True)]
    mean, wrong = statistics.mean(rates), sum(one > WRONG for one in rates)
    yield f"{len(rates)} correct clips: mean CER {mean:.1%}, {wrong} over {WRONG:.0%}; worst {max(rates):.1%}"
    limits = params.read(PRESET).dataset
    for name, spoil in SPOILT.items():
        texts = [spoil([text for _, text, _ in takes], place) for place in range(len(takes))]
        labels = [label(text, one.text, "en") for text, one in zip(texts, heard, strict=True)]
        clips = [Clip(str(n), "", "", 0, 1, [[0, 1]], 1, text, speech=1, snr=99) for n, text in enumerate(texts)]
        kept = [dataset.unfit(clip, one, limits) is None for clip, one in zip(clips, labels, strict=True)]
        warned = [any(dataset.warnings(clip, one, limits)) for clip, one in zip(clips, labels, strict=True)]
        told = sum(keep and warn for keep, warn in zip(kept, warned, strict=True))
        yield f"texts {name}: {sum(kept)} of {len(kept)} kept, {told} of them with a warning"


def _one_word_less(texts: Sequence[str], place: int) -> str:
    words = texts[place].split()
    return " ".join(words[: len(words) // 2] + words[len(words) // 2 + 1 :])


def _half(texts: Sequence[str], place: int) -> str:
    words = texts[place].split()
    return " ".join(words[: (len(words) + 1) // 2])


SPOILT: dict[str, Callable[[Sequence[str], int], str]] = {
    "as they are": lambda texts, place: texts[place],
    "of the clip after": lambda texts, place: texts[(place + 1) % len(texts)],
    "without their second half": _half,
    "with the next clip's text behind them": lambda texts, place: f"{texts[place]} {texts[(place + 1) % len(texts)]}",
    "without the word in the middle": _one_word_less,
}


def words(model: str) -> Iterator[str]:
    """Drafts of whole recordings: the words that are wrong where nobody corrects them, and how long they take."""
    for one in spoken(model):
        seconds = os.times()
        text = listened(one.name, model).text
        took = sum(os.times()[:2]) - sum(seconds[:2])
        reading = word_errors.compare(one.text, text, one.language)
        speed = len(one.samples) / rate() / took
        yield (
            f"{one.name} ({one.language}): {reading.errors} of {reading.words} words wrong, {reading.wer:.1%}; "
            f"{speed:.1f} hours per CPU-hour"
        )


def times(model: str) -> Iterator[str]:
    """Where lines of drafts end that end with a take: the takes' own beginnings and ends are known."""
    for align in ALIGNED:
        off: list[float] = []
        outside: list[float] = []
        for one, takes in taken():
            draft = drafted(one, model, align=align)
            placed = line_times.settled(draft.lines, draft.activity)
            for end, start, voice_end, voice_start in partings(placed, takes):
                off.append(end - voice_end)
                outside += [max(voice_end - end, end - voice_start, 0), max(voice_end - start, start - voice_start, 0)]
        yield (
            f"{len(off)} ends of lines, {ALIGNED[align]}: {statistics.median(off):+.2f} s beside the voice's end in "
            f"the middle of cases, {min(off):+.2f} to {max(off):+.2f} s; of {len(outside)} ends and beginnings, "
            f"{sum(x > CUT for x in outside)} are within a word, by {max(outside):.2f} s in the worst"
        )


def clips(model: str) -> Iterator[str]:
    """Drafts as they are, cut by the limits of the preset for csm-1b and two lengths of clips."""
    for align in ALIGNED:
        drafts = [drafted(one, model, align=align) for one in materials.recordings() if one.name in DRAFTED]
        for longest in LENGTHS:
            yield f"{ALIGNED[align]}: {cut_to(longest, drafts)}"


def cut_to(longest: float, drafts: Sequence[RealDraft]) -> str:
    preset = params.read(PRESET)
    limits = replace(preset.chunk, max_seconds=longest)
    cut = [(clip, draft) for draft in drafts for clip in plan(*draft, limits)[0]]
    voiced = sum(
        draft.activity.speaks(here[1], there[0]).any() for clip, draft in cut for here, there in pairwise(clip.spans)
    )
    most = preset.train.context_seconds
    whole = sum(clip.seconds <= most for clip, _ in cut)
    parts = sum(opening_end(clip, most) is not None for clip, _ in cut) - whole
    abrupt = sum(clip.abrupt for clip, _ in cut)
    return (
        f"up to {longest:g} s: {len(cut)} clips, {abrupt} abrupt, {ended(cut, limits)}, {voiced} cut pauses "
        f"with voice; {whole} can be heard before another, {parts} more by their first sentences"
    )


def ended(cut: Sequence[tuple[Clip, RealDraft]], limits: ChunkParams) -> str:
    """How many clips end with a sentence, of those that could: no clip holds a sentence that is longer than a clip."""
    done = [ends_sentence(clip.text, "", draft.recording.language) for clip, draft in cut]
    able = [yes or not within_too_long(*one, limits) for yes, one in zip(done, cut, strict=True)]
    return f"{sum(done)} end with a sentence, of {sum(able)} that could"


def within_too_long(clip: Clip, draft: RealDraft, limits: ChunkParams) -> bool:
    """Whether the clip ends within a sentence for which no clip is long enough."""
    placed = line_times.settled(draft.lines, draft.activity)
    spoken = [spoken_of(line, draft.activity, limits.max_pause) for line in placed]
    last = max(place for place, line in enumerate(placed) if line.start < clip.end - CUT)
    following = [*(line.text for line in placed[1:]), ""]
    ends = [place for place, (line, after) in enumerate(zip(placed, following, strict=True))
            if ends_sentence(line.text, after, draft.recording.language)]  # fmt: skip
    first = max((place + 1 for place in ends if place < last), default=0)
    end = min((place for place in ends if place >= last), default=len(placed) - 1)
    whole = clip_plan.length([*range(first, end + 1)], spoken, limits_of(limits))
    return whole > limits.max_seconds


def kept(model: str) -> Iterator[str]:
    """What the filters of the preset keep of clips from aligned drafts, and how much of that is right."""
    preset = params.read(PRESET)
    for one in spoken(model):
        draft = drafted(one, model, align=True)
        cut, _ = plan(*draft, preset.chunk)
        sounds = [np.concatenate([piece(one.samples, *span) for span in clip.spans]) for clip in cut]
        heard = hear(model, sounds, [one.language] * len(cut))
        labels = {
            clip.id: label_check.label(clip, {"heard": ear.text, "language": ear.language}, one.language)
            for clip, ear in zip(cut, heard, strict=True)
        }
        reasons = dataset.split(cut, labels, preset.dataset).reasons
        wrong = {clip.id for clip, said in zip(cut, said_in(cut, one), strict=True)
                 if characters(said, clip.text, one.language).rate > WRONG}  # fmt: skip
        dropped = {clip.id for clip in cut if clip.id in reasons}
        doubted = sum(any(dataset.warnings(c, labels[c.id], preset.dataset)) for c in cut if c.id in wrong - dropped)
        abrupt, ends = sum(c.abrupt for c in cut), ended([(clip, draft) for clip in cut], preset.chunk)
        why = ", ".join(sorted({why.split(":")[0] for why in reasons.values()}))
        yield (
            f"{one.name}: {len(cut)} clips, {len(cut) - len(dropped)} kept, {abrupt} abrupt, {ends}; "
            f"{len(dropped - wrong)} wrong drops{f' ({why})' if why else ''}, {len(wrong - dropped)} wrong "
            f"keeps, {doubted} of them with a warning"
        )


def noise(model: str) -> Iterator[str]:
    """What `dataset.snr` reads beside known mixtures: ten seconds each of readers, with noise and with other voices."""
    del model
    pieces = [part for name in ("linda", "sonnet-1", "austen", "lucier") for part in tens(name)]
    clean = [snr(part) for part in pieces]
    for kind, make in NOISES.items():
        for decibels in (0, 5, 10, 15, 20, 30):
            off = []
            for place, (part, own) in enumerate(zip(pieces, clean, strict=True)):
                beside = make(len(part), place)
                scale = np.sqrt(spoken_power(part) / np.mean(beside**2)) * 10 ** (-decibels / 20)
                true = -10 * np.log10(10 ** (-decibels / 10) + 10 ** (-own / 10))  # its own noise is counted in
                off.append(float(snr((part + scale * beside).astype(np.float32)) - true))
            within = sum(abs(one) <= 3 for one in off) / len(off)
            yield (
                f"{kind} at {decibels} dB: {statistics.mean(off):+.1f} dB beside the truth, worst "
                f"{max(off, key=abs):+.1f}, {within:.0%} within 3 dB"
            )


def _white(length: int, seed: int) -> Samples:
    return np.random.default_rng(seed).normal(size=length).astype(np.float32)


def _pink(length: int, seed: int) -> Samples:
    spectrum = np.fft.rfft(_white(length, seed))
    return np.asarray(np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), length), np.float32)


def _voices(length: int, seed: int) -> Samples:
    """Six people at once, each from another place in what they say."""
    draw, total = np.random.default_rng(seed), np.zeros(length)
    for name in ("simplicissimus", "sonnet-2", "sonnet-3", "jfk", "lucier", "linda"):
        other = recording(name).samples
        first = int(draw.integers(len(other)))
        part = np.take(other, np.arange(first, first + length), mode="wrap")
        total += part / np.sqrt(np.mean(part**2) + 1e-9)
    return total.astype(np.float32)


NOISES: dict[str, Callable[[int, int], Samples]] = {
    "white noise": _white,
    "pink noise": _pink,
    "six other voices": _voices,
}


def tens(name: str) -> list[Samples]:
    samples = recording(name).samples[: 60 * rate()]
    length = 10 * rate()
    return [samples[first : first + length] for first in range(0, len(samples) - length + 1, length)]


def spoken_power(samples: Samples) -> float:
    """Of the moments in which somebody speaks."""
    activity = activity_of(samples)
    levels = activity.decibels(0, len(samples) / rate())[activity.speaks(0, len(samples) / rate())]
    return float(np.mean(10 ** (levels / 10)))


def snr(samples: Samples) -> float:
    """As `chunk` measures it of a clip that is the whole of a recording."""
    return activity_of(samples).snr([(0.0, len(samples) / rate())])


def activity_of(samples: Samples) -> Activity:
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder) / "sound.flac"
        sound.write_bytes(audio.flac_bytes(samples / max(1.0, float(np.abs(samples).max())), rate()))
        return speech_activity.of_recording(sound, "silero")


@functools.cache
def recording(name: str) -> materials.RealRecording:
    return next(one for one in materials.recordings() if one.name == name)


def spoken(model: str) -> Iterator[materials.RealRecording]:
    """The recordings whose language the recogniser knows."""
    multilingual = asr.load(WhisperParams(model)).is_multilingual
    yield from (one for one in materials.recordings() if one.language == "en" or multilingual)


def taken() -> Iterator[tuple[materials.RealRecording, list[tuple[str, Samples]]]]:
    """The recordings that are takes, one after the other, with these."""
    takes = materials.clips()
    for name, some in (("linda", takes[: len(materials.LJ)]), ("austen", takes[len(materials.LJ) :])):
        if some:
            yield recording(name), [(text, sound) for _, text, sound in some]


def hear(model: str, sounds: Sequence[Samples], languages: Sequence[str]) -> list[asr.Heard]:
    loaded = asr.load(WhisperParams(model))
    batches = [slice(first, first + BATCH) for first in range(0, len(sounds), BATCH)]
    return [one for some in batches for one in asr.hear(loaded, sounds[some], languages[some])]


@functools.cache
def listened(name: str, model: str) -> WhisperTranscript:
    one = recording(name)
    loaded = asr.load(WhisperParams(model))
    return asr.transcribe(loaded, one.samples, language=one.language, word_timestamps=True)


def label(text: str, heard: str, language: str) -> Label:
    clip = Clip("", "", "", 0, 1, [[0, 1]], 1, text)
    return label_check.label(clip, {"heard": heard, "language": None}, language)


def piece(samples: Samples, start: float, end: float) -> Samples:
    return samples[round(start * rate()) : round(end * rate())]


@functools.cache
def drafted_cached(name: str, model: str, align: bool) -> RealDraft:
    """What `transcribe`, `segment` and the first half of `chunk` make of a recording."""
    one = recording(name)
    seconds = len(one.samples) / rate()
    about = Recording(one.name, "reader", one.language, "", "", "", "", rate(), seconds)
    with tempfile.TemporaryDirectory() as folder:
        sound, draft = (Path(folder) / name for name in ("sound.flac", "draft.json"))
        sound.write_bytes(audio.flac_bytes(one.samples, rate()))
        made = transcribe.draft_of(about, sound, lambda _, language: listened(name, model), align=align)
        draft.write_text(json.dumps({"audio_sha256": "", **made}))
        lines = segment.segments_of(transcripts.seed(draft, about), about)
        return RealDraft(about, lines, speech_activity.of_recording(sound, "silero"))


def drafted(one: materials.RealRecording, model: str, *, align: bool) -> RealDraft:
    return drafted_cached(one.name, model, align)


def partings(
    lines: Sequence[Segment], takes: Sequence[tuple[str, Samples]]
) -> Iterator[tuple[float, float, float, float]]:
    """Of lines that end with a take: end, next line's beginning, the take's last voice, the next one's first."""
    said: list[str] = []
    voice: dict[int, tuple[float, float]] = {}  # words so far → the voice's end, and where the next voice begins
    spans = list(voiced(takes))
    for (text, _), here, there in zip(takes, spans, spans[1:], strict=False):
        said += normalise(text, "en").split()
        voice[len(said)] = (here[1], there[0])
    said += normalise(takes[-1][0], "en").split()
    drafted_words = [normalise(line.text, "en").split() for line in lines]
    matched = matching([word for some in drafted_words for word in some], said)
    reached = 0
    for (line, after), some in zip(pairwise(lines), drafted_words, strict=False):
        reached += len(some)
        count = matched.get(reached - 1, -2) + 1
        if count in voice:
            yield (line.end, after.start, *voice[count])


def voiced(takes: Sequence[tuple[str, Samples]]) -> Iterator[tuple[float, float]]:
    """From when to when somebody speaks in each of sounds that follow each other."""
    start = 0.0
    for _, sound in takes:
        levels = 20 * np.log10(np.maximum(audio.levels(sound, rate()), 1e-7))
        loud = np.flatnonzero(levels > np.percentile(levels, 95) - SOFT) * audio.LEVEL_WINDOW
        yield start + float(loud[0]), start + float(loud[-1]) + audio.LEVEL_WINDOW
        start += len(sound) / rate()


def matching(words: Sequence[str], others: Sequence[str]) -> dict[int, int]:
    """Which word is which of the others."""
    blocks = SequenceMatcher(None, words, others, autojunk=False).get_matching_blocks()
    return {a + place: b + place for a, b, size in blocks for place in range(size)}


def said_in(cut: Sequence[Clip], one: materials.RealRecording) -> list[str]:
    """What is really said in each clip, by the words that its text shares with the exact text."""
    said = normalise(one.text, one.language).split()
    texts = [normalise(clip.text, one.language).split() for clip in cut]
    matched = matching([word for some in texts for word in some], said)
    found, first = [], 0
    for some in texts:
        places = [matched[place] for place in range(first, first + len(some)) if place in matched]
        found.append(" ".join(said[min(places) : max(places) + 1]) if places else "")
        first += len(some)
    return found


MEASURES: dict[str, Callable[[str], Iterator[str]]] = {
    "noise": noise,
    "words": words,
    "times": times,
    "clips": clips,
    "kept": kept,
    "check": check,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="base", choices=["base", "tiny.en"], help="which recogniser")
    parser.add_argument("--only", nargs="+", default=list(MEASURES), choices=list(MEASURES), help="which measures")
    options = parser.parse_args()
    missing = materials.get()
    for problem in missing:
        print(f"not here: {problem}")
    folder = materials.whisper(options.model)
    if folder is None or not materials.clips():
        sys.exit(f"{materials.FOLDER}: no recogniser or no speech to measure with")
    for name in options.only:
        for line in MEASURES[name](str(folder)):
            print(f"{name}: {line}", flush=True)


if __name__ == "__main__":
    main()
