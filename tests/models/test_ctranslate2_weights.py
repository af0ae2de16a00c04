"""A folder of CTranslate2 as openai-whisper's model: the same weights, under the other's names."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from whisper.model import ModelDimensions, Whisper

from timbre import asr
from timbre.asr import ctranslate2_weights
from timbre.core.errors import ModelError
from timbre.core.sections import WhisperParams

SIZE = ModelDimensions(80, 1500, 16, 2, 2, 51864, 448, 16, 2, 2)
HEADS = [[1, 0]]
RENAMED = {
    "attn_ln": "self_attention/layer_norm", "attn.out": "self_attention/linear_1", "mlp_ln": "ffn/layer_norm",
    "cross_attn_ln": "attention/layer_norm", "cross_attn.query": "attention/linear_0",
    "cross_attn.out": "attention/linear_2", "mlp.0": "ffn/linear_0", "mlp.2": "ffn/linear_1",
}  # fmt: skip
ALONE = {"encoder.ln_post": "encoder/layer_norm", "decoder.ln": "decoder/layer_norm"}


def as_ctranslate2(model: Whisper) -> dict[str, npt.NDArray[Any]]:
    """The variables of its file, in its own names."""
    state = {name: values.numpy() for name, values in model.state_dict().items()}
    found: dict[str, npt.NDArray[Any]] = {
        "encoder/num_heads": np.int16(2),
        "decoder/num_heads": np.int16(2),
        "encoder/position_encodings/encodings": state["encoder.positional_embedding"],
        "decoder/position_encodings/encodings": state["decoder.positional_embedding"],
        "decoder/embeddings/weight": state["decoder.token_embedding.weight"],
    }
    for conv in ("conv1", "conv2"):
        found |= {f"encoder/{conv}/{part}": state[f"encoder.{conv}.{part}"] for part in ("weight", "bias")}
    for here, there in ALONE.items():
        found |= normed(there, state, here)
    for side in ("encoder", "decoder"):
        for layer in range(2):
            here, there = f"{side}.blocks.{layer}", f"{side}/layer_{layer}"
            for own, other in RENAMED.items():
                if f"{here}.{own}.weight" in state:
                    norm = normed if own.endswith("ln") else plain
                    found |= norm(f"{there}/{other}", state, f"{here}.{own}")
            found |= joined(f"{there}/self_attention/linear_0", state, f"{here}.attn", ("query", "key", "value"))
            if side == "decoder":
                found |= joined(f"{there}/attention/linear_1", state, f"{here}.cross_attn", ("key", "value"))
    return found


def normed(name: str, state: Any, own: str) -> dict[str, Any]:
    return {f"{name}/gamma": state[f"{own}.weight"], f"{name}/beta": state[f"{own}.bias"]}


def plain(name: str, state: Any, own: str) -> dict[str, Any]:
    return {f"{name}/{part}": state[f"{own}.{part}"] for part in ("weight", "bias")}


def joined(name: str, state: Any, own: str, parts: tuple[str, ...]) -> dict[str, Any]:
    biases = [state.get(f"{own}.{part}.bias", np.zeros(SIZE.n_text_state, np.float32)) for part in parts]
    weights = [state[f"{own}.{part}.weight"] for part in parts]
    return {f"{name}/weight": np.concatenate(weights), f"{name}/bias": np.concatenate(biases)}


def in_eight_bits(variables: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    found = dict(variables)
    for name, values in variables.items():
        if "linear" in name and name.endswith("weight"):
            scale = (127 / np.abs(values).max(axis=1)).astype(np.float32)
            found |= {name: np.rint(values * scale[:, None]).astype(np.int8), f"{name}_scale": scale}
    return found


def text(value: str) -> bytes:
    return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"


def write(folder: Path, variables: dict[str, npt.NDArray[Any]], form: int = 6) -> Path:
    folder.mkdir()
    codes = {np.dtype(np.float32): 0, np.dtype(np.int8): 1, np.dtype(np.int16): 2, np.dtype(np.float16): 4}
    content = struct.pack("<I", form) + text("WhisperSpec") + struct.pack("<II", 3, len(variables))
    for name, values in variables.items():
        content += text(name) + struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)
        content += struct.pack("<BI", codes[values.dtype], values.nbytes) + values.tobytes()
    (folder / "model.bin").write_bytes(content + struct.pack("<I", 0))
    (folder / "config.json").write_text(json.dumps({"alignment_heads": HEADS}))
    return folder


@pytest.fixture(scope="module")
def model() -> Whisper:
    torch.manual_seed(0)
    made = Whisper(SIZE)
    torch.nn.init.normal_(made.decoder.positional_embedding)
    return made


def test_the_weights_come_back_as_they_were(model: Whisper, tmp_path: Path) -> None:
    loaded = asr.load(WhisperParams(str(write(tmp_path / "float", as_ctranslate2(model)))))
    assert loaded.dims == SIZE
    for name, values in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], values), name
    assert loaded.alignment_heads.indices().T.tolist() == HEADS


def test_weights_in_eight_bits_are_as_near_as_eight_bits_allow(model: Whisper, tmp_path: Path) -> None:
    folder = write(tmp_path / "int8", in_eight_bits(as_ctranslate2(model)))
    _, weights, _ = ctranslate2_weights.read(folder)
    name = "decoder.blocks.1.attn.query.weight"
    own = model.state_dict()[name].numpy()
    assert np.abs(weights[name] - own).max() <= np.abs(own).max() / 127


def test_a_folder_is_known_by_its_weights(model: Whisper, tmp_path: Path) -> None:
    folder = write(tmp_path / "float", as_ctranslate2(model))
    before = asr.fingerprint(WhisperParams(str(folder)))
    (folder / "model.bin").write_bytes(b"other")
    assert asr.fingerprint(WhisperParams(str(folder))) != before


def test_what_is_no_such_folder_is_refused_by_name(model: Whisper, tmp_path: Path) -> None:
    older = write(tmp_path / "older", {}, form=5)
    with pytest.raises(ModelError, match=r"older: is not a CTranslate2 folder of Whisper \(format 5 of WhisperSpec"):
        asr.load(WhisperParams(str(older)))
    some = {name: values for name, values in as_ctranslate2(model).items() if "conv2" not in name}
    with pytest.raises(ModelError, match="lacks weights of Whisper"):
        asr.load(WhisperParams(str(write(tmp_path / "some", some))))
