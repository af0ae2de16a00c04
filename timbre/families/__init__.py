"""Families of voice models: what the pipeline asks of a model, and the way to the file that answers.

A family is one module beside this one, named by `voice.family`; its `load` gives a `Voice`. A stage knows the protocol
and never the model. A base model is a folder or a hub model at a pinned revision, by the same code.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, cast

import numpy as np
import numpy.typing as npt

from timbre.core.content import content_key, file_sha256, files_key
from timbre.core.errors import ModelError
from timbre.core.records import ADAPTER_FILES
from timbre.core.running import settle
from timbre.core.sections import VoiceParams

Audio = npt.NDArray[np.float32]  # mono samples at the voice's rate, -1 to 1
Codes = npt.NDArray[np.int16]  # (frames, codebooks)
Precision = Literal["auto", "fp32", "bf16", "int8"]  # int8 only speaks, and on a CPU


class Turn(NamedTuple):
    """Something said: its words, and its sound where it has one already."""

    text: str
    codes: Codes | None = None


class Lora(NamedTuple):
    rank: int
    alpha: float
    rslora: bool
    dropout: float


class Losses(NamedTuple):
    """Means over what a batch has labels for, in nats; tensors while training."""

    total: Any
    backbone: Any  # first codebook
    depth: Any  # the others
    groups: dict[str, Any]  # of the others by groups, `1-3` and so on; to look at, not to learn from


class Part(NamedTuple):
    """A process's share of each batch: of `of` processes the `number`th takes every `of`th row."""

    number: int
    of: int


WHOLE = Part(0, 1)


class Request(NamedTuple):
    """A sentence to be spoken."""

    text: str
    context: tuple[Turn, ...]  # said before, by the same voice: what is cloned
    seed: int  # of this row alone: the sentence comes out the same in any company
    seconds: float  # at most


class Speaking(NamedTuple):
    """How requests are spoken."""

    temperature: float  # 0 takes the likeliest code
    top_k: int  # only the k likeliest; 0 is all
    slots: int  # sentences decoded side by side; one that ends leaves its slot to the next


class Spoken(NamedTuple):
    codes: Codes
    ended: bool  # by its own end, not by the cap


class Voice(Protocol):
    """A loaded model. `model` is what an optimiser handles; the rest hides it."""

    model: Any
    sample_rate: int  # Hz
    frame_rate: float  # frames per second
    positions: int  # of the longest sequence, text and frames

    def encode(self, sounds: Sequence[Audio]) -> list[Codes]: ...

    def decode(self, codes: Codes) -> Audio: ...

    def length(self, turns: Sequence[Turn]) -> int:
        """Positions that the turns take: those of each, added up."""

    def adapt(self, lora: Lora) -> None:
        """Put on a fresh adapter, to be trained."""

    def adapter_weights(self) -> dict[str, Any]: ...

    def set_adapter_weights(self, weights: dict[str, Any]) -> None: ...

    def adapter_effect(self, turns: Sequence[Turn]) -> float:
        """How far the adapter moves the logits, at most; 0 is an adapter that changes nothing."""

    def save_adapter(self, folder: Path) -> None: ...

    def save_memory(self) -> None:
        """Compute activations twice instead of keeping them."""

    @property
    def stacks(self) -> Sequence[Any]:
        """Transformers whose `layers` hold most of the weights: what several processes can keep between them."""

    def batch(self, dialogues: Sequence[Sequence[Turn]], depth_share: float, seed: int, part: Part = WHOLE) -> Any:
        """Sequences to learn the last turn of each from; the others are only heard."""

    def losses(self, batch: Any) -> Losses:
        """Of a part of a batch: what it adds to the whole batch's, so that the parts' sum is that of one process."""

    def speak(self, requests: Sequence[Request], how: Speaking) -> Iterator[Spoken]:
        """In the order of the requests, each as soon as it and all before it are done."""

    def stream(self, request: Request, how: Speaking) -> Generator[Audio, None, bool]:
        """What `decode` makes of the request spoken, piece by piece while it is spoken; returns whether it ended."""


def load_once(voice: VoiceParams, adapter: Path | None = None, precision: Precision = "auto") -> Voice:
    """`load` for a map that computes batch by batch: the same model stays, another one takes its place."""
    loaded = _loaded(voice, adapter, precision)
    settle(loaded.model)
    return loaded


@functools.lru_cache(maxsize=1)
def _loaded(voice: VoiceParams, adapter: Path | None, precision: Precision) -> Voice:
    return load(voice, adapter, precision)


def load(voice: VoiceParams, adapter: Path | None = None, precision: Precision = "auto") -> Voice:
    """The base model, or with `adapter` the tuned one: its weights with the adapter's added."""
    fingerprint(voice)
    module = importlib.import_module(f"timbre.families.{voice.family}")
    return cast(Voice, module.load(voice.base, voice.revision, adapter, precision))


def fingerprint(voice: VoiceParams) -> str:
    """Content key of a base model: of its files, or of its name and commit; reads no weights into memory."""
    folder = Path(voice.base)
    if folder.is_dir():
        paths = [path for path in folder.rglob("*") if path.suffix != ".md" and path.is_file()]
        return files_key((path.name, file_sha256(path)) for path in paths)
    if voice.revision is None:
        raise ModelError(
            f"voice.base: {voice.base} is no folder here; if it is on the hub, name its commit in voice.revision"
        )
    return content_key(voice.family, voice.base, voice.revision)


def adapter_fingerprint(folder: Path) -> str:
    """Content key of what an adapter does: its weights and how they are applied."""
    for name in ADAPTER_FILES:
        if not (folder / name).is_file():
            raise ModelError(f"{folder}/{name} is missing; `dvc repro train` makes it")
    return files_key((name, file_sha256(folder / name)) for name in ADAPTER_FILES)
