"""Checkpoints that other projects saved by torch: read without running what lies in them, and loaded whole.

saved = read(Path("model.pth"), ("TTS.tts.configs.xtts_config.XttsConfig",))    # these classes become plain objects
fit(vocoder, under(saved["model"], "hifigan_decoder.waveform_decoder."), "vocoder of model.pth")
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from timbre.core.errors import ModelError

State = Mapping[str, Tensor]


class PickledObject:
    """Stands for an object of a class that is not here: its attributes, or the items of a dictionary's child."""

    def __init__(self, *values: Any) -> None: ...

    def __setitem__(self, key: str, value: Any) -> None:
        self.__dict__[key] = value


def plain(value: Any) -> Any:
    """Stand-ins as dictionaries, all the way down."""
    if isinstance(value, PickledObject):
        return plain(vars(value))
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def read(path: Path, classes: Sequence[str] = (), *, content: bytes | None = None) -> Any:
    """What torch saved in a file, or in these bytes of it: tensors, plain values and the named classes alone."""
    if content is None and not path.is_file():
        raise missing(path)
    source = path if content is None else io.BytesIO(content)
    stand_ins: list[tuple[type, str]] = [(PickledObject, name) for name in classes]
    try:
        with torch.serialization.safe_globals(stand_ins):
            return torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if foreign := re.search(r"GLOBAL (\S+)", str(error)):
            raise ModelError(
                f"{path} pickles {foreign[1]}, a class that such a file has no need of and that could run any code; "
                "it was not loaded: take the file from where the model was published"
            ) from error
        raise ModelError(
            f"{path} is no file that torch saved (a page or a git-lfs pointer?); download it again"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # whatever the unpickler stumbles over: IndexError, KeyError, struct.error …
        raise damaged(path, error) from error


def missing(path: Path) -> ModelError:
    return ModelError(f"{path} is missing; the folder is incomplete: restore it, or name another")


def damaged(path: Path, error: Exception) -> ModelError:
    reason = str(error).strip().splitlines()[0].rstrip(".")[:100] if str(error).strip() else type(error).__name__
    return ModelError(f"{path} is damaged or cut off ({reason}); download it again")


def tensors(saved: Any, path: Path) -> dict[str, Tensor]:
    """The state dict that was read from `path`."""
    if not isinstance(saved, Mapping) or not all(isinstance(value, Tensor) for value in saved.values()):
        raise ModelError(f"{path} holds no table of weights; is it another model's file?")
    return dict(saved)


def local_folder(base: str, revision: str | None, files: Sequence[str], optional: Sequence[str] = ()) -> Path:
    """The folder of a base model: `base` itself, or these files of it from the hub."""
    if (folder := Path(base)).is_dir():
        return folder
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    paths = []
    for name in files:
        try:
            paths.append(Path(hf_hub_download(base, name, revision=revision)))
        except LocalEntryNotFoundError as error:
            raise ModelError(f"voice.base: {base} cannot be fetched; be online, or name a folder") from error
        except EntryNotFoundError as error:
            if name not in optional:
                raise ModelError(f"voice.base: {base} has no {name} at {revision}; is it of this family?") from error
        except (HfHubHTTPError, OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0].rstrip(".")
            raise ModelError(f"voice.base: {base} cannot be fetched ({reason}); name a folder") from error
    return paths[0].parent


def under(state: State, prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def without(state: State, prefixes: Iterable[str]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if not key.startswith(tuple(prefixes))}


def renamed(state: State, names: Mapping[str, str]) -> dict[str, Tensor]:
    """Parts of keys replaced, in the order of `names`."""

    def new(key: str) -> str:
        for old, name in names.items():
            key = key.replace(old, name)
        return key

    return {new(key): value for key, value in state.items()}


def size(state: State, key: str, dimension: int, path: Path) -> int:
    """A size of a model that its configuration does not name."""
    if key not in state or state[key].dim() <= dimension:
        raise ModelError(f"{path} lacks {key}; is it another model's file?")
    return int(state[key].shape[dimension])


def fit(module: nn.Module, state: State, name: str) -> None:
    """Load in single precision, with no weight missing, left over or of another shape."""
    own = module.state_dict()
    for complaint, keys in (
        ("lacks", sorted(own.keys() - state.keys())),
        ("has more than this model:", sorted(state.keys() - own.keys())),
        ("has another shape of", [key for key in own if key in state and own[key].shape != state[key].shape]),
    ):
        if keys:
            raise ModelError(f"{name} {complaint} {keys[0]} ({len(keys)} in all); is it of another version?")
    module.load_state_dict({key: value.float() for key, value in state.items()})
