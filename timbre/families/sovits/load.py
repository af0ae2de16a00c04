"""GPT-SoVITS' checkpoints, whole or not at all: released ones, and voices that its tools exported.

s1*.ckpt     stage 1: `weight` (half precision), `config`, `info`
s2G*.pth     stage 2, likewise; an exported voice lacks the posterior `enc_q`, so it speaks and is trained no further
s2D*.pth     the discriminators
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from timbre.core.errors import ModelError
from timbre.families.checkpoints import fit, missing, plain, read, renamed, size, tensors, under, without
from timbre.families.sovits.discriminators import PERIODS, WAVE_LAYERS, Discriminators
from timbre.families.sovits.stage1 import BERT, Stage1
from timbre.families.sovits.stage2 import Stage2

CONFIG_CLASS = "utils.HParams"  # of upstream, which stage 2's files pickle
PHONES = 732  # symbols of v2 and v2Pro; v1 has 322
VERSIONS = {b"05": "v2Pro"}  # what newer exports begin with, in place of a zip file's PK
REFUSED = {
    b"00": "v1", b"01": "v2, of a kind that begins with 01", b"02": "v3", b"03": "v3 with LoRA", b"04": "v4 with LoRA",
    b"06": "v2ProPlus",
}  # fmt: skip
ZIP = b"PK"
LAYERS = {"in_proj_": "in_proj."}  # torch's attention keeps its input projection as bare tensors
NORMS = {".weight_g": ".parametrizations.weight.original0", ".weight_v": ".parametrizations.weight.original1"}
QUANTISER = "quantizer.vq.layers.0._codebook."
POSTERIOR = "enc_q."


class SovitsFile(NamedTuple):
    weight: dict[str, Tensor]
    config: dict[str, Any]
    path: Path


def read_file(path: Path) -> SovitsFile:
    """`weight` and `config` of a stage's file."""
    if not path.is_file():
        raise missing(path)
    with path.open("rb") as file:
        head = file.read(2)
    if head in REFUSED:
        raise ModelError(f"{path} is of GPT-SoVITS {REFUSED[head]}; v2 and v2Pro are supported here")
    content = ZIP + path.read_bytes()[2:] if head in VERSIONS else None
    saved = read(path, (CONFIG_CLASS,), content=content)
    if not isinstance(saved, Mapping) or "weight" not in saved:
        raise ModelError(f"{path} holds no `weight`; is it a checkpoint of GPT-SoVITS?")
    weight = tensors(saved["weight"], path)
    if any(key.startswith(("cfm.", "bridge.")) for key in weight):
        raise ModelError(f"{path} is of GPT-SoVITS v3 or v4, which make sound in another way; take v2 or v2Pro")
    return SovitsFile(weight, plain(saved.get("config", {})), path)


def stage1_of(file: SovitsFile) -> Stage1:
    state = renamed(under(file.weight, "model."), LAYERS)
    sizes = section(file, "model", ("hidden_dim", "vocab_size", "head", "n_layer", "EOS", "phoneme_vocab_size"))
    supported(sizes["phoneme_vocab_size"], file.path)
    if size(state, "bert_proj.weight", 1, file.path) != BERT:
        raise ModelError(f"{file.path} hears another text model than chinese-roberta-wwm-ext-large")
    model = Stage1(sizes)
    fit(model, state, str(file.path))
    model.eval()
    return model


def stage2_of(file: SovitsFile) -> Stage2:
    sizes = section(file, "model", ("hidden_channels", "inter_channels", "gin_channels", "upsample_rates"))
    section(file, "train", ("segment_size",))
    sizes.setdefault("version", "v2")
    phones = size(file.weight, "enc_p.text_embedding.weight", 0, file.path)
    supported(phones, file.path)
    if (gated := "sv_emb.weight" in file.weight) != ("Pro" in sizes["version"]) or sizes["version"] == "v2ProPlus":
        of_weights = "v2Pro" if gated else "v2"
        raise ModelError(
            f"{file.path} says {sizes['version']}, its weights are of {of_weights}; v2 and v2Pro are supported"
        )
    state = renamed(without(file.weight, [QUANTISER]), NORMS)
    state["codebook"] = codebook(file)
    model = Stage2(file.config, phones)
    if exported(file):
        model.enc_q = None
    fit(model, state, str(file.path))
    model.eval()
    return model


def exported(file: SovitsFile) -> bool:
    """Whether the posterior is left out, without which a voice only speaks."""
    return not any(key.startswith(POSTERIOR) for key in file.weight)


def codebook(file: SovitsFile) -> Tensor:
    """The quantiser's codes; what else lies beside them only served to train it."""
    key = f"{QUANTISER}embed"
    if key not in file.weight:
        raise ModelError(f"{file.path} lacks {key}; is it another model's file?")
    return file.weight[key]


def discriminators_of(file: SovitsFile, version: str) -> Discriminators:
    widest = size(file.weight, "discriminators.0.convs.5.bias", 0, file.path)
    model = Discriminators(PERIODS[version], WAVE_LAYERS[-1][0] // widest)
    fit(model, renamed(file.weight, NORMS), f"{file.path}, as the discriminators of {version},")
    model.eval()
    return model


def section(file: SovitsFile, name: str, keys: tuple[str, ...]) -> dict[str, Any]:
    content = file.config.get(name)
    lacking = [key for key in keys if not isinstance(content, dict) or key not in content]
    if lacking:
        raise ModelError(f"{file.path}: its config lacks {name}.{lacking[0]}; is it of this stage, and of v2 or v2Pro?")
    assert isinstance(content, dict)
    return content


def supported(phones: int, path: Path) -> None:
    if phones != PHONES:
        raise ModelError(
            f"{path} knows {phones} phones: GPT-SoVITS v1; v2 and v2Pro, which know {PHONES}, are supported"
        )


def half(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As upstream keeps weights."""
    return {key: value.detach().cpu().to(torch.float16) for key, value in state.items()}
