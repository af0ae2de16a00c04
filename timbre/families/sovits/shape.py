"""How large a GPT-SoVITS is. Its folder has no config.json, but a version's sizes never differ, and files tell which.

Numbers are of the released sizes, counted by torch (tests/models/test_estimate_counts.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from timbre.families.shape import NO_DECODER, CodecShape, DecoderShape, Shape, WaveShape

V2: dict[str, Any] = {"version": "v2", "layers": 24, "width": 512, "phones": 732, "codes": 1025, "bert": 1024}
V2PRO, V2PROPLUS = V2 | {"version": "v2Pro"}, V2 | {"version": "v2ProPlus"}
HUBERT_WEIGHTS, SPEAKER_WEIGHTS = 94.4e6, 45.6e6
HUBERT_OPERATIONS = 2 * 50 * 85e6 + 7e9  # for a second of sound: its transformer at 50 Hz, and its convolutions
SPEAKER_OPERATIONS = 24.5e9  # likewise, of ERes2NetV2
VERSIONS = {b"05": "v2Pro", b"06": "v2ProPlus"}  # what newer exports begin with, in place of a zip file's PK
SPEAKERS = "sv/pretrained_eres2netv2w24s4ep4.ckpt"  # who speaks, which v2Pro and v2ProPlus hear
RELEASED = "gsv-v2final-pretrained"  # folder of the published v2


class Stage2Shape(NamedTuple):
    weights: float  # of stage 2 itself
    training: WaveShape  # against its discriminators


STAGE2 = {
    "v2": Stage2Shape(51.3e6, WaveShape(weights=96.9e6, segment=326e9, second=7.6e9, kept=0.91e9)),
    "v2Pro": Stage2Shape(79.4e6, WaveShape(weights=141.4e6, segment=409e9, second=7.6e9, kept=1.12e9)),
    "v2ProPlus": Stage2Shape(98.3e6, WaveShape(weights=160.3e6, segment=507e9, second=7.6e9, kept=1.29e9)),
}


def config(folder: Path) -> Mapping[str, Any] | None:
    """What `shape` asks for, of a base that lies in a folder; of several versions there, as loading chooses."""
    if not folder.is_dir():
        return None
    if (folder / RELEASED).is_dir() or not (folder / SPEAKERS).is_file():
        return V2
    files = [path for path in (*folder.glob("*.pth"), *folder.glob("*/*.pth")) if path.is_file()]
    return V2PROPLUS if any(_is_plus(path) for path in files) else V2PRO


def _is_plus(path: Path) -> bool:
    with path.open("rb") as file:
        begun = file.read(2)
    return "v2proplus" in path.name.lower() or VERSIONS.get(begun) == "v2ProPlus"


def shape(config: Mapping[str, Any]) -> Shape:
    width, codes, version = config["width"], config["codes"], config["version"]
    # two matrices of four times the width, where a Llama's MLP has three: as many weights
    layers = DecoderShape(config["layers"], width, width, width, 8 * width // 3)
    embedded = width * (config["phones"] + codes + config["bert"])
    weights, operations = STAGE2[version].weights + HUBERT_WEIGHTS, HUBERT_OPERATIONS
    if version != "v2":
        weights, operations = weights + SPEAKER_WEIGHTS, operations + SPEAKER_OPERATIONS
    codec = CodecShape(weights, operations)
    return Shape(layers, NO_DECODER, 1, codes, embedded, 25.0, codec, STAGE2[version].training)
