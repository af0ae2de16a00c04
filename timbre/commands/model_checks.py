"""What `timbre doctor` looks at among the models: each on this disk, in a cache, or on the hub, and none is loaded."""

from __future__ import annotations

import json
import os
import typing
from pathlib import Path

from timbre import families
from timbre.asr import ctranslate2_weights
from timbre.commands.finding import Finding, Findings, known_params
from timbre.core.records import GO_ON, early_ending
from timbre.core.safe_text import redacted
from timbre.core.sections import VoiceParams, looks_like_hub

FAMILIES = typing.get_args(typing.get_type_hints(VoiceParams)["family"])
PATIENCE = 4.0  # seconds for the hub's answer
TRAINING = Path("models/adapter/training.json")


def voice() -> Findings:
    yield _model("voice model", "voice.base")
    name = str(known_params().get("voice", {}).get("family", ""))
    if name in FAMILIES and (licence := families.limits(name)):
        todo = "`timbre release` and `timbre push voice` ask for --licence-understood"
        yield Finding("warn", "licence", str(licence), todo)


def trained() -> Findings:
    """Whether the adapter here is one that was not trained to its end."""
    try:
        training = json.loads(TRAINING.read_bytes())
    except (OSError, ValueError):  # not trained yet; what is damaged, `--verify` names
        return
    if isinstance(training, dict) and (ended := early_ending(training)):
        yield Finding("warn", "training", ended, GO_ON)


def encoder() -> Findings:
    yield _model("who speaks", "speaker.model")


def _model(title: str, key: str) -> Finding:
    section, _, name = key.partition(".")
    values = known_params().get(section, {})
    model, revision = str(values.get(name, "")), values.get("revision")
    if Path(model).is_dir():
        return Finding("ok", title, model)
    if not looks_like_hub(model):
        return _missing(title, model)
    return _on_hub(title, key, model, revision)


def _missing(title: str, model: str) -> Finding:
    """Git can bring back only what lies in the repository."""
    bring = "" if Path(model).is_absolute() or ".." in Path(model).parts else f"`git checkout -- {model}`, or "
    return Finding("FAIL", title, f"{model} is not here", f"{bring}name another in params.yaml")


def _on_hub(title: str, key: str, name: str, revision: str | None) -> Finding:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str):
        return Finding("ok", title, f"{name}, in the hub's cache")
    try:
        get_hf_file_metadata(hf_hub_url(name, "config.json", revision=revision), timeout=PATIENCE)
    except GatedRepoError:
        return Finding(
            "FAIL",
            title,
            f"{name} is gated",
            f"accept its terms on https://huggingface.co/{name}, then `hf auth login`",
        )
    except RevisionNotFoundError:
        return Finding(
            "FAIL", title, f"{name} has no revision {revision}", f"mend {key.split('.')[0]}.revision in params.yaml"
        )
    except RepositoryNotFoundError:
        return Finding("FAIL", title, f"{name} is not on the hub", f"mend {key} in params.yaml, or `hf auth login`")
    except Exception as error:  # whatever the network is up to: the hub's client raises its transport's own errors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        text = redacted(f"{name} is neither here nor reachable ({reason})")
        return Finding("FAIL", title, text, "get online, or name a folder")
    return Finding("ok", title, f"{name}, on the hub; downloaded at the first use")


def listener() -> Findings:
    name = str(known_params().get("whisper", {}).get("model", ""))
    if name.endswith(".pt") or "/" in name:
        there = Path(name).is_file() or ctranslate2_weights.is_folder(name)
        yield Finding("ok", "Whisper", name) if there else _missing("Whisper", name)
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "whisper"
    file = {"turbo": "large-v3-turbo", "large": "large-v3"}.get(name, name)
    if (cache / f"{file}.pt").is_file():
        yield Finding("ok", "Whisper", f"{name}, in {cache}")
    else:
        yield Finding("warn", "Whisper", f"{name} is not here yet", "openai-whisper downloads it at the first use")
