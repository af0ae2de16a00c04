"""The tiny GPT-SoVITS in git: after a reference it says what it is asked to, in the reference's voice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jiwer
import pytest

from tests.support.paths import ROOT
from timbre import asr, audio, families
from timbre.asr.normalising import normalise
from timbre.core.sections import SpeakerParams, VoiceParams, WhisperParams
from timbre.evaluation import speaker_encoder
from timbre.evaluation.speaker_encoder import unit
from timbre.families import Request, Speaking, Turn

BASE, VOICES = ROOT / "models/tiny/sovits", ROOT / "models/tiny/voices"
TEXTS = ("The night ferry to Dublin departs from pier seven.", "Music with the captain after twelve.",
         "The quiet captain returns to the station with coffee.")  # fmt: skip
NAMES = ("angus", "mira")  # voices that sound least alike
EAR = WhisperParams(str(ROOT / "models/tiny/whisper.pt"))


@pytest.fixture(scope="module")
def voice() -> Any:
    return families.load(VoiceParams("sovits", str(BASE), None))


@pytest.fixture(scope="module")
def references(voice: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Turn]:
    """A recording of each voice, with the words that Whisper hears."""
    folder, made = tmp_path_factory.mktemp("references"), {}
    for name in NAMES:
        piece, rate = audio.read(VOICES / name / "0.flac")
        sound = audio.resample(piece, rate, voice.sample_rate)
        path = Path(folder / f"{name}.flac")
        path.write_bytes(audio.flac_bytes(sound, voice.sample_rate))
        words = asr.texts(EAR, [audio.resample(sound, voice.sample_rate, 16_000)])[0]
        made[name] = Turn(words, voice.encode([audio.read(path, voice.sample_rate)[0]])[0], clip=path)
    return made


@pytest.fixture(scope="module")
def spoken(voice: Any, references: dict[str, Turn]) -> dict[tuple[str, str], Any]:
    asked = [(name, text) for name in NAMES for text in TEXTS]
    requests = [Request(text, (references[name],), 0, 8.0) for name, text in asked]
    return dict(zip(asked, voice.speak(requests, Speaking(0.4, 0, 6, top_p=0.9)), strict=True))


def test_after_a_reference_it_ends_by_itself_and_says_the_words(spoken: dict[tuple[str, str], Any], voice: Any) -> None:
    assert all(one.ended for one in spoken.values())
    sounds = [audio.resample(one.sound, voice.sample_rate, 16_000) for one in spoken.values()]
    heard = asr.texts(EAR, sounds)
    rate = jiwer.wer([normalise(text) for _, text in spoken], [normalise(text) for text in heard])
    assert rate <= 0.2, heard


def test_it_takes_the_voice_of_the_reference(spoken: dict[tuple[str, str], Any], voice: Any) -> None:
    encoder = speaker_encoder.load(SpeakerParams(str(ROOT / "models/tiny/speaker"), None))

    def embedded(sound: Any, rate: int) -> Any:
        return unit(encoder.embed(audio.resample(sound, rate, 16_000)))

    known = {name: embedded(*audio.read(VOICES / name / "0.flac")) for name in NAMES}
    for (name, _), one in spoken.items():
        embedding = embedded(one.sound, voice.sample_rate)
        assert max(known, key=lambda other: embedding @ known[other]) == name
