"""What XTTS' config.json says, as far as the model needs it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from timbre.core.errors import ModelError
from timbre.families.checkpoints import missing


class GptArgs(BaseModel):
    """`model_args`: sizes and special ids of the language model."""

    gpt_layers: int
    gpt_n_model_channels: int
    gpt_n_heads: int
    gpt_max_audio_tokens: int  # codes of a sequence
    gpt_max_text_tokens: int
    gpt_max_prompt_tokens: int
    gpt_start_text_token: int | None = None  # older files name neither; then 261 and 0
    gpt_stop_text_token: int | None = None
    gpt_num_audio_tokens: int  # with start and stop
    gpt_start_audio_token: int
    gpt_stop_audio_token: int
    gpt_code_stride_len: int = 1024  # samples per code
    gpt_use_perceiver_resampler: bool = False

    @property
    def start_text(self) -> int:
        return 261 if self.gpt_start_text_token is None else self.gpt_start_text_token

    @property
    def stop_text(self) -> int:
        return 0 if self.gpt_stop_text_token is None else self.gpt_stop_text_token


class XttsSettings(BaseModel):
    """config.json: sizes, and how a reference is heard."""

    model_args: GptArgs
    languages: list[str] = ["en"]
    gpt_cond_len: float = 30  # seconds of a reference that are heard, at most
    gpt_cond_chunk_len: float = 4  # seconds; latents are averaged over such pieces
    max_ref_len: float = 30  # seconds that the speaker encoder hears, at most


def read_settings(path: Path) -> XttsSettings:
    if not path.is_file():
        raise missing(path)
    try:
        return settings_of(json.loads(path.read_text()), path)
    except json.JSONDecodeError as error:
        raise ModelError(f"{path}: line {error.lineno} is no JSON ({error.msg}); download it again") from error


def settings_of(content: Mapping[str, Any], path: Path) -> XttsSettings:
    if (kind := content.get("model", "xtts")) != "xtts":
        raise ModelError(f"{path} describes a {kind} model, not xtts; see voice.family")
    try:
        settings = XttsSettings.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ModelError(f"{path}: {where}: {first['msg'].lower()}; is it the config.json of an XTTS-v2?") from error
    if not settings.model_args.gpt_use_perceiver_resampler:
        raise ModelError(f"{path} describes XTTS-v1, which hears a reference in another way; take an XTTS-v2")
    return settings
