"""Audio files in and out: what can be learnt from, as one channel, with bytes that are the same on every run.

Samples in memory are float32 between −1 and 1, one channel; files that we write are FLAC with 16 bits. soundfile reads
WAV, FLAC, AIFF, Ogg, Opus and MP3; everything else (m4a, webm, …) goes through the ffmpeg that imageio-ffmpeg carries.
Long recordings pass in blocks and never lie in memory whole, unless a caller asks for them (`read`).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from timbre.core.errors import AudioError
from timbre.mapping import shards

Samples = npt.NDArray[np.float32]
Pcm = npt.NDArray[np.int16]

FULL_SCALE = 32768  # 16 bits; a 16-bit file comes back exactly as it was
BLOCK = 1 << 18  # frames read at a time: 5 s at 48 kHz, 2 MB in stereo
MIN_RATE = 16_000  # Hz; below, half of what tells one voice from another is missing (telephone: 8 kHz)
MAX_RATE = 655_350  # Hz; FLAC can say no more
MAX_CHANNELS = 2  # a stereo file is a voice in the middle; more are usually a microphone per person
SILENT_PEAK = 10 ** (-50 / 20)  # −50 dBFS: the loudest sample of what holds no speech
MP3_SLACK = 0.1  # seconds by which the length in an MP3's header is off in healthy files
MP3_HEAD = 1 << 16  # bytes: tags, and then the first frame
MP3_FRAME = 1152  # samples; half as many in MPEG 2, whose sample rates are lower
MIN_RATE_OF_MPEG_1 = 32_000  # Hz
LEVEL_WINDOW = 0.01  # seconds per value of `levels`

_one_stderr = threading.Lock()
REMEMBERED = 1 << 26  # samples, a quarter of a gigabyte
_READ: dict[Path, tuple[Samples, int]] = {}  # at their own rate; see `remembered`
_room = [0]  # samples that may still be remembered

# Audio containers only: a playlist or script posing as audio could make ffmpeg open other files.
CONTAINERS = "aac,ac3,aiff,amr,asf,avi,caf,flac,flv,matroska,mov,mp3,mpeg,mpegts,ogg,wav,w64,webm"
# libsndfile mends the length of a file that was cut short, and tells so only in its log
CUT_SHORT = re.compile(r"(?:data|SSND) *: (\d+) \(should be (\d+)\)")
LENGTH_UNKNOWN = 2**32 - 2**16  # a recorder that streams writes about 2³² bytes as the length


@dataclass(frozen=True)
class Facts:
    """What `to_flac` wrote."""

    sample_rate: int  # Hz
    frames: int
    sha256: str  # of the samples
    channels: int  # of the original

    @property
    def seconds(self) -> float:
        return self.frames / self.sample_rate


def to_flac(
    original: Path,
    target: Path,
    *,
    name: str,
    start: float | None = None,
    end: float | None = None,
    min_seconds: float = 0,
    max_seconds: float = float("inf"),
) -> Facts:
    """Write start–end of the file as one channel with its own sample rate; AudioError where nobody could learn from it.

    `name` stands in the error's place: what the reader knows the file by. A failure leaves no target.
    """
    readable = _readable(original, target.with_suffix(".decoded.flac"), name)
    temporary = target.with_suffix(".part.flac")
    try:
        with quiet_decoder():
            facts = _copy(readable, temporary, name, start or 0.0, end, min_seconds, max_seconds)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
        if readable != original:
            readable.unlink(missing_ok=True)
    return facts


@contextlib.contextmanager
def quiet_decoder() -> Iterator[None]:
    """libmpg123, which reads MP3 for libsndfile, writes notes of its own to stderr, which nobody can act on.

    It knows the file by its number alone, so what else writes there meanwhile is lost: for short stretches only.
    """
    with _one_stderr, contextlib.ExitStack() as closing:
        try:
            before = os.dup(2)
        except OSError:  # there is none, after `2>&-`
            yield
            return
        closing.callback(os.close, before)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        closing.callback(os.close, nowhere)
        os.dup2(nowhere, 2)
        closing.callback(os.dup2, before, 2)
        yield


def check(original: Path, name: str, start: float | None = None, end: float | None = None) -> None:
    """AudioError where `to_flac` would refuse the file; all of it is read."""
    with tempfile.TemporaryDirectory() as folder:
        to_flac(original, Path(folder) / "checked.flac", name=name, start=start, end=end)


def read(path: Path, rate: int | None = None, start: float = 0.0, end: float | None = None) -> tuple[Samples, int]:
    """start–end (seconds) of the file as one channel, at its own or the given rate, and the rate."""
    whole = start == 0 and end is None
    if (known := _READ.get(path) if whole else None) is None:
        name = str(path)
        with _opened(path, name) as file:
            parts = [part.mean(axis=1) for part in _blocks(file, name, start, end)]
            known = np.concatenate([np.empty(0, np.float32), *parts], dtype=np.float32), int(file.samplerate)
        if whole and len(known[0]) <= _room[0]:
            _READ[path], _room[0] = known, _room[0] - len(known[0])
    samples, own_rate = known
    return (samples, own_rate) if rate is None else (resample(samples, own_rate, rate), rate)


@contextlib.contextmanager
def remembered() -> Iterator[None]:
    """Whole files that this process reads stay in memory meanwhile, as many as there is room for: for who needs each of
    them several times."""
    _room[0] = REMEMBERED
    try:
        yield
    finally:
        _room[0] = 0
        _READ.clear()


def read_all(paths: Sequence[Path], rate: int) -> list[Samples]:
    """Whole files at the given rate, several at a time: a GPU that is given a batch is not to wait for one core."""
    with ThreadPoolExecutor(min(len(paths), os.cpu_count() or 1) or 1) as readers:
        return [samples for samples, _ in readers.map(lambda path: read(path, rate), paths)]


def rate_of(path: Path) -> int:
    with _opened(path, str(path)) as file:
        return int(file.samplerate)


def seconds_of(path: Path) -> float:
    with _opened(path, str(path)) as file:
        return float(file.frames / file.samplerate)


def is_there(path: Path) -> bool:
    """Whether there is such a file, by itself or in a shard."""
    return shards.exists(path)


def file_size(path: Path) -> int:
    return shards.size(path)


def file_bytes(path: Path) -> bytes:
    """The file as it is, from wherever it lies."""
    return shards.read(path)


def stream(path: Path, rate: int) -> Iterator[Samples]:
    """The whole file as one channel at the given rate, block by block: memory does not grow with its length."""
    with _opened(path, str(path)) as file:
        parts = (part.mean(axis=1) for part in _blocks(file, str(path), 0.0, None))
        if file.samplerate == rate:
            yield from parts
            return
        to_rate = soxr.ResampleStream(file.samplerate, rate, 1, dtype="float32", quality="HQ")
        for part in parts:
            yield to_rate.resample_chunk(part)
        yield to_rate.resample_chunk(np.empty(0, np.float32), last=True)


def resample(samples: Samples, rate: int, to: int) -> Samples:
    return samples if rate == to else np.asarray(soxr.resample(samples, rate, to, quality="HQ"), np.float32)


def to_pcm(samples: Samples) -> Pcm:
    scaled = np.rint(samples * np.float32(FULL_SCALE))
    return np.asarray(np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1), np.int16)


def flac_bytes(samples: Samples, rate: int) -> bytes:
    """A FLAC file with 16 bits; the same samples are the same bytes."""
    buffer = io.BytesIO()
    soundfile.write(buffer, to_pcm(samples), rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def sha256(samples: Samples) -> str:
    """Of the samples as they are in the file, so that another container or encoder version is the same audio."""
    return hashlib.sha256(_little_endian(to_pcm(samples))).hexdigest()


def peak(samples: Samples) -> float:
    return float(np.abs(samples).max(initial=0))


def decibels(level: float) -> float:
    """Of full scale: 0 for a level of 1, −50 for a whisper in the noise."""
    return float(20 * np.log10(max(level, 1e-9)))


def is_silent(samples: Samples) -> bool:
    return peak(samples) < SILENT_PEAK


def levels(samples: Samples, rate: int) -> Samples:
    """The effective value (RMS) of each LEVEL_WINDOW; where it is lowest, a cut is heard least."""
    window = round(rate * LEVEL_WINDOW)
    whole = samples[: len(samples) // window * window].reshape(-1, window)
    return np.asarray(np.sqrt(np.mean(np.square(whole, dtype=np.float64), axis=1)), np.float32)


def _copy(
    path: Path, target: Path, name: str, start: float, end: float | None, min_seconds: float, max_seconds: float
) -> Facts:
    digest, loudest, frames = hashlib.sha256(), 0.0, 0
    with _opened(path, name) as file:
        rate, channels = file.samplerate, file.channels
        if rate < MIN_RATE:
            raise AudioError(
                f"{name}: has {rate} Hz, too narrow for a voice; find a recording with {MIN_RATE} Hz or more"
            )
        if rate > MAX_RATE:
            raise AudioError(f"{name}: has {rate} Hz; convert it to 48000 Hz")
        if channels > MAX_CHANNELS:
            raise AudioError(
                f"{name}: has {channels} channels; mix it down or pick one, and keep at most {MAX_CHANNELS}"
            )
        with soundfile.SoundFile(target, "w", rate, 1, "PCM_16", format="FLAC") as output:
            for part in _blocks(file, name, start, end):
                if not np.isfinite(part).all():
                    raise AudioError(f"{name}: holds samples that are no numbers; export it again from the original")
                pcm = to_pcm(part.mean(axis=1))
                output.write(pcm)
                digest.update(_little_endian(pcm))
                loudest = max(loudest, float(np.abs(pcm.astype(np.int32)).max(initial=0)) / FULL_SCALE)
                frames += len(pcm)
                if frames / rate > max_seconds:
                    raise AudioError(
                        f"{name}: is longer than {max_seconds / 3600:g} h; declare a part of it with start and end, "
                        "or raise fetch.max_hours in params.yaml"
                    )
    if frames / rate < min_seconds:
        raise AudioError(f"{name}: lasts {frames / rate:.2f} s, and at least {min_seconds:g} s are needed")
    if loudest < SILENT_PEAK:
        raise AudioError(
            f"{name}: is silent, its loudest sample has {decibels(loudest):.0f} dBFS; is it the right track?"
        )
    return Facts(rate, frames, digest.hexdigest(), channels)


def _blocks(file: soundfile.SoundFile, name: str, start: float, end: float | None) -> Iterator[Samples]:
    """start–end in blocks of (frames, channels); an AudioError where the file ends before its header says."""
    rate, frames = file.samplerate, file.frames
    first, last = round(start * rate), frames if end is None else round(end * rate)
    if first >= frames or last > frames + rate:  # a second more than there is is how people write "to the end"
        raise AudioError(f"{name}: lasts {frames / rate:.2f} s, so it has no part from {start:g} to {last / rate:g} s")
    slack = _mp3_slack(file) if file.format == "MP3" else 0
    position, last = 0, min(last, frames)
    if file.format in ("FLAC", "WAV"):  # others do not seek to the sample
        position = file.seek(first)
    while position < last:
        try:
            part = file.read(min(BLOCK, last - position), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            part = np.empty((0, file.channels), np.float32)
        if not len(part):
            if last - position > slack:
                raise AudioError(
                    f"{name}: ends at {position / rate:.2f} s of {frames / rate:.2f} s; it was cut short or damaged, "
                    "bring the whole file"
                )
            return
        if position + len(part) > first:
            yield part[max(0, first - position) :]
        position += len(part)


def _mp3_slack(file: soundfile.SoundFile) -> int:
    """By how many samples an MP3 that is whole may end before its length.

    Where its first frame names no count of frames, the length is a guess from the size of that one frame, and others
    may be a byte longer.
    """
    path = Path(file.name)
    with path.open("rb") as raw:
        head = raw.read(MP3_HEAD)
    rate, frames = int(file.samplerate), int(file.frames)
    stated = round(MP3_SLACK * rate)
    if any(mark in head for mark in (b"Xing", b"Info", b"VBRI")):
        return stated
    count = frames / (MP3_FRAME if rate >= MIN_RATE_OF_MPEG_1 else MP3_FRAME // 2)
    return stated + round(frames * count / path.stat().st_size)


def _opened(path: Path, name: str) -> soundfile.SoundFile:
    try:
        file = soundfile.SoundFile(shards.opened(path))
    except soundfile.LibsndfileError as error:
        if not is_there(path):
            raise AudioError(f"{name}: does not exist") from error
        raise AudioError(f"{name}: is not audio that can be read") from error
    for stated, present in CUT_SHORT.findall(file.extra_info):
        if int(present) < int(stated) < LENGTH_UNKNOWN:
            raise AudioError(f"{name}: holds {present} of {stated} bytes; it was cut short, bring the whole file")
    if not file.frames:
        raise AudioError(f"{name}: holds no samples")
    return file


def _readable(path: Path, converted: Path, name: str) -> Path:
    """The file itself where soundfile reads it, else what ffmpeg makes of it."""
    if not path.stat().st_size:
        raise AudioError(f"{name}: is empty (0 bytes)")
    try:
        with quiet_decoder():
            soundfile.info(path)
        return path
    except soundfile.LibsndfileError:
        pass
    import imageio_ffmpeg  # here, because most recordings do not need it

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-y", "-v", "error", "-xerror", "-err_detect", "explode"]
    command += ["-format_whitelist", CONTAINERS, "-i", f"file:{path}", "-map", "0:a:0"]
    command += ["-c:a", "flac", "-sample_fmt", "s16", f"file:{converted}"]
    done = subprocess.run(command, capture_output=True, check=False)
    complaints = done.stderr.decode(errors="replace").strip()
    if done.returncode == 0 and "ended prematurely" not in complaints:
        return converted
    converted.unlink(missing_ok=True)
    if re.search("ended prematurely|partial file|corrupt input packet", complaints):
        raise AudioError(f"{name}: was cut short or is damaged; bring the whole file")
    raise AudioError(
        f"{name}: is not audio that can be read, or only a piece of it; bring it whole, as WAV, FLAC, MP3, Ogg or m4a"
    )


def _little_endian(pcm: Pcm) -> bytes:
    return pcm.astype("<i2", copy=False).tobytes()
