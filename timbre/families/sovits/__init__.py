"""GPT-SoVITS v2 and v2Pro: stage 1 says semantic codes after phones, stage 2 speaks them in a reference's voice."""

from __future__ import annotations

from pathlib import Path

from timbre.core.running import loading
from timbre.families.protocol import Cloning, Codec, Family, Precision, Voice, WeightsLicence
from timbre.families.sovits.shape import V2, V2PRO, V2PROPLUS, config, shape

SPOKEN = ("en",)  # languages whose text front end is here
FRONT_END = "sovits 1.1"  # raised when the same text gives other phones: see text.py and ../english.py


def load_voice(base: str, revision: str | None, adapter: Path | None, precision: Precision) -> Voice:
    from timbre.families.sovits import voice  # torch is loaded here and not before

    with loading(Path(base)):
        return voice.load(base, revision, adapter, precision)


def load_codec(base: str, revision: str | None) -> Codec:
    from timbre.families.sovits import voice

    with loading(Path(base)):
        return voice.load_codec(base, revision)


FAMILY = Family(
    name="sovits", load=load_voice, cloning=Cloning("sound and words", (3.0, 10.0), without=False), shape=shape,
    known={"lj1995/GPT-SoVITS": V2, "GPT-SoVITS-v2Pro": V2PRO, "GPT-SoVITS-v2ProPlus": V2PROPLUS}, config=config,
    licences={"lj1995/GPT-SoVITS": WeightsLicence("mit")},
    languages=SPOKEN, marks=("language",), front_end=FRONT_END, load_codec=load_codec,
)  # fmt: skip
