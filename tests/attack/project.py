"""A small project in which files are spoilt and then made good again."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from tests.support.git_histories import MORNING, NOON
from tests.support.git_history import Voice
from timbre import audio
from timbre.audio import flac_bytes

RATE = 16_000
TABLE = (
    "start\tend\tspeaker\tflag\ttext\n0.00\t1.50\tmarina\tok\tThe tide comes in.\n1.60\t3.00\tmarina\t\tThe boats go.\n"
)


class Project:
    """A small project with two versions, in which files are spoilt and then made good again."""

    def __init__(self, folder: Path) -> None:
        voice = Voice(folder / "a/b/c/project")  # deep, so that no ../ leads out of the folder
        self.root = voice.root
        voice.add("morning", MORNING)
        voice.commit("first")
        voice.add("noon", NOON)
        voice.wrong["ferry"] = 3
        voice.commit("second")
        sound = voice_like(3.0)
        for name in ("morning", "noon"):
            path = self.root / f"data/recordings/{name}.flac"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(flac_bytes(sound, RATE))
        (self.root / "data/glossary.txt").write_text("trellis\nMarlow # a name\n")
        (self.root / "data/prompts.tsv").write_text("id\tkind\ttext\nferry\tdomain\tThe ferry comes.\n")
        (self.root / "data/raw").mkdir()
        for name in ("morning", "noon"):
            (self.root / f"data/raw/{name}.flac").write_bytes(flac_bytes(sound, RATE))
            about = {"id": name, "speaker": "marina", "language": "en", "licence": "x", "consent": "y", "origin": "z",
                     "sha256": audio.sha256(sound), "sample_rate": RATE, "seconds": 3.0}  # fmt: skip
            (self.root / f"data/raw/{name}.json").write_text(json.dumps({"recording": about}))
        (self.root / "next.txt").write_text("# one a line\nThe ferry waits at the pier.\nThe night train leaves.\n")
        for name in ("a.wav", "b.wav"):
            soundfile.write(self.root / name, sound, RATE)
            for folder in ("lj/wavs", "gs/wavs", "folder"):
                (self.root / folder).mkdir(parents=True, exist_ok=True)
                shutil.copy(self.root / name, self.root / folder / name)

    @contextlib.contextmanager
    def with_file(self, name: str, content: bytes) -> Iterator[Path]:
        path = self.root / name
        before = path.read_bytes() if path.exists() else None
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True) if before is None else path.write_bytes(before)

    def text(self, name: str) -> str:
        return (self.root / name).read_text(encoding="utf-8")


def voice_like(seconds: float) -> np.ndarray:
    times = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * 220 * times) * (np.sin(2 * np.pi * times) > -0.5)).astype(np.float32)


@contextlib.contextmanager
def unchanged(*paths: Path) -> Iterator[None]:
    before = [path.read_bytes() for path in paths]
    try:
        yield
    finally:
        for path, content in zip(paths, before, strict=True):
            path.write_bytes(content)
