"""Families of voice models: the way from params.yaml to a loaded voice, and the content keys of its files.

A family is a package beside this module, named by `voice.family`; its `FAMILY` says what it is and how it is loaded. A
stage knows the protocol (timbre/families/protocol.py) and never the model. A base model is a folder or a hub model at a
pinned revision, by the same code.
"""

from __future__ import annotations

import gc
import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from timbre.core.content import content_key, file_sha256, files_key, model_files
from timbre.core.errors import ModelError
from timbre.core.records import ADAPTER_FILES, adapter_files
from timbre.core.running import settle
from timbre.core.sections import VoiceParams
from timbre.families.protocol import (
    WHOLE,
    Audio,
    Cloning,
    Codec,
    Codes,
    Course,
    Family,
    Lora,
    Losses,
    Mark,
    Objective,
    Part,
    Precision,
    Request,
    SpeakerTag,
    Speaking,
    Spoken,
    Turn,
    Voice,
    WeightsLicence,
)  # fmt: skip

__all__ = [
    "WHOLE", "Audio", "Cloning", "Codec", "Codes", "Course", "Family", "Lora", "Losses", "Mark", "Objective", "Part",
    "Precision", "Request", "SpeakerTag", "Speaking", "Spoken", "Turn", "Voice", "WeightsLicence",
    "adapter_fingerprint", "codec_once", "family", "fingerprint", "licence", "limits", "load", "load_anew", "load_once",
]  # fmt: skip


FREE = ("apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "unlicense")  # that ask for no more than their own text
Loaded = TypeVar("Loaded", bound=Codec)  # a voice, or its codec
_FRONT = re.compile(r"---\n(.*?)\n---\n", re.DOTALL)  # what the hub reads of a card
_loaded: dict[tuple[object, ...], Any] = {}  # the voice or codec that was asked for last


def load_once(
    voice: VoiceParams, adapter: Path | None = None, precision: Precision = "auto", *, speaking: bool = False
) -> Voice:
    """`load` for a map that computes batch by batch: the same model stays, another one takes its place.

    Who is only `speaking` may get it sooner; the voice loads the rest when anything else is asked of it.
    """
    which = voice, adapter, precision, speaking
    return _once(which, lambda: load(voice, adapter, precision, speaking=speaking))


def codec_once(voice: VoiceParams) -> Codec:
    """Likewise the base's codec, where the rest of a voice is not needed."""
    return _once((voice,), lambda: load_codec(voice))


def _once(which: tuple[object, ...], load: Callable[[], Loaded]) -> Loaded:
    if which not in _loaded:
        _let_go()
        _loaded[which] = load()
    loaded: Loaded = _loaded[which]
    settle(loaded.model)
    return loaded


def load_anew(voice: VoiceParams, adapter: Path | None = None, precision: Precision = "auto") -> Voice:
    """`load_once` after a model has failed: nothing of it is kept."""
    _let_go()
    return load_once(voice, adapter, precision)


def _let_go() -> None:
    """Before another is loaded, so that memory holds one at a time, unless somebody still has the last one."""
    if _loaded:
        _loaded.clear()
        gc.collect()


def load(
    voice: VoiceParams, adapter: Path | None = None, precision: Precision = "auto", *, speaking: bool = False
) -> Voice:
    """The base model, or with `adapter` the tuned one: its weights with the adapter's added."""
    fingerprint(voice)
    own = family(voice.family)
    way = (own.load_speaking if speaking else None) or own.load
    return way(voice.base, voice.revision, adapter, precision)


def load_codec(voice: VoiceParams) -> Codec:
    fingerprint(voice)
    own = family(voice.family)
    if own.load_codec is None:
        return own.load(voice.base, voice.revision, None, "auto")
    return own.load_codec(voice.base, voice.revision)


def family(name: str) -> Family:
    return cast(Family, importlib.import_module(f"timbre.families.{name}").FAMILY)


def licence(voice: VoiceParams) -> WeightsLicence | None:
    """Of a base's weights, where it is known: of a base on the hub; of any base of a family whose published weights
    forbid commercial use; of a folder whose card, README.md in it or beside it, names one as the hub reads it."""
    return family(voice.family).licences.get(voice.base) or limits(voice.family) or _of_card(Path(voice.base))


def _of_card(base: Path) -> WeightsLicence | None:
    for card in (base / "README.md", base.parent / "README.md"):
        if base.is_dir() and card.is_file() and (front := _FRONT.match(card.read_text("utf-8", "replace"))):
            id = next((found[1].lower() for found in re.finditer(r"(?m)^license: *([\w.-]+) *$", front[1])), "other")
            if id != "other":
                return WeightsLicence(id, "" if id in FREE else f"which {card.name} names; look at its terms")
    return None


def limits(name: str) -> WeightsLicence | None:
    """The licence of a family's weights, where it forbids commercial use."""
    return next((known for known in family(name).licences.values() if not known.commercial), None)


def fingerprint(voice: VoiceParams) -> str:
    """Content key of a base model: of its files, or of its name and commit; reads no weights into memory.

    Where a family's own code makes phones or tokens of text, its version is part of what the base does.
    """
    key, front_end = _base_key(voice), family(voice.family).front_end
    return content_key(key, front_end) if front_end else key


def _base_key(voice: VoiceParams) -> str:
    folder = Path(voice.base)
    if folder.is_dir():
        return files_key(model_files(folder))
    if voice.revision is None:
        raise ModelError(
            f"voice.base: {voice.base} is no folder here; if it is on the hub, name its commit in voice.revision"
        )
    return content_key(voice.family, voice.base, voice.revision)


def adapter_fingerprint(folder: Path) -> str:
    """Content key of what an adapter does: its weights, how they are applied, and what a family keeps beside them."""
    for name in ADAPTER_FILES:
        if not (folder / name).is_file():
            raise ModelError(f"{folder}/{name} is missing; `dvc repro train` makes it")
    names = adapter_files(path.name for path in folder.iterdir())
    return files_key((name, file_sha256(folder / name)) for name in names)
