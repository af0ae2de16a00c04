"""Sound as the bytes of a file while it is still being made: WAV, raw PCM, FLAC, MP3, Ogg Opus, AAC.

    encoder = encoder_of("mp3", rate=16_000, tags={"comment": "synthetic speech"})
    for piece in pieces: send(encoder.feed(piece))
    send(encoder.finish())

Nobody can go back to a header that was sent, so each says what is known at the beginning: WAV and FLAC leave their
length open, MP3 names the encoder's delay so that players cut it off. Opus and AAC carry what they need in each page or
frame. libsndfile writes all but AAC, which needs PyAV (`pip install -c constraints.txt '.[aac]'`).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import soundfile
import soxr

from timbre import audio
from timbre.audio import Samples
from timbre.core.errors import DataError

UNKNOWN = 2**32 - 1  # bytes: what a WAV says that is still being made
PCM_RATE = 24_000  # Hz, of raw PCM: nothing in it says another
OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)  # Hz
MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
SET_OGG_PAGE_LATENCY = 0x1302  # libsndfile's command, in ms, which the Python package has no name for
PAGE_MS = 40.0  # a page of Opus; by itself libsndfile sends one a second
# Of an MP3 whose number of frames is not known, players take the length from the bit rate, so that must not vary.
CONSTANT: dict[str, Any] = {"bitrate_mode": "CONSTANT", "compression_level": 0.6}  # about 64 kb/s
TYPES = {
    "mp3": "audio/mpeg", "opus": "audio/ogg", "aac": "audio/aac", "flac": "audio/flac", "wav": "audio/wav",
    "pcm": "audio/pcm",
}  # fmt: skip
KINDS = tuple(TYPES)
Tags = Mapping[str, str]  # `title`, `comment`, `software`, …: what libsndfile knows


class Encoder(Protocol):
    """One sound's way into a container."""

    def feed(self, sound: Samples) -> bytes:
        """The bytes that are ready, which may be none."""

    def finish(self) -> bytes:
        """The rest."""


def encoder_of(kind: str, rate: int, tags: Tags | None = None) -> Encoder:
    """`rate` of the samples; the container's own may differ."""
    tags = tags or {}
    if kind == "wav":
        return WavEncoder(rate, tags)
    if kind == "pcm":
        return PcmEncoder(rate)
    if kind == "flac":
        return LibsndfileEncoder("FLAC", "PCM_16", rate, rate, tags)
    if kind == "opus":
        return LibsndfileEncoder("OGG", "OPUS", rate, rate if rate in OPUS_RATES else PCM_RATE, tags)
    if kind == "mp3":
        return Mp3Encoder(rate, tags)
    if kind == "aac":
        return AacEncoder(rate)
    raise DataError(f"{kind}: no such format; choose one of {', '.join(KINDS)}")


class PcmEncoder:
    """16 bits, little end first, 24 kHz."""

    def __init__(self, rate: int) -> None:
        self.resampler = Resampler(rate, PCM_RATE)

    def feed(self, sound: Samples) -> bytes:
        return pcm(self.resampler.feed(sound))

    def finish(self) -> bytes:
        return pcm(self.resampler.finish())


class WavEncoder:
    """16 bits; the sizes in the header say that the end is open."""

    def __init__(self, rate: int, tags: Tags) -> None:
        form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
        about = info_chunk(tags)
        self.waiting = struct.pack("<4sI4s", b"RIFF", UNKNOWN, b"WAVE") + form + about
        self.waiting += struct.pack("<4sI", b"data", UNKNOWN)

    def feed(self, sound: Samples) -> bytes:
        ready, self.waiting = self.waiting + pcm(sound), b""
        return ready

    def finish(self) -> bytes:
        return self.feed(np.zeros(0, np.float32))


def info_chunk(tags: Tags) -> bytes:
    """LIST INFO: what players show of a WAV."""
    names = {"title": b"INAM", "comment": b"ICMT", "software": b"ISFT"}
    entries = b""
    for name, value in tags.items():
        content = value.encode() + b"\0"
        content += b"\0" * (len(content) % 2)
        entries += struct.pack("<4sI", names[name], len(content)) + content
    return struct.pack("<4sI4s", b"LIST", 4 + len(entries), b"INFO") + entries if entries else b""


class LibsndfileEncoder:
    """What libsndfile writes, passed on as it is written; what it goes back to at the end is lost."""

    def __init__(self, container: str, subtype: str, rate: int, own: int, tags: Tags) -> None:
        self.target, self.resampler = Tape(), Resampler(rate, own)
        self.file = soundfile.SoundFile(
            self.target, "w", own, 1, subtype, format=container, **(CONSTANT if container == "MP3" else {})
        )
        for name, value in tags.items():
            setattr(self.file, name, value)
        if subtype == "OPUS":
            latency = soundfile._ffi.new("double*", PAGE_MS)
            soundfile._snd.sf_command(self.file._file, SET_OGG_PAGE_LATENCY, latency, 8)

    def feed(self, sound: Samples) -> bytes:
        self.file.write(audio.to_pcm(self.resampler.feed(sound)))
        return self.target.take()

    def finish(self) -> bytes:
        self.file.write(audio.to_pcm(self.resampler.finish()))
        self.file.close()
        return self.target.take()


class Mp3Encoder(LibsndfileEncoder):
    """The first frame tells players how many samples the encoder put before the sound.

    libsndfile writes that frame at the end. It depends on rate and quality alone but for the length, so here the frame
    of another, empty file goes first, with its length left open.
    """

    def __init__(self, rate: int, tags: Tags) -> None:
        own = rate if rate in MP3_RATES else PCM_RATE
        super().__init__("MP3", "MPEG_LAYER_III", rate, own, tags)
        self.first = first_mp3_frame(own)

    def feed(self, sound: Samples) -> bytes:
        return self._with_header(super().feed(sound))

    def finish(self) -> bytes:
        return self._with_header(super().finish())

    def _with_header(self, ready: bytes) -> bytes:
        if not ready or not self.first:
            return ready
        start = ready.find(self.first[:2])  # what stands before it are the tags
        frame, self.first = self.first, b""
        return ready[:start] + frame + ready[start + len(frame) :]


def first_mp3_frame(rate: int) -> bytes:
    whole = Tape()
    with soundfile.SoundFile(whole, "w", rate, 1, "MPEG_LAYER_III", format="MP3", **CONSTANT) as file:
        file.write(np.zeros(rate // 10, np.int16))
    content = bytes(whole.content)
    mark = max(content.find(b"Xing"), content.find(b"Info"))
    start = content.rfind(b"\xff", 0, mark)
    while start > 0 and content[start + 1] & 0xE0 != 0xE0:
        start = content.rfind(b"\xff", 0, start)
    end = content.find(content[start : start + 2], mark)
    frame, at = bytearray(content[start:end]), mark - start + 4  # where its flags stand
    assert frame[at + 3] & 0x0F == 0x0F, "number of frames, bytes, table of contents and quality are there"
    frame[at + 3] &= ~1  # without the number of frames, which nobody knows yet
    del frame[at + 4 : at + 8]
    frame += bytes(4)
    frame[at + 4 : at + 8] = struct.pack(">I", UNKNOWN)  # bytes
    padding = at + 4 + 4 + 100 + 4 + 21  # three bytes: 12 bits of delay, 12 of padding at the end, not known either
    frame[padding + 1] &= 0xF0
    frame[padding + 2] = 0
    return bytes(frame)


class AacEncoder:
    """ADTS frames by PyAV's AAC."""

    def __init__(self, rate: int) -> None:
        try:
            import av
        except ImportError as error:
            raise DataError(
                "aac: this server has no encoder for it; ask for mp3, or install one: "
                "`pip install -c constraints.txt '.[aac]'`"
            ) from error
        self.av, self.rate, self.target = av, rate, Tape()
        self.container = av.open(self.target, "w", format="adts")
        self.stream: Any = self.container.add_stream("aac", rate=rate, layout="mono")

    def feed(self, sound: Samples) -> bytes:
        if len(sound):
            frame = self.av.AudioFrame.from_ndarray(audio.to_pcm(sound)[None], format="s16", layout="mono")
            frame.sample_rate = self.rate
            self.container.mux(self.stream.encode(frame))
        return self.target.take()

    def finish(self) -> bytes:
        self.container.mux(self.stream.encode(None))
        self.container.close()
        return self.target.take()


class Resampler:
    """Another rate, piece by piece."""

    def __init__(self, rate: int, target: int) -> None:
        self.stream = soxr.ResampleStream(rate, target, 1, dtype="float32") if rate != target else None

    def feed(self, sound: Samples) -> Samples:
        return sound if self.stream is None else self.stream.resample_chunk(sound)

    def finish(self) -> Samples:
        nothing = np.zeros(0, np.float32)
        return nothing if self.stream is None else self.stream.resample_chunk(nothing, last=True)


class Tape(io.RawIOBase):
    """A file in memory of which what was appended can be taken while it is still written to."""

    def __init__(self) -> None:
        self.content, self.place, self.taken = bytearray(), 0, 0

    def take(self) -> bytes:
        """What was appended since the last time."""
        new, self.taken = bytes(self.content[self.taken :]), len(self.content)
        return new

    def write(self, data: Any) -> int:
        self.content[self.place : self.place + len(data)] = data
        self.place += len(data)
        return len(data)

    def readinto(self, buffer: Any) -> int:
        piece = self.content[self.place : self.place + len(buffer)]
        buffer[: len(piece)] = piece
        self.place += len(piece)
        return len(piece)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.place = {io.SEEK_SET: 0, io.SEEK_CUR: self.place, io.SEEK_END: len(self.content)}[whence] + offset
        return self.place

    def tell(self) -> int:
        return self.place

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def pcm(sound: Samples) -> bytes:
    return audio.to_pcm(sound).astype("<i2", copy=False).tobytes()
