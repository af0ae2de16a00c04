"""Where spoken sound goes while it is made: a file, a pipe, a player. Nothing here waits for the end to begin."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from timbre.core.errors import DataError

if TYPE_CHECKING:
    from timbre.audio import Samples

Write = Callable[["Samples"], object]
"""Takes the next samples."""
PIPE = Path("-")
FORMATS = {  # a file's ending → libsndfile's names
    ".flac": ("FLAC", "PCM_16"), ".wav": ("WAV", "PCM_16"), ".mp3": ("MP3", "MPEG_LAYER_III"), ".opus": ("OGG", "OPUS"),
}  # fmt: skip
# Each reads a WAV from its standard input and ends with it.
PLAYERS = (
    ("aplay", "-q", "-"),
    ("ffplay", "-nodisp", "-autoexit", "-loglevel", "error", "-"),
    ("mpv", "--really-quiet", "-"),
    ("play", "-q", "-t", "wav", "-"),
)


def found_player() -> tuple[str, ...]:
    for player in PLAYERS:
        if shutil.which(player[0]):
            return player
    names = ", ".join(player[0] for player in PLAYERS)
    raise DataError(f"--play: no player is installed ({names}); leave it out to get a file")


@contextmanager
def sink(out: Path, player: tuple[str, ...] | None, rate: int, tags: Mapping[str, str]) -> Iterator[Write]:
    """Where the sound goes; a file is there when it is whole."""
    if player:
        with playing(player) as stream:
            yield wav(stream, rate, tags)
    elif out == PIPE:
        with standard_output() as stream:
            yield wav(stream, rate, tags)
    else:
        with file(out, rate, tags) as write:
            yield write


@contextmanager
def file(path: Path, rate: int, tags: Mapping[str, str]) -> Iterator[Write]:
    """Signed, where there is a key (timbre/audio/content_credentials.py)."""
    import soundfile

    from timbre import audio
    from timbre.audio.content_credentials import signed

    temporary = path.with_name(f".{path.stem}.part{path.suffix}")
    container, subtype = FORMATS[path.suffix]
    try:
        with soundfile.SoundFile(temporary, "w", rate, 1, subtype, format=container) as target:
            for name, value in tags.items():
                setattr(target, name, value)
            yield lambda piece: target.write(audio.to_pcm(piece))
        if about := json.loads(tags.get("comment", "{}")):
            temporary.write_bytes(signed(temporary.read_bytes(), path.suffix[1:], about))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def wav(stream: IO[bytes], rate: int, tags: Mapping[str, str]) -> Write:
    """A WAV whose length nobody knows yet (16 bits, one channel)."""
    from timbre.audio.containers import WavEncoder

    encoder = WavEncoder(rate, tags)

    def write(piece: Samples) -> None:
        stream.write(encoder.feed(piece))
        stream.flush()

    return write


@contextmanager
def standard_output() -> Iterator[IO[bytes]]:
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # or Python flushes into it at exit, and complains
        raise


@contextmanager
def playing(player: tuple[str, ...]) -> Iterator[IO[bytes]]:
    """A player's standard input; waits until it has played to the end."""
    process = subprocess.Popen(player, stdin=subprocess.PIPE)
    assert process.stdin
    try:
        with process.stdin:
            yield process.stdin
    except BrokenPipeError as error:
        if process.wait():
            raise DataError(f"--play: {player[0]} failed; leave --play out to get a file") from error
        raise
    if process.wait():
        raise DataError(f"--play: {player[0]} failed; leave --play out to get a file")
