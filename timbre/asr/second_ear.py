"""A second recogniser, which learnt from other sound than the first: what both hear is the voice's, not an ear's.

    ear = second_ear("pocketsphinx", ["The ferry waits.", …])     # or another Whisper: a .pt, a folder, a name
    texts(ear, sounds, languages)                                 # as timbre.asr.texts

pocketsphinx (the extra `ear`) knows English, and is far weaker than Whisper. So it is asked to choose among the words
of the prompts, in any order: no sentence is likelier than another. A word that its dictionary lacks is always wrong.
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from timbre import asr
from timbre.asr import languages
from timbre.asr.amounts import spelt
from timbre.core.content import content_key
from timbre.core.errors import ModelError
from timbre.core.sections import WhisperParams
from timbre.core.text import words

POCKETSPHINX = "pocketsphinx"
VERSION = 1  # raise when the code hears other words in the same sound


@dataclass(frozen=True)
class SecondEar:
    name: str
    words: tuple[str, ...] = ()  # that pocketsphinx chooses among


def second_ear(name: str, said: Iterable[str]) -> SecondEar:
    """`said` are the sentences that it is to hear; a Whisper needs none."""
    if name != POCKETSPHINX:
        return SecondEar(name)
    return SecondEar(name, tuple(sorted({word for text in said for word in written_out(text)})))


def written_out(text: str) -> list[str]:
    """The words of a sentence as a dictionary has them: numbers, too, and one by one."""
    said = (spelt(word, "en") if word.isdecimal() else word for word in words(text))
    return [part for word in said for part in word.replace("-", " ").replace(",", "").lower().split()]


def fingerprint(ear: SecondEar) -> str:
    """Its part of a content key."""
    if ear.name != POCKETSPHINX:
        return asr.fingerprint(WhisperParams(ear.name))
    return content_key(VERSION, _version(), ear.words)


def heard_by(ear: SecondEar) -> Collection[str]:
    return {"en"} if ear.name == POCKETSPHINX else languages.heard_by(WhisperParams(ear.name))


def unknown(ear: SecondEar) -> list[str]:
    """Words that it will always get wrong; nobody can say of a Whisper."""
    return [word for word in ear.words if not _known(word)] if ear.name == POCKETSPHINX else []


def texts(ear: SecondEar, sounds: Sequence[Any], spoken: Sequence[str]) -> list[str]:
    """What is said in each sound (float32, 16 kHz), in the language that is `spoken` in it."""
    if ear.name != POCKETSPHINX:
        return asr.texts(WhisperParams(ear.name), sounds, spoken)
    decoder = _decoder(ear.words)
    return [_heard(decoder, sound) for sound in sounds]


def _heard(decoder: Any, sound: Any) -> str:
    decoder.start_utt()
    decoder.process_raw((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()
    best = decoder.hyp()
    return str(best.hypstr) if best else ""


@functools.lru_cache(maxsize=1)
def _decoder(chosen: tuple[str, ...]) -> Any:
    known = [word for word in chosen if _known(word)]
    if not known:
        raise ModelError("evaluate.second_ear: pocketsphinx knows none of the words that it is to hear; name a Whisper")
    decoder = _empty()
    grammar = f"#JSGF V1.0;\ngrammar domain;\npublic <sentence> = ( {' | '.join(known)} )+ ;\n"
    decoder.add_jsgf_string("domain", grammar)
    decoder.activate_search("domain")
    return decoder


def _known(word: str) -> bool:
    return _dictionary().lookup_word(word) is not None


@functools.cache
def _dictionary() -> Any:
    return _empty()


def _empty() -> Any:
    _version()
    from pocketsphinx import Decoder

    # batch: the mean of this sound alone, so that what was heard before changes nothing
    return Decoder(lm=None, samprate=asr.SAMPLE_RATE, cmn="batch", loglevel="FATAL")


def _version() -> str:
    try:
        return importlib.metadata.version(POCKETSPHINX)
    except importlib.metadata.PackageNotFoundError as error:
        raise ModelError(
            "evaluate.second_ear: pocketsphinx is not installed; `pip install -c constraints.txt '.[ear]'`"
        ) from error
