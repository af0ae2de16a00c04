"""CSM from a folder or the hub, whole or not at all, on its device and in its precision."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

from timbre.core.errors import ModelError
from timbre.families import lean_transformers
from timbre.families.csm.eight_bits import shrink
from timbre.families.int8 import kind_for
from timbre.families.precision import cast, device_for, dtype_of
from timbre.families.protocol import Precision
from timbre.families.published import SAFE, WEIGHTS, harmless, quiet, told

CODEC = r"^codec_model\."  # before the names of its weights
HEARD = "backbone_model.embed_tokens.embed_audio_tokens.weight"  # shares the depth decoder's


def whole_model(base: str, revision: str | None) -> tuple[Any, Any]:
    """A CsmForConditionalGeneration and its tokenizer."""
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # peft's calls, not ours
    quiet()
    with told(base):
        return from_pretrained(base, _where(base, revision))


def whole_codec(base: str, revision: str | None) -> tuple[Any, int]:
    """Its MimiModel alone, on its device, and how many of the codebooks are spoken."""
    where = _where(base, revision)
    quiet()
    with told(base), lean_transformers.uncompiled():
        from transformers import MimiModel

        config = read_config(base, where)
        codec = config.codec_config
        codec.transformers_weights = getattr(config, "transformers_weights", None)  # the file, where it is named
        model, report = MimiModel.from_pretrained(
            base, config=codec, dtype=torch.float32, key_mapping={CODEC: ""}, output_loading_info=True,
            **WEIGHTS, **where,
        )  # fmt: skip
        _refuse(sorted(set(report["missing_keys"]) & {name for name, _ in model.named_parameters()}))
    return model.to(device_for("auto")).eval(), int(config.num_codebooks)


def _where(base: str, revision: str | None) -> dict[str, Any]:
    return {} if Path(base).is_dir() else {"revision": revision}


def _refuse(missing: list[str]) -> None:
    """Weights that transformers would fill with noise."""
    if missing:
        raise ValueError(f"it lacks {len(missing)} weights, first {missing[0]}")


def from_pretrained(base: str, where: dict[str, Any]) -> tuple[Any, Any]:
    lean_transformers.load()
    with lean_transformers.uncompiled():
        from transformers import AutoTokenizer, CsmForConditionalGeneration

        config = read_config(base, where)
        tokenizer = AutoTokenizer.from_pretrained(base, **SAFE, **where)
        model, report = CsmForConditionalGeneration.from_pretrained(
            base, config=config, dtype=torch.float32, output_loading_info=True, **WEIGHTS, **where
        )
    shared = {HEARD} if tie(model) else set()
    decoders = ("backbone_", "depth_", "lm_head")
    _refuse(sorted(name for name in set(report["missing_keys"]) - shared if name.startswith(decoders)))
    return model, tokenizer


def read_config(base: str, where: dict[str, Any]) -> Any:
    from transformers import CsmConfig

    content, _ = CsmConfig.get_config_dict(base, **where)
    if (kind := content.get("model_type")) != "csm":
        raise ModelError(f"voice.base: {base} is a {kind} model, not csm; see voice.family")
    # what newer releases write beside tie_codebooks_embeddings, older ones refuse
    content.pop("tie_word_embeddings", None)
    return CsmConfig.from_dict(harmless(content))


def tie(model: Any) -> bool:
    """Let the backbone hear with the depth decoder's embeddings, where the model says so: some releases of
    transformers leave its own random on loading."""
    if tied := bool(model.config.tie_codebooks_embeddings):
        model.backbone_model.embed_tokens.embed_audio_tokens.weight = model.depth_decoder.model.embed_tokens.weight
    return tied


def prepare(model: Any, precision: Precision) -> Any:
    """The model on its device in its precision, to be evaluated."""
    device = device_for(precision, int8_on_gpu=True)
    if precision == "int8":
        shrink(model, kind_for(device))
    if dtype_of(precision, device) == torch.bfloat16:
        for part in model.children():
            if part is not model.codec_model:  # convolutions in half precision are coarse, and wrong on some CPUs
                cast(part, torch.bfloat16)
    return model.to(device).eval()
