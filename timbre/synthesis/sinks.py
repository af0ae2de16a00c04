"""Where spoken sound goes while it is made: a file, a pipe, a player. Nothing here waits for the end to begin."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from timbre.core.errors import DataError

if TYPE_CHECKING:
    from timbre.audio import Samples

Write = Callable[["Samples"], object]
"""Takes the next samples."""
PIPE = Path("-")
UNKNOWN = 2**32 - 1  # bytes: what a WAV says that is still being made
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
def sink(out: Path, player: tuple[str, ...] | None, rate: int) -> Iterator[Write]:
    """Where the sound goes; a file is there when it is whole."""
    if player:
        with playing(player) as stream:
            yield wav(stream, rate)
    elif out == PIPE:
        with standard_output() as stream:
            yield wav(stream, rate)
    else:
        with file(out, rate) as write:
            yield write


@contextmanager
def file(path: Path, rate: int) -> Iterator[Write]:
    import soundfile

    from timbre import audio

    temporary = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        with soundfile.SoundFile(temporary, "w", rate, 1, "PCM_16") as target:
            yield lambda piece: target.write(audio.to_pcm(piece))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def wav(stream: IO[bytes], rate: int) -> Write:
    """The header of a WAV whose length nobody knows yet (16 bits, one channel), and what writes its samples."""
    from timbre import audio

    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    stream.write(struct.pack("<4sI4s", b"RIFF", UNKNOWN, b"WAVE") + form + struct.pack("<4sI", b"data", UNKNOWN))

    def write(piece: Samples) -> None:
        stream.write(audio.to_pcm(piece).astype("<i2", copy=False).tobytes())
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
