"""Which version of the voice spoke a sound file: by what the file says of itself, else by the mark in the sound.

A mark names the first eight hex digits of the version's key, which is DVC's hash of its adapter. It is
compared with the keys that are known: the work tree's, and that of every commit.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from timbre import audio
from timbre.audio import Samples
from timbre.audio.content_credentials import Credential, credential
from timbre.audio.watermark import KEY_DIGITS, WatermarkFound, detect
from timbre.core.errors import DataError
from timbre.core.safe_text import visible

SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".oga", ".aac", ".m4a", ".webm")
SURE = 5.0  # standard deviations by which a mark that cannot be read whole must fit a known version
BLOCK = 1 << 16  # samples that are read at once: a file that was streamed does not say how many there are
LONGEST = 120  # seconds that are looked at


@dataclass(frozen=True)
class SpokenBy:
    """What a file tells."""

    said: str | None  # the key that its metadata name
    mark: WatermarkFound | None
    commit: str | None  # a commit of that version; None: the work tree, or none is known
    key: str | None  # of the version that it was found to be
    credential: Credential | None = None  # its signed manifest

    def line(self, path: str) -> str:
        """One line that a person reads."""
        ways = [*([self._words()] if self.said else []), *(["the mark in the sound"] if self.mark else [])]
        if not ways:
            return f"{path}: neither metadata nor a mark of Timbre in it; nobody can say from the file what spoke it"
        which = self.key or self.said or (self.mark.payload if self.mark else None)
        named = f"version {which[:KEY_DIGITS]}" if which else "a version that is too faint to read"
        here = "" if self.key else ", which is not in this repository"
        return f"{path}: synthetic, spoken by {named}{here}, according to {' and '.join(ways)}"

    def _words(self) -> str:
        if self.credential is None or self.credential.voice is None:
            return "its metadata"
        by = visible(self.credential.by)
        return (
            f"its manifest, signed by {by}"
            if self.credential.whole
            else f"its metadata, changed since {by} signed them"
        )


def is_sound_file(root: Path, path: str) -> bool:
    return Path(path).suffix.lower() in SOUNDS and (root / path).is_file()


def spoken_by(path: Path, known: Iterable[tuple[str | None, str]]) -> SpokenBy:
    """`known` are commits and the keys of their versions; no commit: the work tree."""
    named, sound, rate = read(path)
    signed = credential(path.read_bytes(), path.suffix[1:].lower())
    if signed and signed.whole and is_key(signed.voice):
        named = signed.voice
    mark = detect(sound, rate)
    for commit, key in known:
        if named is not None and key == named:
            return SpokenBy(named, mark, commit, key, signed)
        if named is None and mark and fits(mark, key):
            return SpokenBy(named, mark, commit, key, signed)
    return SpokenBy(named, mark if mark and mark.payload else None, None, None, signed)


def fits(mark: WatermarkFound, key: str) -> bool:
    if mark.payload is not None:
        return key.startswith(mark.payload)
    return mark.fits(key[:KEY_DIGITS]) > SURE


def read(path: Path) -> tuple[str | None, Samples, int]:
    """The key that the file's comment names, its samples, and their rate."""
    import soundfile

    try:
        return _read(path)
    except (soundfile.LibsndfileError, OSError, RuntimeError, ValueError):
        pass  # a FLAC that was streamed, or a container that libsndfile does not know
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "sound.wav"
        command = [ffmpeg(), "-v", "error", "-i", f"file:{path.resolve()}", "-t", str(LONGEST), "-map_metadata", "0"]
        done = subprocess.run([*command, str(wav)], stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode:
            raise DataError(f"{path}: cannot be read as sound")
        return _read(wav)


def ffmpeg() -> str:
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())


def _read(path: Path) -> tuple[str | None, Samples, int]:
    import soundfile

    with audio.quiet_decoder(), soundfile.SoundFile(path) as file:
        rate, comment = file.samplerate, file.comment
        blocks, left = [], LONGEST * rate
        while left > 0 and len(block := file.read(min(BLOCK, left), dtype="float32", always_2d=True)):
            blocks.append(block.mean(1))
            left -= len(block)
    return key_in(comment), np.concatenate(blocks) if blocks else np.zeros(0, np.float32), rate


def key_in(comment: str) -> str | None:
    try:
        key = json.loads(comment)["voice"]
    except (ValueError, KeyError, TypeError):
        return None
    return key if is_key(key) else None


def is_key(key: object) -> bool:
    """Whoever wrote it: eight hex digits or more."""
    return isinstance(key, str) and re.fullmatch(r"[0-9a-f]{8,64}", key) is not None
