"""The files of the test repository: this project's pipeline with two short recordings and small random models."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from ruamel.yaml import YAML

RATE = 16_000  # Hz
PIPELINE = ["dvc.yaml", "params.yaml", "stages", "timbre", ".gitignore", ".dvcignore"]
ORDINALS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"]
SMALL: dict[str, dict[str, Any]] = {  # so that a run takes seconds; a key that params.yaml lacks is an error
    "chunk": {"max_seconds": 8, "vad": "energy"},  # its sound is no voice
    "dataset": {"wrong_cer": None, "min_heard": None},  # its Whisper hears nothing
    "train": {
        "max_steps": 6,
        "eval_every": 2,
        "eval_cost": 1.0,
        "warmup": 1,
        "batch": 2,
        "learning_rate": 0.001,
        "patience": 0,
    },
    "generate": {"seeds": [0], "true_prompts": 1, "batch": 2, "cap_seconds": 1.0, "cap_seconds_per_character": 0.01},
}

SPEAKERS = """speakers:
  ann:
    name: Ann, a sound
    consent: {by: nobody, when: 2026-11-01, for: tests, evidence: null, revoked: null}
"""


def build_repository(root: Path, project: Path) -> None:
    root.mkdir(parents=True)
    for name in PIPELINE:
        source, target = project / name, root / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    shrink(root / "params.yaml")
    from tests.support.tiny_models import random_csm, random_whisper

    random_csm(root / "models/tiny/csm")
    for other in ("orpheus", "xtts", "sovits"):  # dependencies of stages that these parameters don't use
        write(root / f"models/tiny/{other}/config.json", "{}\n")
    random_whisper(root / "models/tiny/whisper.pt")
    write(root / "data/opinions/.gitkeep", "")
    write(root / "data/glossary.txt", "# names that Whisper should know\nMarlow\n")
    write(root / "data/pronunciations.tsv", "language\tword\tspelling\n")
    for part in ("speaker", "voices/mira", "voices/rasmus"):  # small enough to be the real ones
        shutil.copytree(project / "models/tiny" / part, root / "models/tiny" / part)
    prompts = ["id\tkind\ttext", "one\tdomain\tThe ferry waits.", "two\thard\tThe green train."]
    write(root / "data/prompts.tsv", "\n".join(prompts) + "\n")
    write(root / "data/speakers.yaml", SPEAKERS)
    for number, name in enumerate(["alpha", "beta"]):
        add_recording(root, name, seed=number)


def shrink(path: Path) -> None:
    yaml = YAML()
    document = yaml.load(path)
    for section, values in SMALL.items():
        for key, value in values.items():
            assert key in document[section], f"{section}.{key} is no key of params.yaml any more"
            document[section][key] = value
    yaml.dump(document, path)


def add_recording(root: Path, name: str, seed: int) -> None:
    """Eight sentences of 3 s, one every 4 s, with a person's transcript and an entry in sources.yaml."""
    speech = sentences(seed)
    path = root / "data/recordings" / f"{name}.flac"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, speech, RATE, subtype="PCM_16")
    rows = [
        f"{4 * i + 1:.2f}\t{4 * i + 4:.2f}\tann\t\tThis is the {ordinal} sentence of {name}."
        for i, ordinal in enumerate(ORDINALS)
    ]
    write(root / "data/transcripts" / f"{name}.tsv", "\n".join(["start\tend\tspeaker\tflag\ttext", *rows]) + "\n")
    with (root / "data/sources.yaml").open("a") as sources:
        sources.write(
            f"- id: {name}\n  file: data/recordings/{name}.flac\n  speaker: ann\n  language: en\n"
            "  licence: CC0-1.0\n  consent: synthetic sound, no person\n"
        )


def sentences(seed: int) -> np.ndarray:
    """Sound with the shape of speech: eight stretches of syllables between stretches of near silence.

    Made by plain arithmetic: a sine's last bit differs from machine to machine, and tests/golden knows every bit.
    """
    random = np.random.default_rng(seed)
    time = np.arange((4 * len(ORDINALS) + 1) * RATE) / RATE
    voice = (time * 120 * (seed + 2) / 2) % 1 - 0.5
    syllables = np.abs((time * 4) % 1 - 0.5) * 2
    spoken = np.clip(np.minimum((time - 1) % 4, 3 - (time - 1) % 4) * 50, 0, 1) * (time >= 1)
    sound = 0.4 * voice * syllables * spoken + 0.0006 * (random.random(len(time)) - 0.5)
    return sound.astype(np.float32)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
