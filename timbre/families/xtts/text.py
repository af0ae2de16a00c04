"""Text as XTTS' tokenizer knows it: small letters, numbers in words, the language before it, [SPACE] for a space."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from timbre.core.errors import ModelError
from timbre.families import english
from timbre.families.checkpoints import missing

VERSION = f"1.{english.VERSION}"  # raised when the same text gives other ids
# What XTTS-v2 speaks, and the letters of a sentence from which on it is known to cut off or to invent.
LONGEST = {
    "en": 250, "de": 253, "fr": 273, "es": 239, "it": 213, "pt": 203, "pl": 224, "tr": 226, "ru": 182, "nl": 251,
    "cs": 186, "ar": 166, "zh-cn": 82, "hu": 224, "ko": 95, "ja": 71,
}  # fmt: skip
SPOKEN = ("en",)  # languages whose numbers and short forms are put in words here
SPACE = "[SPACE]"


class XttsText:
    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise missing(path)
        try:
            self.tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises nothing more precise
            reason = str(error).splitlines()[0][:80]
            raise ModelError(f"{path} is no tokenizer ({reason}); download it again") from error
        if self.tokenizer.token_to_id(SPACE) is None or self.tokenizer.token_to_id("[en]") is None:
            raise ModelError(f"{path} knows no {SPACE} or [en]; is it the vocab.json of an XTTS-v2?")

    def ids(self, text: str, language: str = "en") -> list[int]:
        check_language(language)
        spoken = english.as_said(text.replace('"', "")).lower()
        ids: list[int] = self.tokenizer.encode(f"[{language}]{spoken}".replace(" ", SPACE)).ids
        return ids


def check_language(language: str) -> None:
    if language in SPOKEN:
        return
    if language in LONGEST:
        raise ModelError(f"XTTS speaks {language}, but its text front end is not here yet: only {', '.join(SPOKEN)} is")
    raise ModelError(f"XTTS does not speak {language}; it speaks {', '.join(LONGEST)}")
