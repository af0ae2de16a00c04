"""A repository with a random CSM and adapters, and the speech server over it, in a thread of this process."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from tests.support.paths import ROOT
from tests.support.shared import built_once
from tests.support.tiny_models import CODEBOOK_SIZE, CODEBOOKS, random_csm, write_random_adapter
from timbre.core import params
from timbre.core.records import Example, write_jsonl
from timbre.exchange.served_voices import ServedVoices
from timbre.families.codes import to_bytes
from timbre.families.slots import Slots, SlotSound
from timbre.synthesis.engine import Engine
from timbre.web.serve.keys import ApiKeys
from timbre.web.serve.server import SpeechServer
from timbre.web.serve.speech_routes import SpeechService

CLIP = "0123456789abcdef"
SPEAKERS = """speakers:
  {name}:
    name: {name}
    consent: {{by: Ann, when: 2026-01-01, for: "tests, serve, publish", evidence: null, revoked: null}}
"""


def build_served(root: Path) -> None:
    """params.yaml, a base, two adapters of ann and one of bob, a reference clip, and who consented."""
    random_csm(root / "base")
    document = params.load(ROOT / "params.yaml")
    document["voice"]["base"] = str(root / "base")
    document["generate"] |= {"cap_seconds": 0.6, "cap_seconds_per_character": 0.0}
    with (root / "params.yaml").open("w") as stream:
        YAML().dump(document, stream)
    for number, (name, speaker) in enumerate((("adapter", "ann"), ("second", "ann"), ("third", "bob"))):
        write_adapter(root, root / f"models/{name}", speaker, number)
    (root / "data/codes/csm").mkdir(parents=True)
    (root / "data/speakers.yaml").write_text(
        SPEAKERS.format(name="ann") + SPEAKERS.format(name="bob").partition("\n")[2]
    )
    example = Example(f"data/clips/{CLIP}.flac", "The green train.", "ann", CLIP, "talk", 0.0, 1.0, 1.0)
    write_jsonl(root / "data/dataset/train.jsonl", [example])
    codes = np.random.default_rng(0).integers(1, CODEBOOK_SIZE, (12, CODEBOOKS)).astype(np.int16)
    (root / f"data/codes/csm/{CLIP}.safetensors").write_bytes(to_bytes({"codes": codes}))


def write_adapter(root: Path, folder: Path, speaker: str, seed: int) -> None:
    write_random_adapter(root / "base", folder, seed)
    (folder / "training.json").write_text(json.dumps({"speakers": {speaker: ["talk"]}}))


def copy_served(template: Path, root: Path) -> Path:
    shutil.copytree(template, root, ignore=shutil.ignore_patterns("base"))
    return root


def work_in_served(factory: pytest.TempPathFactory, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, built once for all tests, as the working directory."""
    copy_served(served_once(factory), root)
    monkeypatch.chdir(root)
    return root


def served_once(factory: pytest.TempPathFactory) -> Path:
    return built_once(factory, "served", lambda root: (root.mkdir(), build_served(root)))


@contextlib.contextmanager
def speaking_server(
    names: Sequence[str] = ("models/adapter",), *, slots: int = 4, waiting: int = 16, per_key: int = 16,
    key_file: Path | None = None, **more: Any,
) -> Iterator[SpeechServer]:  # fmt: skip
    """Over the repository in the working directory."""
    from timbre.exchange import voice_versions

    voices = ServedVoices([voice_versions.find(name) for name in names], slots, waiting)
    server = SpeechServer(SpeechService(voices, ApiKeys.read(key_file, per_key), **more))
    thread = threading.Thread(target=server.serve)
    with server:
        voices.engine.wait_until_ready()
        thread.start()
        try:
            yield server
        finally:
            server.stop()
            thread.join(30)
            assert not thread.is_alive()


@contextlib.contextmanager
def frames_held(engine: Engine, after: int = 0) -> Iterator[None]:
    """Inside, who speaks stays where it is `after` so many frames, while others may still come and be refused."""
    go, frames = threading.Event(), itertools.count()

    def hold(slots: Slots) -> None:
        step = slots.step

        def held() -> Iterator[SlotSound]:
            if next(frames) < after or go.wait(0.01):
                yield from step()

        slots.step = held  # type: ignore[method-assign]

    engine.between_frames(hold)
    try:
        yield
    finally:
        go.set()
