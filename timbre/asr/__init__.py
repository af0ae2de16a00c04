"""The listener: Whisper writes drafts of recordings, and hears what the voice says when it is judged.

`model` names a checkpoint in the repository (models/tiny/whisper.pt), a folder that was converted for CTranslate2, or
one of openai-whisper's (turbo, small.en, …).
The settings are those under which the same audio gives the same text: greedy, no second try at a higher temperature
(it samples), no text of the window before (one error would repeat itself).
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timbre.asr import computed_once, ctranslate2_weights, greedy, lean_whisper, shared_silence, silent_tail
from timbre.asr.normalising import normalise, normaliser
from timbre.core.content import file_sha256
from timbre.core.errors import ModelError
from timbre.core.running import settle
from timbre.core.sections import WhisperParams

__all__ = ["normalise", "normaliser"]  # what others read from here although it is made beside it

SAMPLE_RATE = 16_000  # Hz, of the samples that Whisper hears
WINDOW = 30  # seconds that it hears at once; what is longer, `transcribe` goes through, `hear` cuts off
LONG = 60  # seconds from which it is shown how far Whisper has come
UNHEARD = 0.6  # seconds: where the last word's end leaves more of a clip than this, Whisper may have stopped too early
LOOPING = 2.4  # compression ratio from where a text repeats itself over and over: Whisper's own limit
Model = Any  # whisper.model.Whisper; named here, so that a signature can say it without importing torch


@dataclass(frozen=True)
class Word:
    start: float  # seconds
    end: float
    word: str  # with the space before it and the mark after it, as Whisper gives them
    probability: float


@dataclass(frozen=True)
class HeardUtterance:
    start: float  # seconds
    end: float
    text: str
    avg_logprob: float  # mean log probability of the tokens
    no_speech_prob: float
    words: list[Word]  # empty without word times


@dataclass(frozen=True)
class WhisperTranscript:
    language: str
    utterances: list[HeardUtterance]  # none where nothing was heard

    @property
    def text(self) -> str:
        return " ".join(utterance.text for utterance in self.utterances)


@dataclass(frozen=True)
class Heard:
    """A clip of at most WINDOW seconds."""

    text: str
    language: float | None  # probability of the language that it was said to be in; None where the model knows only one


def fingerprint(params: WhisperParams) -> str:
    """The model's part of a content key: the file's SHA-256, or the name, which openai-whisper ties to one file."""
    return file_sha256(_weights(params.model)) if is_file(params.model) else params.model


def load(params: WhisperParams) -> Model:
    """The model, on the GPU where there is one; the same object for the same file."""
    if not is_file(params.model):
        return _load(params, 0)
    weights = _weights(params.model).resolve()
    path = weights.parent if ctranslate2_weights.is_folder(params.model) else weights
    return _load(WhisperParams(str(path)), weights.stat().st_mtime_ns)


@functools.lru_cache(maxsize=1)
def _load(params: WhisperParams, changed: int) -> Model:
    whisper, name = lean_whisper.load(), params.model
    if not is_file(name) and name not in whisper.available_models():
        names = ", ".join(whisper.available_models())
        raise ModelError(f"params.yaml: whisper.model: no model `{name}`; name a .pt file or one of {names}")
    model = _converted(Path(name)) if ctranslate2_weights.is_folder(name) else _openai(name)
    computed_once.spare(model)
    return model


def _openai(name: str) -> Model:
    try:
        with lean_whisper.unfilled():
            return lean_whisper.load().load_model(name).eval()
    except OSError as error:  # urllib's errors are OSErrors
        raise ModelError(
            f"whisper.model: {name} could not be downloaded: {error}; get online and run `dvc repro` again, or name "
            "a file or folder that is here"
        ) from error
    except Exception as error:
        if not is_file(name):
            raise
        raise ModelError(
            f"{name}: is not a Whisper checkpoint ({type(error).__name__}); bring the right file"
        ) from error


def _converted(folder: Path) -> Model:
    """What CTranslate2's folder holds, as openai-whisper's model."""
    import torch

    kinds = lean_whisper.load().model
    dimensions, weights, heads = ctranslate2_weights.read(folder)
    with lean_whisper.unfilled():
        model = kinds.Whisper(kinds.ModelDimensions(**dimensions))
    try:
        model.load_state_dict({name: torch.tensor(values) for name, values in weights.items()})
    except RuntimeError as error:
        raise ModelError(f"{folder}: lacks weights of Whisper ({str(error).splitlines()[-1].strip()})") from error
    if heads:  # those that follow the words; without them, half of all heads are asked for word times
        following = torch.zeros(dimensions["n_text_layer"], dimensions["n_text_head"], dtype=torch.bool)
        following[tuple(zip(*heads, strict=True))] = True
        model.register_buffer("alignment_heads", following.to_sparse(), persistent=False)
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def transcribe(
    model: Model,
    samples: Any,  # float32, 16 kHz, one channel
    *,
    language: str = "en",
    prompt: str = "",
    word_timestamps: bool = False,
) -> WhisperTranscript:
    """What is said in the samples; `prompt` is given to every window, not only to the first."""
    import torch

    whisper = lean_whisper.load()
    on_gpu = _settled(model)
    with torch.inference_mode():
        result = whisper.transcribe(
            model,
            samples,
            language=language,
            temperature=0.0,
            condition_on_previous_text=False,
            max_initial_timestamp=None,  # speech may begin late in the window
            initial_prompt=prompt or None,
            carry_initial_prompt=bool(prompt),
            word_timestamps=word_timestamps,
            fp16=on_gpu,
            verbose=False if len(samples) > LONG * SAMPLE_RATE and sys.stderr.isatty() else None,  # False: a bar
        )
    utterances = [_utterance(segment) for segment in result["segments"] if segment["text"].strip()]
    return WhisperTranscript(result["language"], utterances)


def hear(model: Model, sounds: Sequence[Any], languages: Sequence[str]) -> list[Heard]:
    """What is said in clips of at most WINDOW seconds, all at once: samples as for `transcribe`."""
    import torch

    whisper = lean_whisper.load()
    on_gpu = _settled(model)
    # padded as the spectrogram, not as the sound: as `transcribe` does, and as the tiny Whisper has learnt it
    mels = [
        whisper.pad_or_trim(whisper.log_mel_spectrogram(s, model.dims.n_mels, device=model.device), 100 * WINDOW)
        for s in sounds
    ]
    transcribed: dict[int, Heard] = {}
    with torch.inference_mode():
        lengths = [len(sound) / SAMPLE_RATE for sound in sounds]
        features = silent_tail.embed(model, torch.stack(mels).to(torch.float16 if on_gpu else torch.float32), lengths)
        with shared_silence.seen_once(model, silent_tail.shared_from(model, lengths)):
            for language in dict.fromkeys(languages):
                rows = [row for row, other in enumerate(languages) if other == language]
                heard = _to_the_end(model, features[rows], [lengths[row] for row in rows], language, on_gpu)
                guesses = whisper.detect_language(model, features[rows])[1] if model.is_multilingual else None
                for place, row in enumerate(rows):
                    transcribed[row] = Heard(heard[place], guesses[place].get(language, 0.0) if guesses else None)
    return [transcribed[row] for row in range(len(sounds))]


def _to_the_end(model: Model, features: Any, seconds: Sequence[float], language: str, fp16: bool) -> list[str]:
    """Decode each window with times; again without them where the end of the sound was not heard, or in a loop.

    With times, Whisper ends a window at the first end that it believes in, and `transcribe` would go on from there.
    """
    whisper = lean_whisper.load()
    options = {"language": language, "temperature": 0.0, "fp16": fp16}
    timed = greedy.decoded(whisper, model, features, whisper.DecodingOptions(**options, max_initial_timestamp=None))
    texts = [one.text for one in timed]
    doubtful = [
        place
        for place, one in enumerate(timed)
        if seconds[place] - _last_time(model, one.tokens) > UNHEARD or one.compression_ratio > LOOPING
    ]
    if doubtful:
        untimed = whisper.DecodingOptions(**options, without_timestamps=True)
        again = greedy.decoded(whisper, model, features[doubtful], untimed)
        for place, one in zip(doubtful, again, strict=True):
            if one.compression_ratio <= max(LOOPING, timed[place].compression_ratio):
                texts[place] = one.text
    return texts


def _last_time(model: Model, tokens: Sequence[int]) -> float:
    """Seconds until which the window was heard; all of it where no time was written."""
    zero = lean_whisper.load().tokenizer.get_tokenizer(model.is_multilingual).timestamp_begin
    return max(((token - zero) * 0.02 for token in tokens if token >= zero), default=float(WINDOW))


def texts(params: WhisperParams, sounds: Sequence[Any], languages: Sequence[str] | None = None) -> list[str]:
    """What is said in each sound, heard in its own language; those that fit into a window are heard all at once."""
    model, spoken = load(params), languages or ["en"] * len(sounds)
    fit = [number for number, sound in enumerate(sounds) if len(sound) <= WINDOW * SAMPLE_RATE]
    heard = hear(model, [sounds[number] for number in fit], [spoken[number] for number in fit]) if fit else []
    by_number = dict(zip(fit, (one.text for one in heard), strict=True))
    return [
        by_number[number] if number in by_number else transcribe(model, sound, language=spoken[number]).text
        for number, sound in enumerate(sounds)
    ]


def _settled(model: Model) -> bool:
    """Whether the model is on the GPU; it has its threads then."""
    settle(model)
    return bool(model.device.type == "cuda")


def check_language(model: Model, language: str, name: str) -> None:
    """Raise where the model does not speak the recording's language: it would write English nonsense, silently."""
    if language not in (lean_whisper.load().tokenizer.LANGUAGES if model.is_multilingual else {"en"}):
        raise ModelError(unknown(language, name, "does not know it" if model.is_multilingual else "knows English only"))


def unknown(language: str, name: str, why: str) -> str:
    return f"{name}: is in `{language}`, and whisper.model {why}; name another in params.yaml, say turbo"


def check_prompt(model: Model, prompt: str) -> None:
    """Raise where the prompt is too long: Whisper would drop its beginning without a word."""
    tokens = len(lean_whisper.load().tokenizer.get_tokenizer(model.is_multilingual).encode(" " + prompt.strip()))
    most = int(model.dims.n_text_ctx) // 2 - 1
    if prompt and tokens > most:
        raise ModelError(f"the glossary has {tokens} tokens and Whisper reads {most}; keep the rarest terms")


def _utterance(segment: dict[str, Any]) -> HeardUtterance:
    words = [
        Word(float(w["start"]), float(w["end"]), w["word"], float(w["probability"])) for w in segment.get("words", [])
    ]
    return HeardUtterance(
        start=float(segment["start"]),
        end=float(segment["end"]),
        text=" ".join(segment["text"].split()),
        avg_logprob=float(segment["avg_logprob"]),
        no_speech_prob=float(segment["no_speech_prob"]),
        words=words,
    )


def is_file(model: str) -> bool:
    return model.endswith(".pt") or "/" in model


def _weights(model: str) -> Path:
    """The one file by whose bytes a model is known."""
    path = Path(model) / "model.bin" if ctranslate2_weights.is_folder(model) else Path(model)
    if not path.is_file():
        raise ModelError(
            f"{model}: no such Whisper checkpoint (whisper.model in params.yaml); `git checkout -- {model}` brings an "
            "embedded one back, a name such as turbo lets openai-whisper download its own"
        )
    return path
