"""What the pipeline asks of a family of voice models. docs/adding-a-family.md is the recipe.

A `Family` says what can be known without loading anything; its `load` gives a `Voice`, which hears, learns and speaks.
What a voice learns from is a `Course`, and a training runs its courses one after the other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from timbre.families.shape import Shape

Audio = npt.NDArray[np.float32]  # mono samples at the voice's rate, -1 to 1
Codes = Mapping[str, npt.NDArray[Any]]
"""A clip's sound as a family keeps it: arrays by name. `codes` (frames, codebooks) is among them in every family."""
Mark = Literal["number", "name", "language"]  # what a sequence says of who speaks, and how
Precision = Literal["auto", "fp32", "bf16", "int8"]  # int8 only speaks, on a GPU only CSM


class SpeakerTag(NamedTuple):
    """Who says something; a family puts the number or the name into its sequence."""

    number: int = 0
    name: str = ""  # as data/speakers.yaml has it


class Turn(NamedTuple):
    """Something said: its words, and its sound where it has one already."""

    text: str
    codes: Codes | None = None
    language: str | None = None  # two or three letters, such as en; None where nobody said
    speaker: SpeakerTag = SpeakerTag()
    clip: Path | None = None  # the sound's file, for a family that learns from more than codes


class Lora(NamedTuple):
    """A low-rank adapter, as the section `train` of params.yaml asks for it."""

    rank: int
    alpha: float
    rslora: bool
    dropout: float


class Losses(NamedTuple):
    """Means over what a batch has labels for; tensors while training."""

    total: Any  # what is minimised; the best step is chosen by it, or by the part that `Course.main` names
    parts: dict[str, Any]  # to look at, named by the family: `text`, or `codebook/2-4` where several belong together


class Part(NamedTuple):
    """A process's share of each batch: of `of` processes the `number`th takes every `of`th row."""

    number: int
    of: int


WHOLE = Part(0, 1)


class Objective(NamedTuple):
    """What one optimiser minimises, and by which weights."""

    name: str
    weights: Sequence[Any]
    losses: Callable[[Any], Losses]  # of a batch
    betas: tuple[float, float] = (0.9, 0.999)  # of AdamW
    slower: tuple[float, Sequence[Any]] = (1.0, ())  # a part of the learning rate, and those of the weights that get it


class Course(Protocol):
    """A training of a voice: what is learnt, from which batches, and the number that tells the best step.

    `meet` and then `begin` come before all else. A step takes the objectives in turn, on the same batches.
    """

    name: str
    changes: Mapping[str, Any]  # keys of the section `train` that have other values in this course
    main: str  # part of the evaluation's losses that the best step is chosen by; empty: their total
    exam_cost: float  # of evaluating a clip, beside learning from it: forwards only, against both ways

    @property
    def model(self) -> Any:
        """The module that is put into training and evaluation mode."""

    def meet(self, clips: Sequence[Turn]) -> None:
        """All clips that are about to be learnt, for a family that keeps something of them beside its weights."""

    def begin(self) -> None:
        """Make what is to be trained; random numbers come from torch's generator."""

    @property
    def objectives(self) -> Sequence[Objective]:
        """The last one's total is the training loss that is shown."""

    @property
    def stacks(self) -> Sequence[Any]:
        """Transformers whose `layers` hold most of the weights: what several processes can keep between them."""

    def batch(self, dialogues: Sequence[Sequence[Turn]], seed: int, part: Part = WHOLE) -> Any:
        """Sequences to learn the last turn of each from; the others are only heard."""

    def exam(self, dialogues: Sequence[Sequence[Turn]], part: Part = WHOLE) -> Any:
        """The same for evaluation: nothing in it is drawn by lot."""

    def evaluate(self, exam: Any) -> Losses:
        """Of a part of a batch: what it adds to the whole batch's, so that the parts' sum is that of one process.

        An objective's losses are counted likewise.
        """

    def weights(self) -> dict[str, Any]:
        """A copy of what was learnt so far."""

    def set_weights(self, weights: dict[str, Any]) -> None: ...

    def saved(self, folder: Path) -> dict[str, Any] | None:
        """What `save_adapter` wrote there, as `set_weights` takes it; None where no training can begin so."""

    def effect(self, turns: Sequence[Turn]) -> float:
        """How far what was learnt moves the model's output, at most; 0 is a training that changed nothing."""


class Request(NamedTuple):
    """A sentence to be spoken."""

    text: str
    context: tuple[Turn, ...]  # said before, by the same voice: what is cloned
    seed: int  # of this row alone: the sentence comes out the same in any company
    seconds: float  # at most
    language: str | None = None  # as in a turn
    speaker: SpeakerTag = SpeakerTag()

    def marked(self, marks: Sequence[Mark]) -> list[str | int | None]:
        """What a sequence with these marks says beside the text; nothing for the first speaker's number alone, so that
        a voice of one speaker keeps its keys."""
        values: dict[Mark, str | int | None] = {
            "number": self.speaker.number,
            "name": self.speaker.name,
            "language": self.language,
        }
        chosen: list[str | int | None] = [values[mark] for mark in marks]
        return chosen if any(chosen) else []


class Speaking(NamedTuple):
    """How requests are spoken."""

    temperature: float  # 0 takes the likeliest code
    top_k: int  # only the k likeliest; 0 is all
    slots: int  # sentences decoded side by side; one that ends leaves its slot to the next
    top_p: float = 1.0  # only the likeliest that together have this probability; 1 is all
    repetition_penalty: float = 1.0  # by which a code that was said before becomes less likely; 1 is none


class Spoken(NamedTuple):
    sound: Audio
    ended: bool  # by its own end, not by the cap


class Cloning(NamedTuple):
    """How a family is shown the voice that it is to speak with."""

    kind: Literal["turns", "sound", "sound and words"]  # turns: the reference is something said before
    seconds: tuple[float, float]  # of the reference, least and most
    without: bool = True  # it can speak without one; if not, `base` speaks with a stock voice, `tuned` with the mean …
    # … of the clips that it learnt from, which lies beside the adapter


class Codec(Protocol):
    """What makes codes of sound, and sound of codes."""

    model: Any  # the module, for threads and devices
    sample_rate: int  # Hz, of what it says
    hearing_rate: int  # Hz, of what `encode` is given

    def encode(self, sounds: Sequence[Audio]) -> list[Codes]:
        """The codes of each sound, whatever others are in the batch."""

    def resound(self, turn: Turn, reference: Turn | None) -> Audio:
        """The clip again, as well as its codes can say it: the ceiling of what this family can speak."""


class Voice(Codec, Protocol):
    """A loaded model."""

    frame_rate: float  # frames per second
    positions: int  # of the longest sequence, text and frames

    def length(self, turns: Sequence[Turn]) -> int:
        """Positions that the turns take: those of each, added up."""

    def fits(self, turns: Sequence[Turn]) -> str | None:
        """Why the turns cannot be learnt, as the end of a sentence about them; None where they can."""

    def courses(self, lora: Lora, own: Any, *, save_memory: bool = False) -> Sequence[Course]:
        """What is learnt, in this order; `own` is the family's section of params.yaml.

        `save_memory` computes activations twice instead of keeping them.
        """

    def save_adapter(self, folder: Path) -> None:
        """All that was learnt, the same bytes for the same weights."""

    def speak(self, requests: Sequence[Request], how: Speaking) -> Iterator[Spoken]:
        """In the order of the requests, each as soon as it and all before it are done."""

    def stream(self, request: Request, how: Speaking) -> Generator[Audio, None, bool]:
        """What `speak` gives, piece by piece while it is spoken; returns whether it ended."""


class WeightsLicence(NamedTuple):
    """Under which a base model's weights are published; it goes on to apply to what is made from them."""

    id: str  # as the hub names it
    terms: str = ""  # what somebody has to know who hands a tuned voice on; nothing where the licence asks for little
    commercial: bool = True  # whether the weights, and what they say, may be used for more than non-commercial purposes

    def __str__(self) -> str:
        return f"{self.id}; {self.terms}" if self.terms else self.id


def config_file(folder: Path) -> Mapping[str, Any] | None:
    path = folder / "config.json"
    return dict(json.loads(path.read_bytes())) if path.is_file() else None


def every_frame(own: Any) -> float:
    return 1.0


Load = Callable[[str, str | None, Path | None, Precision], Voice]  # base, revision, adapter, precision
LoadCodec = Callable[[str, str | None], Codec]  # base, revision


class Family(NamedTuple):
    """A family of voice models, known without loading one."""

    name: str  # in voice.family; its package beside this module
    load: Load
    cloning: Cloning
    shape: Callable[[Mapping[str, Any]], Shape]  # of a base's config.json, for estimates
    known: Mapping[str, Mapping[str, Any]] = {}  # bases on the hub → as much of their config.json as `shape` asks for
    config: Callable[[Path], Mapping[str, Any] | None] = config_file  # the same of a base in a folder, where it tells
    licences: Mapping[str, WeightsLicence] = {}  # of bases on the hub
    languages: tuple[str, ...] | None = None  # that it speaks; None: whatever its training brings
    whole_frames: Callable[[Any], float] = every_frame  # share that training learns with all codes, by its section
    several_adapters: bool = False  # speaks with several adapters of one base at once; see `timbre.families.slots`
    marks: tuple[Mark, ...] = ("number",)  # what its sequence says of a speaker and a language
    load_speaking: Load | None = None  # the same voice sooner, where all it does is to speak
    load_codec: LoadCodec | None = None  # its codec by itself; None: that is most of the voice
    front_end: str = ""  # version of what makes phones or tokens of text, where that is code: part of a fingerprint
