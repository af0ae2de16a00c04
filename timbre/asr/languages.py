"""Which languages the recogniser hears and the normaliser counts in, told before a model has worked for hours.

    languages.refuse(options, {"prompt gruss": "de"})       # ModelError with a line for each that cannot be heard
    languages.doubts({"el"})                                # what is compared less fairly than English

A file is loaded to see what it knows, and only where something other than English is asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from timbre import asr
from timbre.asr import lean_whisper
from timbre.asr.normalising import counts
from timbre.core.errors import ModelError, raise_all
from timbre.core.sections import WhisperParams


def refuse(options: WhisperParams, asked: Mapping[str, str]) -> None:
    """`asked`: what is to be heard, as a message names it → its language."""
    foreign = {name: language for name, language in asked.items() if language != "en"}
    if foreign:
        known = heard_by(options)
        why = "does not know it" if len(known) > 1 else "knows English only"
        raise_all(ModelError, (asr.unknown(foreign[name], name, why) for name in foreign if foreign[name] not in known))


def heard_by(options: WhisperParams) -> Collection[str]:
    """The languages that the model knows: a name that ends with `.en` says so, a file is asked."""
    many = asr.load(options).is_multilingual if asr.is_file(options.model) else not options.model.endswith(".en")
    return lean_whisper.load().tokenizer.LANGUAGES if many else {"en"}


def doubts(languages: Iterable[str]) -> Iterator[str]:
    for language in sorted(set(languages)):
        if not counts(language):
            yield (
                f"numbers in `{language}` cannot be spelt out here, so 20 and its word count as different words; write "
                "numbers as they are said"
            )
