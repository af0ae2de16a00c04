"""A real Whisper on real speech: correct clips heard by `check`, wrong words of recordings, clips cut from its drafts.

    python -m benchmarks.real_speech [--model base] [--only check]

It first brings the materials that are missing (benchmarks/real_materials.py). On a core of a CPU, hearing takes as long
as the sound or longer: half an hour in all, or more. docs/real-speech.md says which of its numbers come from here.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

from benchmarks import real_materials as materials
from stages import chunk, segment, transcribe
from timbre import asr, audio
from timbre.asr.alignment import characters
from timbre.audio import speech_activity
from timbre.core import params
from timbre.core.records import Recording, Segment
from timbre.core.sections import WhisperParams
from timbre.core.text import ends_sentence
from timbre.evaluation import word_errors
from timbre.families.codes import opening_end
from timbre.project import transcripts

DRAFTED = ("linda", "austen", "sonnet-1")
LENGTHS = (30.0, 10.0)  # seconds of a clip, at most
BATCH = 4  # clips at once
WRONG = 0.15  # CER above which a correct clip was not heard


def check(model: str) -> Iterator[str]:
    """Correct clips: the rate of errors that are the recogniser's or ours."""
    loaded = asr.load(WhisperParams(model))
    rates: list[tuple[float, str]] = []
    clips = materials.clips()
    for some in [clips[first : first + BATCH] for first in range(0, len(clips), BATCH)]:
        heard = asr.hear(loaded, [sound for *_, sound in some], ["en"] * len(some))
        rates += [(characters(text, one.text).rate, one.text) for (_, text, _), one in zip(some, heard, strict=True)]
    mean, wrong = statistics.mean(rate for rate, _ in rates), sum(rate > WRONG for rate, _ in rates)
    yield f"{len(rates)} correct clips: mean CER {mean:.1%}, {wrong} over {WRONG:.0%}; worst {max(rates)[0]:.1%}"


def words(model: str) -> Iterator[str]:
    """Whole recordings: the words that are wrong where nobody corrects them."""
    loaded = asr.load(WhisperParams(model))
    for name, language, text, samples in materials.recordings():
        if language == "en" or loaded.is_multilingual:
            heard = asr.transcribe(loaded, samples, language=language).text
            reading = word_errors.compare(text, heard, language)
            yield f"{name} ({language}): {reading.errors} of {reading.words} words wrong, {reading.wer:.1%}"


def clips(model: str) -> Iterator[str]:
    """Drafts as they are, cut by the limits of the preset for csm-1b and two lengths of clips."""
    preset = params.read(Path("presets/csm-1b.yaml"))
    drafts = [drafted(one, model) for one in materials.recordings() if one.name in DRAFTED]
    for longest in LENGTHS:
        limits = replace(preset.chunk, max_seconds=longest)
        cut = [(clip, draft) for draft in drafts for clip in chunk.plan(*draft, limits)[0]]
        voiced = sum(
            draft[2].speaks(here[1], there[0]).any() for clip, draft in cut for here, there in pairwise(clip.spans)
        )
        most = preset.train.context_seconds
        whole = sum(clip.seconds <= most for clip, _ in cut)
        parts = sum(opening_end(clip, most) is not None for clip, _ in cut) - whole
        abrupt = sum(clip.abrupt for clip, _ in cut)
        ended = sum(ends_sentence(clip.text, "", "en") for clip, _ in cut)
        yield (
            f"up to {longest:g} s: {len(cut)} clips, {abrupt} abrupt, {ended} end with a sentence, {voiced} cut pauses "
            f"with voice; {whole} can be heard before another, {parts} more by their first sentences"
        )


def drafted(one: materials.RealRecording, model: str) -> tuple[Recording, list[Segment], speech_activity.Activity]:
    """What `transcribe`, `segment` and the first half of `chunk` make of a recording."""
    seconds = len(one.samples) / asr.SAMPLE_RATE
    recording = Recording(one.name, "reader", one.language, "", "", "", "", asr.SAMPLE_RATE, seconds)
    with tempfile.TemporaryDirectory() as folder:
        sound, activity, draft = (Path(folder) / name for name in ("sound.flac", "activity.npy", "draft.json"))
        sound.write_bytes(audio.flac_bytes(one.samples, asr.SAMPLE_RATE))
        activity.write_bytes(speech_activity.measure(sound, "silero"))
        listen = partial(asr.transcribe, asr.load(WhisperParams(model)), word_timestamps=True)
        draft.write_text(json.dumps({"audio_sha256": "", **transcribe.draft_of(recording, sound, listen)}))
        lines = segment.segments_of(transcripts.seed(draft, recording), recording)
        return recording, lines, speech_activity.open(activity)


MEASURES: dict[str, Callable[[str], Iterator[str]]] = {"check": check, "words": words, "clips": clips}


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
