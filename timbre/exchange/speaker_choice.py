"""Who speaks, where a version learnt several speakers: the clip that it hears first, and what its sequence says.

CSM and Orpheus know a speaker by a number or a name. XTTS and GPT-SoVITS know one by the sound of a clip alone, so that
with them a speaker who is asked for is always cloned.
"""

from __future__ import annotations

from typing import NamedTuple

from timbre import families, synthesis
from timbre.core.errors import DataError
from timbre.exchange.voice_versions import VoiceVersion
from timbre.families import Turn
from timbre.synthesis.reference import usual_speaker


class SpokenAs(NamedTuple):
    reference: tuple[Turn, ...]
    like: Turn | None  # who speaks, and in which language, where there is no reference


def spoken_as(version: VoiceVersion, language: str, speaker: str | None, *, clone: bool) -> SpokenAs:
    """DataError for a speaker that the version did not learn, SourceError without the consent for a clip."""
    if speaker is None:
        reference = synthesis.reference_clip() if clone else ()
        return SpokenAs(version.as_learnt(reference), usual(version, language))
    if version.adapter is None and not clone:
        raise DataError(f"{version.name}: has learnt nobody; add --clone to let it hear a clip of {speaker}")
    like = None if version.adapter is None else Turn("", None, language, version.speaker(speaker))
    reference = synthesis.reference_clip(speaker) if clone or not marks_speakers(version) else ()
    return SpokenAs(version.as_learnt(reference), like)


def usual(version: VoiceVersion, language: str) -> Turn | None:
    """Who speaks where nobody says: the speaker of most clips, by the number that the version knows."""
    turn = usual_speaker(language)
    return None if turn is None else version.as_learnt([turn])[0]


def marks_speakers(version: VoiceVersion) -> bool:
    return bool({"number", "name"} & set(families.family(version.voice.family).marks))


def check_marked(version: VoiceVersion, speaker: str) -> None:
    """DataError where only a clip can say who is to speak."""
    if not marks_speakers(version):
        family = version.voice.family
        raise DataError(f"{version.name}: {family} knows {speaker} by a clip alone; give one as `reference`")
