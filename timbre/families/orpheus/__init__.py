"""Orpheus: a plain Llama that speaks in SNAC's codes, seven tokens to a coarse frame."""

from __future__ import annotations

from pathlib import Path

from timbre.core.running import loading
from timbre.families.orpheus.shape import ORPHEUS_3B, read_config, shape
from timbre.families.protocol import Cloning, Codec, Family, Precision, Voice, WeightsLicence


def load_voice(base: str, revision: str | None, adapter: Path | None, precision: Precision) -> Voice:
    from timbre.families.orpheus import model  # torch is loaded here and not before

    with loading(Path(base)):
        return model.load(base, revision, adapter, precision)


def load_codec(base: str, revision: str | None) -> Codec:
    from timbre.families.orpheus import model

    with loading(Path(base) / "snac"):
        return model.load_codec(base, revision)


KNOWN = tuple(f"canopylabs/orpheus-3b-0.1-{kind}" for kind in ("pretrained", "ft"))
LLAMA = "they are on top of Llama 3.2, whose community licence asks to name it and bars some uses"
FAMILY = Family(
    name="orpheus", load=load_voice, cloning=Cloning("turns", (3.0, 10.0)), shape=shape, marks=("name",),
    config=read_config, load_codec=load_codec,
    known=dict.fromkeys(KNOWN, ORPHEUS_3B),
    licences=dict.fromkeys(KNOWN, WeightsLicence("apache-2.0", LLAMA)),
)  # fmt: skip
