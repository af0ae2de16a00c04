"""A version of the voice in memory, which speaks texts of any length for a program; `timbre.speech` shows how.

Who is heard has to have consented, as for `timbre say`. MLflow's server answers whoever asks it, so a voice that MLflow
loads also needs the use `serve`.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from timbre import families
from timbre.audio import Samples
from timbre.audio.emitting import MarkedSound, wav_file
from timbre.core.errors import DataError
from timbre.core.params import read
from timbre.exchange import voice_versions
from timbre.exchange.model_cards import mark_of
from timbre.exchange.speaker_choice import check_marked, usual
from timbre.exchange.voice_versions import VoiceVersion
from timbre.families import Turn, Voice
from timbre.project.permissions import SERVE, Permissions
from timbre.synthesis.narration import Manner, Narration, manner_of, narrated, passages
from timbre.synthesis.spoken_log import SpokenLog
from timbre.synthesis.written_text import spelled_out
from timbre.tracking import mlmodel


class ReadyVoice:
    """A loaded voice; its methods may be called from several threads, which then wait for each other."""

    def __init__(
        self, version: VoiceVersion, voice: Voice, reference: tuple[Turn, ...], door: str, speaker: str | None = None
    ) -> None:
        self.version, self.voice, self.reference = version, voice, version.as_learnt(reference)
        self.speaker = None if speaker is None else version.speaker(speaker)
        self.door, self.log = door, SpokenLog()
        self.mark = mark_of(version.key)
        self.lock = threading.Lock()

    @property
    def sample_rate(self) -> int:
        return self.voice.sample_rate

    def stream(
        self, text: str, *, seed: int = 0, language: str = "en", speed: float = 1.0, normalize: bool = True
    ) -> Generator[Samples, None, bool]:
        """Marked sound as it is made; returns whether every sentence ended by itself and not by the cap."""
        spoken = spelled_out(text, language) if normalize else text
        script = Narration(passages(spoken, language), self._manner(seed, language))
        samples = 0
        with self.lock:
            pieces = MarkedSound(self.sample_rate, self.mark, speed).pieces(narrated(self.voice, script))
            try:
                for piece in pieces:
                    samples += len(piece)
                    yield piece
            finally:
                self.log.add(
                    door=self.door, version=self.version.key, key=None, text=text, seconds=samples / self.sample_rate
                )
        return not script.cut

    def say(self, text: str, **how: Any) -> Samples:
        """All of it; `how` is that of `stream`."""
        return np.concatenate([np.zeros(0, np.float32), *self.stream(text, **how)])

    def wav(self, text: str, **how: Any) -> bytes:
        """A WAV file, 16 bits."""
        return wav_file(self.say(text, **how), self.sample_rate, self.mark)

    def _manner(self, seed: int, language: str) -> Manner:
        like = usual(self.version, language) if self.speaker is None else Turn("", None, language, self.speaker)
        return manner_of(self.voice, read().generate, seed=seed, reference=self.reference, like=like)


def load(
    name: str = "models/adapter", *, reference: tuple[Turn, ...] = (), speaker: str | None = None, door: str = "python"
) -> ReadyVoice:
    """A version by the name that people give it. `reference` is heard first, as of `synthesis.reference_clip()`; where
    there is none, a version of several speakers speaks as `speaker`."""
    return of_version(voice_versions.find(name), reference, door, speaker)


def of_version(
    version: VoiceVersion, reference: tuple[Turn, ...] = (), door: str = "python", speaker: str | None = None
) -> ReadyVoice:
    if speaker is not None and not reference:
        check_marked(version, speaker)
    return ReadyVoice(version, loaded(version), reference, door, speaker)


def loaded(version: VoiceVersion, *, speaking: bool = False) -> Voice:
    """The model alone; SourceError where somebody whose voice it learnt may not be heard.

    `speaking` is as of `families.load_once`.
    """
    if version.adapter:
        Permissions().check_learnt(version.speakers, version.name)
    return families.load_once(version.voice, version.adapter, read().generate.precision, speaking=speaking)


def of_mlflow(folder: Path) -> MlflowVoice:
    """The folder of a model as `track` recorded it: an adapter, and beside it what its base is."""
    version = voice_versions.of_folder(folder.name, folder, mlmodel.voice_of(folder, read().voice))
    version = replace(version, name=f"version {version.short}")
    Permissions().check_use(version.speakers, version.name, SERVE)
    return MlflowVoice(of_version(version, door="mlflow"))


class MlflowVoice:
    """What `mlflow.pyfunc.load_model` wraps: rows of texts in, rows of sounds out."""

    def __init__(self, ready: ReadyVoice) -> None:
        self.ready = ready

    def predict(self, rows: Any, params: Any = None) -> list[dict[str, Any]]:
        """`rows` is a pandas table with a column `text` and, if wanted, `seed`, or a list of texts."""
        return [self._row(text, seed) for text, seed in _asked(rows)]

    def _row(self, text: str, seed: int) -> dict[str, Any]:
        Permissions().check_use(self.ready.version.speakers, self.ready.version.name, SERVE)  # as it is today
        sound = self.ready.say(text, seed=seed)
        content = wav_file(sound, self.ready.sample_rate, self.ready.mark)
        seconds = round(len(sound) / self.ready.sample_rate, 3)
        return {"audio": base64.b64encode(content).decode(), "seconds": seconds, "version": self.ready.version.key}


def _asked(rows: Any) -> Iterator[tuple[str, int]]:
    listed = rows.to_dict("records") if hasattr(rows, "to_dict") else rows
    for row in [listed] if isinstance(listed, str | dict) else listed:
        given = row if isinstance(row, dict) else {"text": row}
        text, seed = given.get("text"), given.get("seed")
        if not isinstance(text, str) or not text.strip():
            raise DataError("text: each row needs a text to speak")
        yield text, 0 if seed is None or seed != seed else int(seed)  # an empty cell of a table is not a number
