"""Whisper by CTranslate2 (the extra `fast`): the same weights, several windows at once.

It takes the same names (turbo, small.en, …) or a folder with a converted model, on the GPU where there is one, else in
8 bits on the CPU; it finds speech by its own silero-vad and hears only that. Only `transcribe` uses it. Its drafts
differ a little from openai-whisper's, so the engine is part of a draft's key. A segment is a whole window here: the
stage parts it by the words' times (timbre/asr/sentences.py).
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

from timbre.asr import LONG, SAMPLE_RATE, HeardUtterance, WhisperTranscript, Word
from timbre.core.content import content_key, file_sha256
from timbre.core.errors import ModelError
from timbre.core.running import SMALL, threads
from timbre.core.sections import WhisperParams

Model = Any  # faster_whisper.BatchedInferencePipeline


def fingerprint(params: WhisperParams) -> str:
    """The model's part of a content key: what is in its folder, or its name."""
    folder = Path(params.model)
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    digests = {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}
    files_key = content_key(digests) if files else params.model
    return f"faster-whisper {files_key}"


@functools.lru_cache(maxsize=1)
def load(params: WhisperParams) -> Model:
    name = params.model
    if name.endswith(".pt"):
        raise ModelError(
            f"params.yaml: whisper.model: {name} is openai-whisper's; the engine faster-whisper takes a name "
            "such as turbo, or a folder with a converted model"
        )
    try:
        from faster_whisper import BatchedInferencePipeline, WhisperModel
    except ImportError as error:
        raise ModelError(
            "transcribe.engine: faster-whisper is not installed; `pip install -c constraints.txt '.[fast]'`"
        ) from error
    from ctranslate2 import get_cuda_device_count

    device, kind = ("cuda", "float16") if get_cuda_device_count() else ("cpu", "int8")
    try:
        return BatchedInferencePipeline(
            WhisperModel(name, device=device, compute_type=kind, cpu_threads=threads(SMALL))
        )
    except (ValueError, RuntimeError, OSError) as error:  # an unknown name, no such folder, no network
        raise ModelError(
            f"params.yaml: whisper.model: faster-whisper cannot load {name}: {str(error).splitlines()[0]}"
        ) from error


def check_language(model: Model, language: str, name: str) -> None:
    """Raise where the model does not speak the recording's language: it would write English nonsense, silently."""
    if language not in model.model.supported_languages:
        raise ModelError(f"{name}: is in `{language}`, and whisper.model does not know it; name another in params.yaml")


def check_prompt(model: Model, prompt: str) -> None:
    """Raise where the prompt is too long: its beginning would be dropped without a word."""
    tokens = len(model.model.hf_tokenizer.encode(f" {prompt.strip()}", add_special_tokens=False).ids)
    most = model.model.max_length // 2 - 1
    if prompt and tokens > most:
        raise ModelError(f"the glossary has {tokens} tokens and Whisper reads {most}; keep the rarest terms")


def transcribe(model: Model, samples: Any, *, language: str, prompt: str, batch: int) -> WhisperTranscript:
    """What is said in the samples (float32, 16 kHz, one channel), with word times; `batch` windows at once."""
    segments, about = model.transcribe(
        samples,
        language=language,
        beam_size=1,
        temperature=0.0,
        condition_on_previous_text=False,
        without_timestamps=True,  # with them, a window ends at the first end that it believes in
        initial_prompt=prompt or None,
        word_timestamps=True,
        batch_size=batch,
        log_progress=len(samples) > LONG * SAMPLE_RATE and sys.stderr.isatty(),
    )
    return WhisperTranscript(about.language, [_utterance(segment) for segment in segments if segment.text.strip()])


def _utterance(segment: Any) -> HeardUtterance:
    return HeardUtterance(
        start=float(segment.start),
        end=float(segment.end),
        text=" ".join(segment.text.split()),
        avg_logprob=float(segment.avg_logprob),
        no_speech_prob=float(segment.no_speech_prob),
        words=[Word(float(w.start), float(w.end), w.word, float(w.probability)) for w in segment.words or []],
    )
