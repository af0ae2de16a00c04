"""CSM from a folder or the hub, whole or not at all, and an adapter added to its weights."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from timbre.errors import ModelError
from timbre.families import Precision


def from_pretrained(base: str, where: dict[str, Any]) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoTokenizer, CsmForConditionalGeneration

    config = AutoConfig.from_pretrained(base, **where)
    if config.model_type != "csm":
        raise ModelError(f"voice.base: {base} is a {config.model_type} model, not csm; see voice.family")
    tokenizer = AutoTokenizer.from_pretrained(base, **where)
    model, report = CsmForConditionalGeneration.from_pretrained(
        base, dtype=torch.float32, output_loading_info=True, **where
    )
    missing = sorted(name for name in report["missing_keys"] if name.startswith(("backbone_", "depth_", "lm_head")))
    if missing:  # transformers fills them with noise
        raise ValueError(f"it lacks {len(missing)} weights, first {missing[0]}")
    return model, tokenizer


def dtype_of(precision: Precision, device: torch.device) -> torch.dtype:
    half = precision == "bf16" or (precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported())
    return torch.bfloat16 if half else torch.float32


def check_tied(model: Any, base: str) -> None:
    """Some releases of transformers left the backbone's audio embedding random on loading."""
    heard = model.backbone_model.embed_tokens.embed_audio_tokens.weight
    if heard.data_ptr() != model.depth_decoder.model.embed_tokens.weight.data_ptr():
        raise ModelError(f"voice.base: {base}: audio embeddings are not tied; use transformers of constraints.txt")


def merged(model: Any, adapter: Path) -> Any:
    """The adapter added to the weights, in single precision: no cost in speaking, and no rounding of small changes."""
    from peft import PeftModel

    try:
        with warnings.catch_warnings():  # peft would only warn, and speak with what it found
            warnings.filterwarnings("error", message="Found missing adapter keys")
            worn = PeftModel.from_pretrained(model, str(adapter))
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError, UserWarning) as error:
        reason = str(error).strip().splitlines()[0][:100]
        raise ModelError(f"{adapter} does not fit the base model ({reason}); run `dvc repro -f train`") from error
    if not any(bool(weight.any()) for name, weight in worn.named_parameters() if "lora_B" in name):
        raise ModelError(f"{adapter} changes nothing in the base model; run `dvc repro -f train`")
    return worn.merge_and_unload()
