"""Sesame CSM: Llama layers that say the first codebook of each frame, a small decoder for the others, Mimi's sound."""

from __future__ import annotations

from pathlib import Path

from timbre.core.running import loading
from timbre.families import lean_torch
from timbre.families.csm.shape import CSM_1B, shape
from timbre.families.protocol import Cloning, Codec, Family, Precision, Voice, WeightsLicence


def load_voice(base: str, revision: str | None, adapter: Path | None, precision: Precision) -> Voice:
    from timbre.families.csm import model  # torch is loaded here and not before

    with loading(Path(base)):
        return model.load(base, revision, adapter, precision)


def load_speaking(base: str, revision: str | None, adapter: Path | None, precision: Precision) -> Voice:
    lean_torch.load()
    from timbre.families.csm import model

    with loading(Path(base)):
        return model.load_speaking(base, revision, adapter, precision)


def load_codec(base: str, revision: str | None) -> Codec:
    lean_torch.load()
    from timbre.families.csm import codec

    with loading(Path(base)):
        return codec.load(base, revision)


FAMILY = Family(
    name="csm", load=load_voice, cloning=Cloning("turns", (5.0, 10.0)), shape=shape, known={"sesame/csm-1b": CSM_1B},
    licences={"sesame/csm-1b": WeightsLicence("apache-2.0")},
    whole_frames=lambda own: float(own.depth_share), several_adapters=True, load_speaking=load_speaking,
    load_codec=load_codec,
)  # fmt: skip
