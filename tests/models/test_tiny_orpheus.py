"""The tiny Orpheus in git: it says what it is asked to, in the voices whose names it knows."""

from __future__ import annotations

from typing import Any

import jiwer
import pytest

from tests.support.paths import ROOT
from timbre import asr, audio, families
from timbre.asr.normalising import normalise
from timbre.core.sections import SpeakerParams, VoiceParams, WhisperParams
from timbre.evaluation import speaker_encoder
from timbre.evaluation.speaker_encoder import unit
from timbre.families import Request, SpeakerTag, Speaking

TEXTS = ("The night ferry to Dublin departs from pier seven.", "Music with the captain after twelve.",
         "The quiet captain returns to the station with coffee.")  # fmt: skip
NAMES = ("angus", "mira")  # voices of models/tiny/voices that sound least alike


@pytest.fixture(scope="module")
def voice() -> Any:
    return families.load(VoiceParams("orpheus", str(ROOT / "models/tiny/orpheus"), None))


@pytest.fixture(scope="module")
def spoken(voice: Any) -> dict[tuple[str, str], Any]:
    asked = [(name, text) for name in NAMES for text in TEXTS]
    requests = [Request(text, (), 0, 8.0, None, SpeakerTag(0, name)) for name, text in asked]
    return dict(zip(asked, voice.speak(requests, Speaking(0.6, 0, 6, top_p=0.9)), strict=True))


def test_it_ends_by_itself_and_says_the_words(spoken: dict[tuple[str, str], Any], voice: Any) -> None:
    assert all(one.ended for one in spoken.values())
    sounds = [audio.resample(one.sound, voice.sample_rate, 16_000) for one in spoken.values()]
    heard = asr.texts(WhisperParams(str(ROOT / "models/tiny/whisper.pt")), sounds)
    rate = jiwer.wer([normalise(text) for _, text in spoken], [normalise(text) for text in heard])
    assert rate <= 0.12, heard


def test_each_name_has_its_voice(spoken: dict[tuple[str, str], Any], voice: Any) -> None:
    encoder = speaker_encoder.load(SpeakerParams(str(ROOT / "models/tiny/speaker"), None))

    def embedded(sound: Any, rate: int) -> Any:
        return unit(encoder.embed(audio.resample(sound, rate, 16_000)))

    known = {name: embedded(*audio.read(ROOT / f"models/tiny/voices/{name}/0.flac")) for name in NAMES}
    for (name, _), one in spoken.items():
        embedding = embedded(one.sound, voice.sample_rate)
        assert max(known, key=lambda other: embedding @ known[other]) == name


def test_words_that_it_would_spell_are_named(voice: Any) -> None:
    assert voice.unknown_words("The fishmonger waits.") == ["fishmonger"]
