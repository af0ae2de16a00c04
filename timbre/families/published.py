"""How a model that others published is loaded: as weights and settings, never as code of theirs.

    AutoTokenizer.from_pretrained(base, **SAFE)
    CsmForConditionalGeneration.from_pretrained(base, config=CsmConfig.from_dict(harmless(content)), **WEIGHTS)

A configuration may name Python files of its repository (`auto_map`), or a kernel on the hub as its attention, which is
a compiled library. Neither is ever fetched: for kernels lean_transformers.py sees to that.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from timbre.core.errors import ModelError
from timbre.families import lean_transformers

SAFE: dict[str, Any] = {"trust_remote_code": False}
WEIGHTS: dict[str, Any] = {**SAFE, "use_safetensors": True}  # never a pickle
CODE = ("auto_map", "custom_pipelines", "kernel_config")  # keys of a configuration that name code
KINDS = ("attn_implementation", "experts_implementation")  # … and what may name a kernel; transformers chooses better


def quiet() -> None:
    """No bars and no advice of transformers while a model is loaded: they are not of the command that runs."""
    lean_transformers.load()
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


@contextmanager
def told(base: str) -> Iterator[None]:
    """What keeps the base from being loaded is one sentence with what to do."""
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError, pickle.UnpicklingError) as error:
        mend = "the folder is incomplete or damaged: restore it, or name another" if Path(base).is_dir() else (
            "be online, accept the model's licence on its page on the hub and log in with `hf auth login`, "
            "or name a folder"
        )  # fmt: skip
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ModelError(f"voice.base: {base} cannot be loaded ({reason}); {mend}") from error


def harmless(content: Any) -> Any:
    """A configuration without what names code, at any depth."""
    if isinstance(content, dict):
        return {key: harmless(value) for key, value in content.items() if not _names_code(str(key))}
    return [harmless(value) for value in content] if isinstance(content, list) else content


def _names_code(key: str) -> bool:
    return key in CODE or any(kind in key for kind in KINDS)
