"""A version of the voice for programs: loaded by its name, and marked like all that it says.

    from timbre import speech

    voice = speech.load("champion")                     # or candidate, a commit, a run, a folder; run in the repository
    Path("a.wav").write_bytes(voice.wav("The ferry departs."))
    for piece in voice.stream("The ferry departs."):    # float32, one channel, voice.sample_rate
        play(piece)

MLflow loads the same by `models:/timbre@champion`: the MLmodel file of a run names this module, so that no code and no
pickle of a store is run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from timbre.exchange.ready_voice import MlflowVoice, ReadyVoice, load, of_mlflow

__all__ = ["MlflowVoice", "ReadyVoice", "load"]


def _load_pyfunc(path: str) -> Any:
    """What MLflow calls with the folder of the model; the name is its own."""
    return of_mlflow(Path(path))
