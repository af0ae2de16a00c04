"""The MLmodel file beside a recorded adapter: by it MLflow loads the voice and knows what to give and to expect.

    voice = mlflow.pyfunc.load_model("models:/timbre@champion")
    voice.predict([{"text": "The ferry departs."}])       # [{"audio": WAV as base64, "seconds": …, "version": …}]

It names a module of ours as the loader. So a store holds no pickle and no code: who loads a voice runs the library
that is installed.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import yaml

from timbre.core.content import folder_key
from timbre.core.errors import ModelError
from timbre.core.sections import VoiceParams

FILE = "MLmodel"  # MLflow's name
OWN = (FILE, "registered_model_meta")  # files that MLflow puts beside an adapter
LOADER = "timbre.speech"  # its `_load_pyfunc`
VOICE = "timbre.voice"  # among the file's metadata: the base model


def adapter_key(folder: Path) -> str:
    """DVC's hash of an adapter's folder, without the files that MLflow has put there."""
    return folder_key(folder, OWN)


def write(path: Path, voice: dict[str, Any]) -> None:
    """`voice` is the section of params.yaml that the adapter was trained with."""
    from mlflow.models import Model, ModelSignature
    from mlflow.pyfunc import add_to_model
    from mlflow.types import ColSpec, Schema

    inputs = Schema([ColSpec("string", "text"), ColSpec("long", "seed", required=False)])
    outputs = Schema([ColSpec("string", "audio"), ColSpec("double", "seconds"), ColSpec("string", "version")])
    model = Model(signature=ModelSignature(inputs, outputs), metadata={VOICE: voice})
    add_to_model(model, loader_module=LOADER)
    model.save(str(path))


def voice_of(folder: Path, today: VoiceParams) -> VoiceParams:
    """The base that the MLmodel file names; what it leaves out is as params.yaml has it today."""
    try:
        document = yaml.safe_load((folder / FILE).read_text(encoding="utf-8"))
        said = document["metadata"][VOICE]
        known = {name: said[name] for name in vars(today) if name in said}
        return dataclasses.replace(today, **known)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{folder / FILE}: names no base model; `dvc repro -f track` records it anew") from error
