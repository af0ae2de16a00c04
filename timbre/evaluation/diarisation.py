"""Who speaks when, by a pipeline of pyannote.audio (MIT; the extra `diarise`).

    find(path, params)      # turns, which overlap where voices do

`who.model` is a folder with the pipeline's config.yaml, or a pipeline on the hub at a commit; what it names is taken
from that same folder, never from elsewhere, and never as code. pyannote.audio's own reports of use are switched off.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from timbre import audio
from timbre.core.content import content_key, file_sha256
from timbre.core.errors import ModelError
from timbre.core.records import SpeakerTurn
from timbre.core.sections import WhoParams
from timbre.evaluation.speaker_encoder import SAMPLE_RATE

VERSION = 1  # raise when the code finds other turns by the same pipeline
CONFIG = "config.yaml"
PIPELINE = "pyannote.audio.pipelines.SpeakerDiarization"  # the only class that a config may name
PARTS = ("segmentation", "embedding", "plda")  # that a pipeline loads; its own, not one that it would download
OWN = "$model/"


def fingerprint(params: WhoParams) -> str:
    """The pipeline's part of a content key: of its files, or of its name and commit."""
    folder = Path(params.model)
    if folder.is_dir():
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".md")
        return content_key(VERSION, [(path.relative_to(folder).as_posix(), file_sha256(path)) for path in files])
    if params.revision is None:
        raise ModelError(f"who.model: {params.model} is no folder here; of a model on the hub name who.revision")
    return content_key(VERSION, params.model, params.revision)


def find(path: Path, params: WhoParams) -> list[SpeakerTurn]:
    import torch

    samples, rate = audio.read(path, SAMPLE_RATE)  # not by its own reader, which needs an ffmpeg of the system
    torch.manual_seed(0)
    found = load(params)({"waveform": torch.from_numpy(samples)[None], "sample_rate": rate})
    spoken = getattr(found, "speaker_diarization", found)
    return numbered((turn.start, turn.end, label) for turn, _, label in spoken.itertracks(yield_label=True))


def numbered(spans: Iterable[tuple[float, float, str]]) -> list[SpeakerTurn]:
    """In order; the voice that speaks most is 1."""
    parts = sorted(spans)
    seconds: dict[str, float] = {}
    for start, end, label in parts:
        seconds[label] = seconds.get(label, 0.0) + end - start
    number = {label: place for place, label in enumerate(sorted(seconds, key=lambda label: -seconds[label]), 1)}
    return [SpeakerTurn(round(max(0.0, start), 2), round(end, 2), number[label]) for start, end, label in parts]


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
        pipeline = Pipeline.from_pretrained(folder)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise ModelError(f"who.model: {params.model} cannot be loaded: {str(error).splitlines()[0]}") from error
    return pipeline.to(torch.device("cuda" if torch.cuda.is_available() else "cpu"))


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
