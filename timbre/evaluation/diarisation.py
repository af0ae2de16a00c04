"""Who speaks when, by a pipeline of pyannote.audio (MIT; the extra `diarise`).

    find(path, params)      # turns, which overlap where voices do

`who.model` is a folder with the pipeline's config.yaml, or a pipeline on the hub at a commit; what it names is taken
from that same folder, never from elsewhere, and never as code. pyannote.audio's own reports of use are switched off.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import yaml

from timbre import audio
from timbre.core.content import content_key, model_files
from timbre.core.errors import ModelError
from timbre.core.records import SpeakerTurn
from timbre.core.sections import WhoParams
from timbre.evaluation.speaker_encoder import SAMPLE_RATE

VERSION = 1  # raise when the code finds other turns by the same pipeline
CONFIG = "config.yaml"
PIPELINE = "pyannote.audio.pipelines.SpeakerDiarization"  # the only class that a config may name
PARTS = ("segmentation", "embedding", "plda")  # that a pipeline loads; its own, not one that it would download
OWN = "$model/"
ONLY_WEIGHTS = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # torch asks it, whatever a caller of torch.load says


def fingerprint(params: WhoParams) -> str:
    """The pipeline's part of a content key: of its files, or of its name and commit."""
    folder = Path(params.model)
    if folder.is_dir():
        return content_key(VERSION, model_files(folder))
    if params.revision is None:
        raise ModelError(f"who.model: {params.model} is no folder here; of a model on the hub name who.revision")
    return content_key(VERSION, params.model, params.revision)


def find(path: Path, params: WhoParams) -> list[SpeakerTurn]:
    import torch

    samples, rate = audio.read(path, SAMPLE_RATE)  # not by its own reader, which needs an ffmpeg of the system
    torch.manual_seed(0)
    found = load(params)({"waveform": torch.from_numpy(samples)[None], "sample_rate": rate})
    spoken = getattr(found, "speaker_diarization", found)
    spans = ((turn.start, turn.end, label) for turn, _, label in spoken.itertracks(yield_label=True))
    return numbered(spans, len(samples) / rate)


def numbered(spans: Iterable[tuple[float, float, str]], seconds_in_all: float) -> list[SpeakerTurn]:
    """In order, and within the recording, whose last window goes on after it; the voice that speaks most is 1."""
    parts = sorted((max(0.0, start), min(end, seconds_in_all), label) for start, end, label in spans)
    parts = [part for part in parts if part[0] < part[1]]
    seconds: dict[str, float] = {}
    for start, end, label in parts:
        seconds[label] = seconds.get(label, 0.0) + end - start
    number = {label: place for place, label in enumerate(sorted(seconds, key=lambda label: -seconds[label]), 1)}
    return [SpeakerTurn(round(start, 2), round(end, 2), number[label]) for start, end, label in parts]


@functools.lru_cache(maxsize=1)
def load(params: WhoParams) -> Any:
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
    if importlib.util.find_spec("pyannote") is None or importlib.util.find_spec("pyannote.audio") is None:
        raise ModelError("who.method: pyannote is not installed; `pip install -c constraints.txt '.[diarise]'`")
    folder = Path(params.model) if Path(params.model).is_dir() else downloaded(params)
    check(folder)
    import torch
    from pyannote.audio import Pipeline

    try:
        with weights_alone():
            pipeline = Pipeline.from_pretrained(folder)
    except (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, ImportError, UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"who.model: {params.model} cannot be loaded: {reason}") from error
    return pipeline.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))


@contextlib.contextmanager
def weights_alone() -> Iterator[None]:
    """Its files are pickles, and its makers load them whole, with any code in them: here torch takes weights, and what
    says of which form they are."""
    import torch
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pytorch_lightning.utilities.parsing import AttributeDict
    from torch.torch_version import TorchVersion

    before = os.environ.get(ONLY_WEIGHTS)
    os.environ[ONLY_WEIGHTS] = "1"
    try:
        with torch.serialization.safe_globals([Problem, Resolution, Specifications, AttributeDict, TorchVersion]):
            yield
    finally:
        os.environ.pop(ONLY_WEIGHTS) if before is None else os.environ.update({ONLY_WEIGHTS: before})


def downloaded(params: WhoParams) -> Path:
    """The pipeline's folder in the cache of the hub, without a question where it is there already."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(params.model, revision=params.revision))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"who.model: cannot get {params.model}@{params.revision} from the hub ({type(error).__name__}); accept its "
            "terms there and run `hf auth login`, or copy it to a folder here and name that"
        ) from error


def check(folder: Path) -> None:
    """ModelError unless the folder holds such a pipeline with all its parts."""
    try:
        config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
        name, parts = config["pipeline"]["name"], config["pipeline"]["params"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise ModelError(f"{folder / CONFIG}: is no config of a pyannote pipeline ({type(error).__name__})") from error
    if name != PIPELINE:
        raise ModelError(f"{folder / CONFIG}: names {str(name)[:80]!r}, and only {PIPELINE} is run")
    for part in PARTS:
        inside = str(parts.get(part, ""))
        place = (folder / inside.removeprefix(OWN)).resolve()
        if not inside.startswith(OWN) or not place.is_relative_to(folder.resolve()) or not place.is_dir():
            raise ModelError(
                f"{folder / CONFIG}: its {part} is not {OWN}…, a folder beside it; take a pipeline of 2025"
            )
