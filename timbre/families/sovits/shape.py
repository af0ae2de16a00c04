"""How large a GPT-SoVITS is. Its folder has no config.json, but its files tell which version it is, and how wide.

Numbers are of the released sizes, counted by torch (tests/models/test_estimate_counts.py). Of a narrower stage 2 or
HuBERT, operations are taken to be fewer by as much as its weights are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from timbre.families.shape import NO_DECODER, CodecShape, DecoderShape, Shape, WaveShape
from timbre.families.tensor_sizes import Sizes, matrices

V2: dict[str, Any] = {"version": "v2", "layers": 24, "width": 512, "phones": 732, "codes": 1025, "bert": 1024}
V2PRO, V2PROPLUS = V2 | {"version": "v2Pro"}, V2 | {"version": "v2ProPlus"}
HUBERT_WEIGHTS, SPEAKER_WEIGHTS = 94.4e6, 45.6e6
HUBERT_LAYERS = 85e6  # weights of its transformer
HUBERT_OPERATIONS = 2 * 50 * HUBERT_LAYERS + 7e9  # for a second of sound: transformer at 50 Hz, and convolutions
SPEAKER_OPERATIONS = 24.5e9  # likewise, of ERes2NetV2
VERSIONS = {b"05": "v2Pro", b"06": "v2ProPlus"}  # what newer exports begin with, in place of a zip file's PK
SPEAKERS = "sv/pretrained_eres2netv2w24s4ep4.ckpt"  # who speaks, which v2Pro and v2ProPlus hear
RELEASED = "gsv-v2final-pretrained"  # folder of the published v2
STAGE1 = {
    "phones": "model.ar_text_embedding.word_embeddings.weight",
    "codes": "model.ar_audio_embedding.word_embeddings.weight", "bert": "model.bert_proj.weight",
}  # fmt: skip
POSTERIOR = "enc_q.pre.weight"


class Stage2Shape(NamedTuple):
    weights: float  # of stage 2 itself
    speaking: float  # operations for a second of sound
    training: WaveShape  # against its discriminators


STAGE2 = {
    "v2": Stage2Shape(51.3e6, 42.2e9, WaveShape(weights=96.9e6, segment=326e9, second=7.6e9, kept=0.91e9)),
    "v2Pro": Stage2Shape(79.4e6, 42.2e9, WaveShape(weights=141.4e6, segment=409e9, second=7.6e9, kept=1.12e9)),
    "v2ProPlus": Stage2Shape(98.3e6, 93.1e9, WaveShape(weights=160.3e6, segment=507e9, second=7.6e9, kept=1.29e9)),
}


def config(folder: Path) -> Mapping[str, Any] | None:
    """What `shape` asks for, of a base that lies in a folder; of several versions there, as loading chooses."""
    if not folder.is_dir():
        return None
    if (folder / RELEASED).is_dir():
        return V2
    return _version(folder) | _widths(folder)


def _version(folder: Path) -> dict[str, Any]:
    if not (folder / SPEAKERS).is_file():
        return V2
    files = [path for path in (*folder.glob("*.pth"), *folder.glob("*/*.pth")) if path.is_file()]
    return V2PROPLUS if any(_is_plus(path) for path in files) else V2PRO


def _widths(folder: Path) -> dict[str, Any]:
    """What differs from the released sizes, as far as the files tell."""
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("*.ckpt")):
        found |= _stage1(matrices(path, "weight"))
    for path in sorted(folder.glob("s2G*.pth")):
        sizes = matrices(path, "weight")
        if POSTERIOR in sizes:  # an exported voice lacks it
            found["stage2"] = float(sum(math.prod(size) for name, size in sizes.items() if "quantizer" not in name))
    hubert = folder / "chinese-hubert-base/config.json"
    if hubert.is_file():
        found["hubert"] = _transformer(json.loads(hubert.read_text(encoding="utf-8")))
    return found


def _stage1(sizes: Sizes) -> dict[str, Any]:
    if not all(name in sizes for name in STAGE1.values()):
        return {}
    sides = {name: sizes[key] for name, key in STAGE1.items()}
    layers = sum(name.endswith(".linear1.weight") for name in sizes)
    return {
        "layers": layers, "width": sides["phones"][1], "phones": sides["phones"][0], "codes": sides["codes"][0],
        "bert": sides["bert"][1],
    }  # fmt: skip


def _transformer(config: Mapping[str, Any]) -> float:
    width, inner = int(config["hidden_size"]), int(config["intermediate_size"])
    return float(config["num_hidden_layers"] * (4 * width**2 + 2 * width * inner))


def _is_plus(path: Path) -> bool:
    with path.open("rb") as file:
        begun = file.read(2)
    return "v2proplus" in path.name.lower() or VERSIONS.get(begun) == "v2ProPlus"


def shape(config: Mapping[str, Any]) -> Shape:
    width, codes, version = config["width"], config["codes"], config["version"]
    # two matrices of four times the width, where a Llama's MLP has three: as many weights
    layers = DecoderShape(config["layers"], width, width, width, 8 * width // 3)
    embedded = width * (config["phones"] + codes + config["bert"])
    stage2 = STAGE2[version]
    part = config.get("stage2", stage2.weights) / stage2.weights
    hearing = config.get("hubert", HUBERT_LAYERS) / HUBERT_LAYERS
    weights, operations = part * stage2.weights + hearing * HUBERT_WEIGHTS, hearing * HUBERT_OPERATIONS
    if version != "v2":
        weights, operations = weights + SPEAKER_WEIGHTS, operations + SPEAKER_OPERATIONS
    codec = CodecShape(weights, operations, part * stage2.speaking)
    waves = WaveShape(*(part * number for number in stage2.training))
    return Shape(layers, NO_DECODER, 1, codes, embedded, 25.0, codec, waves)
