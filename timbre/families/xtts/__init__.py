"""Coqui XTTS-v2: a GPT-2 says sound codes after a reference's latents and text; a vocoder is fed by its states."""

from __future__ import annotations

from pathlib import Path

from timbre.core.running import loading
from timbre.families import lean_transformers
from timbre.families.protocol import Cloning, Family, Precision, Voice, WeightsLicence
from timbre.families.xtts.shape import XTTS_V2, read_config, shape

SPOKEN = ("en",)  # languages whose text front end is here; the model speaks sixteen
FRONT_END = "xtts 1.1"  # raised when the same text gives other tokens: see text.py and ../english.py


def load_voice(base: str, revision: str | None, adapter: Path | None, precision: Precision) -> Voice:
    lean_transformers.load()
    from timbre.families.xtts import voice  # torch is loaded here and not before

    with loading(Path(base)):
        return voice.load(base, revision, adapter, precision)


CPML = WeightsLicence(
    "coqui-public-model-license",
    "Coqui allows non-commercial use only, of the weights, of a voice made from them and of what it says",
    commercial=False,
)
FAMILY = Family(
    name="xtts", load=load_voice, cloning=Cloning("sound", (6.0, 30.0), without=False), shape=shape,
    known={"coqui/XTTS-v2": XTTS_V2}, config=read_config, licences={"coqui/XTTS-v2": CPML},
    languages=SPOKEN, marks=("language",), front_end=FRONT_END,
)  # fmt: skip
