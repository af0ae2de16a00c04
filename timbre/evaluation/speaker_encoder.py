"""Whose voice it is: a speaker encoder turns sound into a direction, and two sounds of one voice point the same way.

`model` names a folder (models/tiny/speaker), a WavLMForXVector on the hub (microsoft/wavlm-base-plus-sv), or
`resemblyzer` (timbre/evaluation/ge2e.py). Each encoder's cosines are on its own scale: read them between the floor and
the ceiling that `evaluate` measures too.

    encoder = load(params)
    voices = KnownVoices(centre([encoder.embed(clip) for clip in clips]), {"mira": centre(…)})
    voices.similarity(encoder.embed(sample)), voices.is_named(encoder.embed(sample))
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from timbre.core.content import content_key, file_sha256, model_files
from timbre.core.errors import ModelError
from timbre.core.running import settle
from timbre.core.sections import SpeakerParams
from timbre.evaluation import ge2e
from timbre.families import lean_transformers
from timbre.families.published import SAFE, WEIGHTS, harmless, quiet

SAMPLE_RATE = 16_000  # Hz, of the samples that the encoder hears
SHORTEST = 1.0  # seconds; shorter sounds are filled up with silence, as the tiny encoder was taught and measured
Vector = npt.NDArray[np.float32]  # of length 1


class AnyVoiceEncoder(Protocol):
    def embed(self, samples: npt.NDArray[np.float32]) -> Vector:
        """One direction for the sound (16 kHz), the same in any company."""


@dataclass(frozen=True)
class VoiceEncoder:
    model: Any  # WavLMForXVector
    extractor: Any  # Wav2Vec2FeatureExtractor

    def embed(self, samples: npt.NDArray[np.float32]) -> Vector:
        """One direction for the sound (16 kHz). Alone, not in a batch: the same in any company."""
        import torch

        settle(self.model)
        inputs = self.extractor(filled(samples), sampling_rate=SAMPLE_RATE, return_tensors="pt")
        with torch.inference_mode():
            embedding = self.model(inputs["input_values"].to(self.model.device)).embeddings[0]
        return unit(embedding.float().cpu().numpy())


@dataclass(frozen=True)
class SmallVoiceEncoder:
    model: Any  # SmallWavLM

    def embed(self, samples: npt.NDArray[np.float32]) -> Vector:
        return unit(self.model.vector(filled(samples)))


def filled(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """With silence behind them, if they are shorter than SHORTEST."""
    return np.pad(samples, (0, max(0, round(SHORTEST * SAMPLE_RATE) - len(samples))))


@dataclass(frozen=True)
class KnownVoices:
    """The voice that is asked for, among others."""

    target: Vector
    others: Mapping[str, Vector] = field(default_factory=dict)

    def similarity(self, embedding: Vector) -> float:
        """Cosine to the target: 1 is the same direction."""
        return float(embedding @ self.target)

    def is_named(self, embedding: Vector) -> bool:
        """Whether no other voice is as near as the target."""
        return all(float(embedding @ other) < self.similarity(embedding) for other in self.others.values())


def centre(embeddings: Sequence[Vector]) -> Vector:
    """The voice that several sounds have in common."""
    return unit(np.mean(np.stack(embeddings), axis=0))


def ceiling(coded: Sequence[Vector], true: Sequence[Vector]) -> float | None:
    """Mean similarity of clips that went through the codec to the centre of the others: no clip meets itself."""
    if len(true) < 2:
        return None
    rest = [centre([*true[:place], *true[place + 1 :]]) for place in range(len(true))]
    return float(np.mean([clip @ others for clip, others in zip(coded, rest, strict=True)]))


def floor(voices: KnownVoices) -> float | None:
    """Mean similarity of the other voices; each counts the same, however many sounds it has."""
    similarities = [voices.similarity(other) for other in voices.others.values()]
    return float(np.mean(similarities)) if similarities else None


def unit(vector: npt.NDArray[Any]) -> Vector:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9), np.float32)


def fingerprint(params: SpeakerParams) -> str:
    """The model's part of a content key: of its files, or of its name and commit."""
    if ge2e.is_one(params.model):
        return content_key(ge2e.VERSION, file_sha256(ge2e.weights_of(params.model)))
    folder = Path(params.model)
    if folder.is_dir():
        return content_key(model_files(folder))
    if params.revision is None:
        raise ModelError(
            f"speaker.model: {params.model} is no folder here; if it is on the hub, name its commit in speaker.revision"
        )
    return content_key(params.model, params.revision)


def named(name: str | None) -> list[tuple[str, str | None]]:
    """As `evaluate.second_encoder` names one: `NAME@COMMIT` of the hub, a folder, a .pt file, resemblyzer; nothing of
    None."""
    model, _, commit = (name or "").partition("@")
    if model and not commit and not ge2e.is_one(model) and not Path(model).is_dir():
        raise ModelError(
            f"evaluate.second_encoder: {model} is no folder here; of a model on the hub write {model}@COMMIT"
        )
    return [(model, commit or None)] if model else []


@functools.lru_cache(maxsize=1)
def load(params: SpeakerParams) -> AnyVoiceEncoder:
    """The encoder, on the GPU where there is one."""
    fingerprint(params)
    if ge2e.is_one(params.model):
        return ge2e.load(params.model)
    from timbre.evaluation import small_wavlm

    if small := small_wavlm.load(Path(params.model)):
        return SmallVoiceEncoder(small)
    return _by_transformers(params)


def _by_transformers(params: SpeakerParams) -> VoiceEncoder:
    import torch
    from safetensors import SafetensorError

    quiet()
    # Microsoft's own on the hub are a pickle, of which transformers reads the weights alone
    kind = WEIGHTS if Path(params.model).is_dir() else {}
    try:
        with lean_transformers.uncompiled():
            from transformers import AutoFeatureExtractor, WavLMConfig, WavLMForXVector

            content, _ = WavLMConfig.get_config_dict(params.model, revision=params.revision)
            config = WavLMConfig.from_dict(harmless(content))
            model = WavLMForXVector.from_pretrained(
                params.model, config=config, revision=params.revision, **{**SAFE, **kind}
            )
            extractor = AutoFeatureExtractor.from_pretrained(params.model, **SAFE, revision=params.revision)
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"speaker.model: {params.model} cannot be loaded as a WavLMForXVector: {reason}") from error
    return VoiceEncoder(model.eval().to("cuda" if torch.cuda.is_available() else "cpu"), extractor)
