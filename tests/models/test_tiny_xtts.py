"""The tiny XTTS in git: it says what it is asked to, as a speaker who comes with it and in the voice of a clip."""

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
from timbre.families import Request, Speaking, Spoken, Turn
from timbre.families.xtts.hearing import Identity

TEXTS = ("The night ferry to Dublin departs from pier seven.", "Music with the captain after twelve.",
         "The quiet captain returns to the station with coffee.")  # fmt: skip
NAMES = ("angus", "mira")  # voices of models/tiny/voices that sound least alike
HOW = Speaking(0.6, 0, 6, top_p=0.9)


@pytest.fixture(scope="module")
def voice() -> Any:
    return families.load(VoiceParams("xtts", str(ROOT / "models/tiny/xtts"), None))


@pytest.fixture(scope="module")
def encoder() -> Any:
    return speaker_encoder.load(SpeakerParams(str(ROOT / "models/tiny/speaker"), None))


def said(voice: Any, context: tuple[Turn, ...] = ()) -> list[Spoken]:
    return list(voice.speak([Request(text, context, 0, 8.0) for text in TEXTS], HOW))


def wrong(voice: Any, spoken: list[Spoken]) -> float:
    sounds = [audio.resample(one.sound, voice.sample_rate, 16_000) for one in spoken]
    heard = asr.texts(WhisperParams(str(ROOT / "models/tiny/whisper.pt")), sounds)
    return float(jiwer.wer([normalise(text) for text in TEXTS], [normalise(text) for text in heard]))


def nearest(encoder: Any, sound: Any, rate: int) -> str:
    def embedded(sound: Any, rate: int) -> Any:
        return unit(encoder.embed(audio.resample(sound, rate, 16_000)))

    known = {name: embedded(*audio.read(ROOT / f"models/tiny/voices/{name}/0.flac")) for name in NAMES}
    return max(known, key=lambda name: float(embedded(sound, rate) @ known[name]))


@pytest.mark.parametrize("name", NAMES)
def test_a_stock_speaker_says_the_words_and_is_known_by_the_voice(voice: Any, encoder: Any, name: str) -> None:
    voice.identity = Identity(*voice.stock[name])
    spoken = said(voice)
    assert all(one.ended for one in spoken)
    assert wrong(voice, spoken) <= 0.15
    assert [nearest(encoder, one.sound, voice.sample_rate) for one in spoken] == [name] * len(TEXTS)


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_is_enough_to_take_its_voice(voice: Any, encoder: Any, name: str) -> None:
    clip, rate = audio.read(ROOT / f"models/tiny/voices/{name}/1.flac")
    codes = voice.encode([audio.resample(clip, rate, voice.hearing_rate)])[0]
    spoken = said(voice, (Turn("", codes),))
    assert wrong(voice, spoken) <= 0.15
    assert [nearest(encoder, one.sound, voice.sample_rate) for one in spoken] == [name] * len(TEXTS)
