"""Recordings to fetch, and what became of them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile

from stages import fetch
from timbre.audio import Samples
from timbre.core.errors import SourceError
from timbre.core.sections import FetchParams
from timbre.project.sources import Source

RATE = 24_000
RAW = Path("data/raw")
PARAMS = FetchParams(max_hours=1, max_megabytes=10, min_seconds=1, retries=1, timeout_seconds=5)


def tone(seconds: float = 2.0, pitch: float = 220) -> Samples:
    return (0.3 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def local(id: str, pitch: float = 220) -> Source:
    path = f"data/recordings/{id}.wav"
    soundfile.write(path, tone(pitch=pitch), RATE)
    return Source(id, "marina", "en", "CC0-1.0", "own voice", file=path)


def remote(id: str, url: str) -> Source:
    return Source(id, "marina", "en", "CC0-1.0", "own voice", url=url)


def record(id: str) -> dict[str, Any]:
    written: dict[str, Any] = json.loads((RAW / f"{id}.json").read_bytes())
    return written


def failures(*declared: Source, params: FetchParams = PARAMS) -> list[str]:
    with pytest.raises(SourceError) as caught:
        fetch.fetch_all(declared, RAW, params)
    return str(caught.value).splitlines()


def encoded(ending: str, folder: str) -> Path:
    """Two seconds of tone in that container, in a video for those that hold one."""
    wav, target = Path("tone.wav"), Path(folder, f"talk.{ending}")
    soundfile.write(wav, np.repeat(tone(), 2), 2 * RATE)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(wav)]
    if ending in ("mp4", "mkv"):
        command += ["-f", "lavfi", "-i", "color=size=16x16:rate=5:duration=2"]
    subprocess.run([*command, str(target)], check=True)
    return target
