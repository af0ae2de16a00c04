"""Which sounds are held against each other, to say whose voice a sample is: samples, true clips and other voices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from timbre.core.errors import DataError
from timbre.core.records import Example, Sample, cloned_clips
from timbre.evaluation import speaker_similarity
from timbre.evaluation.speaker_similarity import JudgedSound


def targets(samples: Sequence[Sample], rows: Sequence[Example]) -> dict[str, Example]:
    """By speaker, the clip that the samples cloned: these are to be spoken like."""
    clips, speakers = cloned_clips(samples, rows), {sample.speaker for sample in samples}
    if not clips or not speakers <= {"", *clips}:
        raise DataError("reports/samples: the clip that was cloned is in no table of data/dataset; run `dvc repro`")
    return clips


def own_sounds(
    cloned: Mapping[str, Example], held_out: Sequence[Example], clips: Path, codes: Path
) -> list[JudgedSound]:
    """The clips that each speaker kept back, and what the codec makes of them."""
    own = [([row for row in held_out if row.source == name], clip) for name, clip in cloned.items()]
    return [sound for rows, clip in own for sound in speaker_similarity.true_sounds(rows, clips, codes, clip)]


def sample_sounds(
    spoken: Sequence[Sample], cloned: Mapping[str, Example], folder: Path, clips: Path
) -> list[JudgedSound]:
    """Samples, and the clips that they cloned."""
    first = next(iter(cloned))
    sounds = [JudgedSound("sample", s.id, s.speaker or first, folder / f"{s.id}.flac") for s in spoken]
    for name in cloned:
        used = (s.reference for s in spoken if s.reference and s.speaker in ("", name))
        sounds += speaker_similarity.cloned_sounds(used, name, clips)
    return sounds


def other_sounds(
    cloned: Mapping[str, Example], train: Sequence[Example], held_out: Sequence[Example], clips: Path, folder: Path
) -> list[JudgedSound]:
    """Other voices; of several speakers, each is another voice to the others."""
    only = next(iter(cloned)) if len(cloned) == 1 else None
    strangers = [row for row in [*train, *held_out] if row.source != only]
    return [sound for sound in speaker_similarity.other_sounds(folder, strangers, clips) if sound.voice != only]
