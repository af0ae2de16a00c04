"""The tokenizer of a model's folder, read without transformers: the same tokens as AutoTokenizer's.

tokenizer = file_tokenizer.read(Path("models/tiny/csm"))    # None: take transformers'
tokenizer("[0]The ferry waits.", add_special_tokens=True)["input_ids"]
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE, SETTINGS = "tokenizer.json", "tokenizer_config.json"
BESIDE = ("special_tokens_map.json", "added_tokens.json")  # of older releases, which may add tokens
CLASSES = ("TokenizersBackend", "PreTrainedTokenizerFast")  # that take tokenizer.json as it is
NAMED = ("bos_token", "eos_token", "pad_token", "unk_token")
# Settings that change no token
PLAIN = {
    *NAMED, "backend", "clean_up_tokenization_spaces", "encoded_length_kwargs", "extra_special_tokens", "is_local",
    "model_input_names", "model_max_length", "padding_side", "processor_class", "sampling_rate", "tokenizer_class",
}  # fmt: skip
PATCHED = 100_000  # tokens, from which on transformers may mend a tokenizer


class FileTokenizer:
    """As much of transformers' as a sequence asks for."""

    def __init__(self, tokenizer: Any, unknown: str | None) -> None:
        self.backend_tokenizer = tokenizer
        self.unk_token_id = None if unknown is None else tokenizer.token_to_id(unknown)

    def __call__(self, text: str, add_special_tokens: bool = True) -> Mapping[str, list[int]]:
        return {"input_ids": self.backend_tokenizer.encode(text, add_special_tokens=add_special_tokens).ids}


def read(base: Path) -> FileTokenizer | None:
    if any((base / name).exists() for name in BESIDE):
        return None
    try:
        settings = json.loads((base / SETTINGS).read_bytes())
        if settings["tokenizer_class"] not in CLASSES or settings.keys() - PLAIN:
            return None
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(base / FILE))
        special = [settings.get(name) for name in NAMED] + list(settings.get("extra_special_tokens", []))
        known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
        plain = not tokenizer.truncation and not tokenizer.padding and tokenizer.post_processor is not None
        if not plain or {token for token in special if token} - known or tokenizer.get_vocab_size() > PATCHED:
            return None
        return FileTokenizer(tokenizer, settings.get("unk_token"))
    except Exception:  # tokenizers raises that itself, of a file that it cannot read: transformers says it in its words
        return None
