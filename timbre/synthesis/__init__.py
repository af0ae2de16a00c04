"""The voice as it is now, for `timbre say` and for programs: loaded once, heard while it speaks.

    from timbre import synthesis

    voice = synthesis.load()                                      # what params.yaml names, with models/adapter
    for piece in synthesis.say(voice, "The night ferry waits."):  # float32, one channel, voice.sample_rate
        play(piece)

Run in the repository's root. A sentence is spoken as the section `generate` of params.yaml says. With
`context=synthesis.reference_clip()` the voice first hears the clip that `generate` cloned from, which gives its best
samples. A voice whose owner took the consent back, or was taken out, is not spoken with: SourceError.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from timbre import families
from timbre.core.errors import DataError, ModelError
from timbre.core.params import read
from timbre.core.records import Example, Sample, from_json, read_jsonl
from timbre.families import Audio, Turn, Voice
from timbre.project.permissions import Permissions
from timbre.synthesis import reference, sentence
from timbre.synthesis.reference import CODES, DATASET

ADAPTER = Path("models/adapter")
SAMPLES = Path("reports/samples")


def load(adapter: Path | None = ADAPTER, *, speaking: bool = False) -> Voice:
    """The tuned voice, or without an adapter the base. `speaking` is as of `families.load_once`."""
    voice = read().voice
    if adapter:
        check_tuned(adapter)
        Permissions().check_adapter(adapter, DATASET)
    return families.load_once(voice, adapter, read().generate.precision, speaking=speaking)


def check_tuned(adapter: Path) -> None:
    if not (adapter / "adapter_config.json").is_file():
        raise ModelError(f"{adapter}: there is no tuned voice yet; `dvc repro train` makes it, --base speaks without")


def say(voice: Voice, text: str, *, seed: int = 0, context: tuple[Turn, ...] = ()) -> Generator[Audio, None, bool]:
    """The sound, piece by piece as it is made; returns whether the voice ended by itself and not by the limit."""
    how = read().generate
    like = None if context else reference.usual_speaker()
    request = sentence.request(text, how, seed=seed, context=context, like=like)
    return voice.stream(request, sentence.speaking(how))


def cloning_sample() -> Sample | None:
    """One of those that cloned a clip; of several speakers, one of the speaker of most clips."""
    usual = reference.usual_speaker()
    names = ("", usual.speaker.name if usual else "")
    paths = sorted(SAMPLES.glob("*_clone-*.json"))
    samples = (from_json(path.read_text(encoding="utf-8"), Sample, str(path)) for path in paths)
    return next((sample for sample in samples if sample.speaker in names), None)


def reference_clip(speaker: str | None = None) -> tuple[Turn, ...]:
    """The clip that `generate` cloned from, as the records of its samples say; or the one of this speaker."""
    family = families.family(read().voice.family)
    if speaker is not None:
        row, turn = reference.of_speaker(speaker, family.cloning, CODES / family.name)
        Permissions().check({row.source: [row.recording]}, f"{row.id}: ", taking_part=True)
        return (turn,)
    sample = cloning_sample()
    if sample is None:
        raise DataError(f"{SAMPLES}: no sample that cloned a clip, so none to clone; `dvc repro generate` makes them")
    examples = read_jsonl(DATASET / "train.jsonl", Example)
    recordings = {clip.source: [clip.recording] for clip in examples if clip.id == sample.reference}
    Permissions().check(recordings, f"{sample.reference}: ", taking_part=True)
    return reference.of_sample(sample, DATASET, CODES / family.name, family.cloning)
