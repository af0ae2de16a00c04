"""The weights of a CTranslate2 model (faster-whisper's folders) as openai-whisper's, so that one folder serves both.

    model.bin: version, name, revision; then each variable as name, shape, type, bytes; then aliases
    config.json: which attention heads follow the words

Only plain numbers are read: float32, float16, bfloat16, and int8 or int16 with their scales.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from timbre.core.errors import ModelError

Tensors = dict[str, npt.NDArray[Any]]

FORMAT = 6  # of the file; CTranslate2 has written this since 2022
TYPES = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2", 5: "<u2"}  # bfloat16 has no type of its own in numpy
BFLOAT16 = 5

_BLOCKS = {
    "self_attention/layer_norm": "attn_ln",
    "self_attention/linear_1": "attn.out",
    "attention/layer_norm": "cross_attn_ln",
    "attention/linear_0": "cross_attn.query",
    "attention/linear_2": "cross_attn.out",
    "ffn/layer_norm": "mlp_ln",
    "ffn/linear_0": "mlp.0",
    "ffn/linear_1": "mlp.2",
}
_JOINED = {  # one matrix here, several there; keys have no bias
    "self_attention/linear_0": ("attn.query", "attn.key", "attn.value"),
    "attention/linear_1": ("cross_attn.key", "cross_attn.value"),
}
_ALONE = {
    "encoder/conv1": "encoder.conv1",
    "encoder/conv2": "encoder.conv2",
    "encoder/layer_norm": "encoder.ln_post",
    "decoder/layer_norm": "decoder.ln",
    "encoder/position_encodings/encodings": "encoder.positional_embedding",
    "decoder/position_encodings/encodings": "decoder.positional_embedding",
    "decoder/embeddings/weight": "decoder.token_embedding.weight",
}
_PARTS = {"gamma": "weight", "beta": "bias", "weight": "weight", "bias": "bias"}
_LAYER = re.compile(r"(encoder|decoder)/layer_(\d+)/(\w+/\w+)/(gamma|beta|weight|bias)")


def is_folder(model: str) -> bool:
    return (Path(model) / "model.bin").is_file()


def dimensions(tensors: Tensors) -> dict[str, int]:
    """What openai-whisper calls ModelDimensions."""
    layers = {
        side: 1 + max(int(m[2]) for name in tensors if (m := _LAYER.match(name)) and m[1] == side)
        for side in ("encoder", "decoder")
    }
    state, mels, _ = tensors["encoder/conv1/weight"].shape
    vocabulary, text_state = tensors["decoder/embeddings/weight"].shape
    return {
        "n_mels": mels,
        "n_audio_ctx": tensors["encoder/position_encodings/encodings"].shape[0],
        "n_audio_state": state,
        "n_audio_head": int(tensors["encoder/num_heads"]),
        "n_audio_layer": layers["encoder"],
        "n_vocab": vocabulary,
        "n_text_ctx": tensors["decoder/position_encodings/encodings"].shape[0],
        "n_text_state": text_state,
        "n_text_head": int(tensors["decoder/num_heads"]),
        "n_text_layer": layers["decoder"],
    }


def read(folder: Path) -> tuple[dict[str, int], Tensors, list[tuple[int, int]]]:
    """Dimensions, weights under openai-whisper's names, and the heads that follow the words (layer, head)."""
    try:
        with (folder / "model.bin").open("rb") as file:
            tensors = dict(_variables(file))
        heads = json.loads((folder / "config.json").read_bytes()).get("alignment_heads", [])
        return dimensions(tensors), dict(_renamed(tensors)), [(layer, head) for layer, head in heads]
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise ModelError(f"{folder}: is not a CTranslate2 folder of Whisper ({error}); bring the right one") from error


def _variables(file: BinaryIO) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    (form,) = struct.unpack("<I", file.read(4))
    kind = _text(file)
    if form != FORMAT or kind != "WhisperSpec":
        raise ValueError(f"format {form} of {kind}, not {FORMAT} of WhisperSpec")
    _revision, count = struct.unpack("<II", file.read(8))
    for _ in range(count):
        name = _text(file)
        (rank,) = struct.unpack("<B", file.read(1))
        shape = struct.unpack(f"<{rank}I", file.read(4 * rank))
        code, size = struct.unpack("<BI", file.read(5))
        values = np.frombuffer(file.read(size), TYPES[code]).reshape(shape)
        if code == BFLOAT16:
            values = (values.astype("<u4") << 16).view("<f4")
        yield name, values


def _text(file: BinaryIO) -> str:
    (length,) = struct.unpack("<H", file.read(2))
    return file.read(length).rstrip(b"\0").decode()


def _renamed(tensors: Tensors) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    for name in tensors:
        if name.endswith("_scale") or not tensors[name].ndim:
            continue
        values = _whole(tensors, name)
        stem, _, part = name.rpartition("/")
        if match := _LAYER.fullmatch(name):
            before = f"{match[1]}.blocks.{match[2]}"
            if names := _JOINED.get(match[3]):
                rows = values.reshape(len(names), -1, *values.shape[1:])
                for one, own in zip(names, rows, strict=True):
                    if not (part == "bias" and one.endswith("key")):
                        yield f"{before}.{one}.{part}", own
            else:
                yield f"{before}.{_BLOCKS[match[3]]}.{_PARTS[part]}", values
        elif name in _ALONE:
            yield _ALONE[name], values
        elif stem in _ALONE:
            yield f"{_ALONE[stem]}.{_PARTS[part]}", values


def _whole(tensors: Tensors, name: str) -> npt.NDArray[np.float32]:
    """In single precision; whole numbers were multiplied by a scale for each row, or by one for all."""
    values = tensors[name].astype(np.float32)
    scale = tensors.get(f"{name}_scale")
    if scale is None:
        return values
    return np.asarray(values / scale.astype(np.float32).reshape(-1, *[1] * (values.ndim - 1)), np.float32)
