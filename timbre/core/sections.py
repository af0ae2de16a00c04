"""Every section and key of params.yaml, in its order, with its type and its limits.

A section is a frozen dataclass that pydantic checks strictly: a whole number is a fine float, true and false are no
numbers, an unknown key is a mistake. `int | float` keeps a whole number whole, since -23 and -23.0 give two content
keys. What no type can say is said in `__post_init__`, by a ValueError with a line per mistake that begins with the key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, dataclass_transform

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

T = TypeVar("T")
TINY_SPEAKER = "models/tiny/speaker"


@dataclass_transform(frozen_default=True)
def section(cls: type[T]) -> type[T]:
    rules = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    return dataclass(cls, frozen=True, config=rules)  # type: ignore[return-value]


def at_least(record: Any, **least: int) -> list[str]:
    return [line for name, limit in least.items() for line in _told(record, name, f"is not {limit} or more", limit)]


def not_negative(record: Any, *names: str) -> list[str]:
    return [line for name in names for line in _told(record, name, "is below 0", 0)]


def above_zero(record: Any, *names: str) -> list[str]:
    return [f"{name}: {value} is not above 0" for name, value in _given(record, names) if not value > 0]


def from_0_to_1(record: Any, *names: str, why: str = "is not between 0 and 1") -> list[str]:
    return [f"{name}: {value} {why}" for name, value in _given(record, names) if not 0 <= value <= 1]


def _told(record: Any, name: str, why: str, least: float) -> list[str]:
    return [f"{name}: {value} {why}" for _, value in _given(record, [name]) if value < least]


def _given(record: Any, names: Iterable[str]) -> list[tuple[str, Any]]:
    """Keys and their values, without null."""
    values = [(name, getattr(record, name)) for name in names]
    return [(name, value) for name, value in values if value is not None]


def refuse(mistakes: Sequence[str]) -> None:
    if mistakes:
        raise ValueError("\n".join(mistakes))


@section
class ComputeParams:
    """Section `compute` of params.yaml. No result depends on it, so no stage of dvc.yaml names it."""

    engine: Literal["local", "ray"]
    workers: int | None  # processes; None is one per core, on a cluster one per CPU or GPU
    address: str | None  # of a Ray cluster; None starts one on this machine
    shards: Literal["auto", "off"] | int  # how many entries may share a file, at most; see timbre/mapping/packing.py

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers: {self.workers} is not 1 or more, nor null")
        if self.address is not None and self.engine != "ray":
            raise ValueError(f"address: {self.address} is of a Ray cluster, and compute.engine is {self.engine}")
        if isinstance(self.shards, int) and self.shards < 1:
            raise ValueError(f"shards: {self.shards} is not 1 or more, nor auto or off")


@section
class FetchParams:
    max_hours: float  # longest recording
    max_megabytes: int  # largest download
    min_seconds: float  # shortest recording
    retries: int  # per download
    timeout_seconds: int  # without an answer from the server

    def __post_init__(self) -> None:
        wrong = above_zero(self, "max_hours", "max_megabytes", "timeout_seconds")
        refuse([*wrong, *not_negative(self, "min_seconds", "retries")])


@section
class TranscribeParams:
    engine: Literal["openai-whisper", "faster-whisper"]
    batch: int  # windows at once, of faster-whisper
    align: bool  # move the lines' ends to where the voice begins and ends

    def __post_init__(self) -> None:
        refuse(at_least(self, batch=1))


@section
class WhisperParams:
    """Section `whisper` of params.yaml, shared by transcribe and evaluate."""

    model: str  # path of a .pt file, or a name that openai-whisper knows

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise ValueError("model: is empty; name a .pt file or one of openai-whisper's models, such as turbo")


@section
class WhoParams:
    """Section `who` of params.yaml: how transcribe tells who speaks when in a recording."""

    method: Literal["none", "embeddings", "pyannote"]
    limit: float  # cosine of two groups of windows, below which they are two voices; of embeddings
    model: str  # of pyannote: a folder, or a pipeline on the hub
    revision: str | None  # commit of the pipeline on the hub; None for a folder

    def __post_init__(self) -> None:
        wrong = [] if -1 < self.limit < 1 else [f"limit: {self.limit} is not between -1 and 1"]
        if self.method == "pyannote" and self.revision is None and looks_like_hub(self.model):
            wrong.append(f"revision: name the commit of {self.model} on the hub, or a folder in who.model")
        refuse(wrong)


@section
class CleanParams:
    """Section `clean` of params.yaml: what chunk does to a whole recording before it cuts it."""

    method: Literal["none", "noise"]
    most: float  # dB that noise is taken down by, at most
    loudness: int | float | None  # LUFS that each recording as a whole is brought to

    def __post_init__(self) -> None:
        wrong = [] if 0 < self.most <= 60 else [f"most: {self.most} is not above 0 and at most 60 dB"]
        if self.loudness is not None and not -70 < self.loudness < 0:
            wrong.append(f"loudness: {self.loudness} is not between -70 and 0 LUFS")
        refuse(wrong)


@section
class ChunkParams:
    vad: Literal["silero", "energy"]  # what finds speech
    max_seconds: float
    min_seconds: float
    gap: float  # seconds without speech that always end a clip
    max_pause: float  # seconds; longer pauses inside a clip are shortened to it
    pad: float  # seconds of silence kept before and after a clip, at most
    loudness: int | float | None  # LUFS that every clip is brought to
    min_level: float  # dBFS; a segment that is quieter from beginning to end says nothing
    min_confidence: int | float | None  # Whisper's mean, of a draft's line

    def __post_init__(self) -> None:
        wrong = not_negative(self, "gap", "max_pause", "pad", "min_seconds")
        if self.max_seconds <= self.min_seconds + 2 * self.pad:
            wrong.append(f"max_seconds: {self.max_seconds} leaves no room above min_seconds and twice the pad")
        if self.loudness is not None and not -70 < self.loudness < 0:
            wrong.append(f"loudness: {self.loudness} is not between -70 and 0 LUFS")
        refuse(wrong)


@section
class CheckParams:
    batch: int  # clips

    def __post_init__(self) -> None:
        refuse(at_least(self, batch=1))


@section
class DatasetParams:
    speakers: list[str] | None  # names of those to use; None: everyone
    eval_share: float  # of the clips
    block_seconds: float  # of recording that stay together on one side
    pace_iqr: int | float | None  # interquartile ranges from the quartiles, beyond which a text is wrong
    snr: int | float | None  # dB, least
    silence: int | float | None  # share of a clip, most
    clipping: int | float | None  # share of a clip's samples, most
    language: int | float | None  # probability of the recording's language, least
    repeats: int | None  # clips with the same words, most
    doubtful_cer: int | float | None  # of what Whisper hears, from which on a warning is written …
    wrong_cer: int | float | None  # … and from which on the clip is left out
    min_heard: int | float | None  # least share of clips whose error rate is below doubtful_cer

    def __post_init__(self) -> None:
        wrong = [] if 0 < self.eval_share <= 0.5 else [f"eval_share: {self.eval_share} is not above 0 and at most 0.5"]
        if self.speakers is not None and not self.speakers:
            wrong.append("speakers: [] names nobody; null takes everyone")
        wrong += above_zero(self, "block_seconds", "pace_iqr", "repeats", "doubtful_cer", "wrong_cer")
        wrong += from_0_to_1(self, "silence", "clipping", "language", "min_heard")
        refuse(wrong)


@section
class VoiceParams:
    family: Literal["csm", "orpheus", "xtts", "sovits"]  # a package of timbre/families
    base: str  # a folder, or the id of a model on the hub
    revision: str | None  # commit of the hub model; null for a folder


@section
class CsmParams:
    """Section `csm` of params.yaml: what only this family's training asks."""

    depth_share: float

    def __post_init__(self) -> None:
        refuse(from_0_to_1(self, "depth_share"))


@section
class OrpheusParams:
    """Section `orpheus` of params.yaml: what only this family's training asks."""

    learn_text: bool
    drop_repeated: bool


@section
class XttsParams:
    """Section `xtts` of params.yaml: what only this family's training asks."""

    whole: bool  # learn all weights of the language model instead of an adapter
    text_weight: float  # of the loss on text, beside 1 on codes

    def __post_init__(self) -> None:
        refuse(not_negative(self, "text_weight"))


@section
class SovitsParams:
    """Section `sovits` of params.yaml: what only this family's training asks."""

    stage2: bool  # after stage 1, train stage 2 against its discriminators
    stage2_learning_rate: float
    stage2_epochs: int
    text_rate: float  # share of it, of the parts that read text
    mel_weight: float  # of the losses on stage 2
    divergence_weight: float

    def __post_init__(self) -> None:
        wrong = not_negative(self, "text_rate", "mel_weight", "divergence_weight")
        refuse([*wrong, *above_zero(self, "stage2_learning_rate"), *at_least(self, stage2_epochs=1)])


@section
class EncodeParams:
    batch: int  # clips

    def __post_init__(self) -> None:
        refuse(at_least(self, batch=1))


@section
class TrainParams:
    rank: int
    alpha: float
    rslora: bool
    dropout: float
    learning_rate: float
    warmup: int  # steps
    epochs: int
    max_steps: int | None
    batch: int  # clips
    accumulation: int  # batches
    weight_decay: float
    max_grad_norm: float
    context_share: float
    context_seconds: float
    speakers: Literal["recorded", "equal"]  # how often each is heard
    eval_every: int  # steps, at least
    eval_clips: int  # at most
    eval_cost: float  # share of the training's computation
    patience: float  # epochs
    points: int  # of training that one can hear
    optimiser: Literal["adamw", "adamw_8bit"]
    precision: Literal["auto", "fp32", "bf16"]
    gradient_checkpointing: bool
    processes: int | Literal["auto"]
    shard: bool
    warm_start: Literal["none", "previous"]
    seed: int

    def __post_init__(self) -> None:
        wrong = at_least(
            self, rank=1, warmup=0, epochs=1, batch=1, accumulation=1, eval_every=1, eval_clips=1, patience=0, points=1,
            seed=0, weight_decay=0, context_seconds=0,
        )  # fmt: skip
        wrong += above_zero(self, "alpha", "learning_rate", "max_grad_norm", "eval_cost")
        wrong += from_0_to_1(self, "dropout", "context_share")
        if self.processes != "auto" and self.processes < 1:
            wrong.append(f"processes: {self.processes} is not 1 or more, nor auto")
        if self.max_steps is not None and self.max_steps < 1:
            wrong.append(f"max_steps: {self.max_steps} is not 1 or more, nor null")
        refuse(wrong)


@section
class GenerateParams:
    seeds: list[int]
    true_prompts: int
    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float
    cap_seconds: float
    cap_seconds_per_character: float
    heard_before: float  # seconds
    batch: int  # samples
    precision: Literal["auto", "fp32", "bf16", "int8"]

    def __post_init__(self) -> None:
        wrong = at_least(
            self, true_prompts=0, temperature=0, top_k=0, cap_seconds_per_character=0, heard_before=0, batch=1
        )
        if not 0 < self.top_p <= 1:
            wrong.append(f"top_p: {self.top_p} is not above 0 and at most 1")
        if self.repetition_penalty < 1:
            wrong.append(f"repetition_penalty: {self.repetition_penalty} is not 1 or more")
        wrong += above_zero(self, "cap_seconds")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            wrong.append(f"seeds: {self.seeds} is not a list of different numbers, 0 or more")
        refuse(wrong)


@section
class GateParams:
    words: float
    similarity: float
    named: float
    reference: float
    ends: float
    leakage: int
    preferred: int | float | None  # null: nobody is asked

    def __post_init__(self) -> None:
        shares = ("similarity", "named", "reference", "ends", "preferred")
        refuse([f"gates.{line}" for line in from_0_to_1(self, *shares, why="is no share from 0 to 1")])


@section
class EvaluateParams:
    batch: int  # samples that Whisper hears at once
    others: str  # folder
    second_ear: str | None  # another recogniser: path or name of a Whisper, or pocketsphinx
    second_encoder: str | None  # another speaker encoder: a folder, name@commit on the hub, resemblyzer
    strict: bool  # asked by stages/track.py, the last
    gates: GateParams

    def __post_init__(self) -> None:
        refuse(at_least(self, batch=1))


@section
class SpeakerParams:
    """Section `speaker` of params.yaml."""

    model: str  # a folder, the id of a model on the hub, or resemblyzer
    revision: str | None  # commit of the hub model; null for a folder


@section
class Settings:
    """The whole of params.yaml."""

    compute: ComputeParams
    fetch: FetchParams
    transcribe: TranscribeParams
    whisper: WhisperParams
    who: WhoParams
    clean: CleanParams
    chunk: ChunkParams
    check: CheckParams
    dataset: DatasetParams
    voice: VoiceParams
    csm: CsmParams
    orpheus: OrpheusParams
    xtts: XttsParams
    sovits: SovitsParams
    encode: EncodeParams
    train: TrainParams
    generate: GenerateParams
    evaluate: EvaluateParams
    speaker: SpeakerParams

    def __post_init__(self) -> None:
        if self.speaker.model == TINY_SPEAKER and looks_like_hub(self.voice.base):
            raise ValueError(
                f"speaker.model: {TINY_SPEAKER} tells the tiny voices apart, not those of people; with voice.base "
                f"{self.voice.base} name an encoder of real speech, such as microsoft/wavlm-base-plus-sv"
            )


def looks_like_hub(model: str) -> bool:
    """`owner/name`, and no folder of this repository."""
    return model.count("/") == 1 and not model.startswith((".", "/", "models/")) and not Path(model).is_dir()
