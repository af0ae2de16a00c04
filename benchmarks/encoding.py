"""What it costs to encode clips, to decode samples, and to have Whisper hear them: one by one, and several at once.

    python -m benchmarks.encoding [--device cpu] [--size tiny csm-1b] [--runs 3]

The codec is the tiny stack's own, which hears the demo's recording, or one of csm-1b's shape (Mimi, 79 million weights)
with random weights, which hears noise: what that one costs does not depend on them. It is given as many clips as
`--clips`, of half of `--seconds` up to all of it, sorted by length, as `encode` sorts them. The limit is the codec's
arithmetic at the speed of a large matrix product in the same precision. Whisper is the tiny stack's own, on pieces of
the demo's recordings; it needs openai-whisper and soundfile.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import limits, shapes, table
from benchmarks.table import ResultTable, TimedRow, race
from timbre.core.running import settle
from timbre.core.sections import WhisperParams
from timbre.families import Audio
from timbre.families.csm.codec import CsmCodec
from timbre.families.csm.load import whole_codec
from timbre.families.csm.mimi import CodecStream, pieces
from timbre.families.frame_loop import Frames

ROOT = Path(__file__).parent.parent
RECORDINGS = sorted((ROOT / "data/recordings").glob("*.flac"))
BATCHES = (1, 4, 16)
SAMPLES = 4  # decoded
RATE = "hours of sound a minute"


def main() -> None:
    table.run("encoding", __doc__, arguments, measure)


def arguments(parser: argparse.ArgumentParser) -> None:
    table.add_device(parser, runs=3)
    parser.add_argument("--size", choices=["tiny", "csm-1b"], nargs="+", default=["tiny", "csm-1b"])
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--seconds", type=float, help="of the longest clip; 30 on a GPU, 10 on a CPU, 5 for tiny")


def measure(options: argparse.Namespace) -> Iterator[ResultTable]:
    for size in options.size:
        longest = options.seconds or (5 if size == "tiny" else 30 if options.device == "cuda" else 10)
        yield encoding(size, options.device, options.clips, longest, options.runs)
        yield decoding(size, options.device, options.runs)
    yield hearing(options.clips, options.runs)


def encoding(size: str, device: str, clips: int, longest: float, runs: int) -> ResultTable:
    codec = with_codec(size, device)
    lengths = np.linspace(longest / 2, longest, clips) * codec.sample_rate
    ends = np.cumsum(lengths).astype(int)
    sounds = np.split(speech(codec.sample_rate, int(ends[-1])) if size == "tiny" else noise(int(ends[-1])), ends[:-1])
    calls: dict[str, Callable[[], object]] = {"each clip whole": lambda: [whole(codec, sound) for sound in sounds]}
    for batch in BATCHES:
        calls[_name(batch)] = lambda batch=batch: [codec.encode(some) for some in _cut(sounds, batch)]
    whole(codec, sounds[0])
    seconds = race(calls, runs, warmup=int(device == "cuda"))
    limit = operations(codec) * lengths.sum() / codec.sample_rate / limits.arithmetic(device)
    rows = [TimedRow(name, seconds[name], _minutes(sounds, codec.sample_rate), limit) for name in calls]
    title = f"codec of {size} on {device}, {clips} clips of {longest / 2:g} to {longest:g} s"
    return ResultTable(title, rows, baseline="each clip whole", rate=RATE)


def decoding(size: str, device: str, runs: int) -> ResultTable:
    """Samples of 2 to 4 s as they are decoded, as they are streamed, and side by side."""
    codec = with_codec(size, device)
    random, config = np.random.default_rng(0), codec.model.config
    lengths = (np.linspace(2, 4, SAMPLES) * codec.frame_rate).astype(int)
    samples = [random.integers(0, config.codebook_size, (n, codec.codebooks)).astype(np.int16) for n in lengths]
    padded = np.stack([np.pad(codes, ((0, lengths[-1] - len(codes)), (0, 0))) for codes in samples])
    frames = torch.from_numpy(padded.astype(np.int64)).transpose(1, 2).to(codec.model.device)  # (B, codebooks, frames)

    def together() -> None:
        with torch.no_grad():
            codec.model.decode(frames).audio_values.cpu()

    calls: dict[str, Callable[[], object]] = {
        "each sample whole": lambda: [codec.decode(codes) for codes in samples],
        "each in the pieces of a stream": lambda: [streamed(codec, codes) for codes in samples],
        f"{SAMPLES} at once": together,
    }
    seconds = race(calls, runs)
    minutes = lengths.sum() / codec.frame_rate / 60
    rows = [TimedRow(name, seconds[name], minutes) for name in calls]
    title = f"codec of {size} on {device}, {SAMPLES} samples of 2 to 4 s decoded"
    return ResultTable(title, rows, baseline="each sample whole", rate=RATE)


def streamed(codec: CsmCodec, codes: Frames) -> None:
    stream = CodecStream(codec.model)
    for piece in pieces(codes):
        stream.feed(piece)


def with_codec(size: str, device: str) -> CsmCodec:
    if size == "tiny":  # with its own weights: entries that are drawn by lot are so near that the library must choose
        codec = CsmCodec(*whole_codec(str(shapes.TINY), None))
        codec.model.to(device)
        settle(codec.model)
        return codec
    from transformers import MimiConfig, MimiModel

    torch.manual_seed(0)
    mimi = MimiModel(MimiConfig())
    for name, buffer in mimi.named_buffers():
        if name.endswith("embed_sum"):  # a fresh codebook is all zeros
            buffer.normal_()
    settle(mimi)
    return CsmCodec(mimi.to(device).eval(), mimi.config.num_quantizers)


def speech(rate: int, samples: int) -> Audio:
    """Of the demo's first recording, again and again."""
    from timbre import audio

    return np.resize(audio.read(RECORDINGS[0], rate)[0], samples)


def noise(samples: int) -> Audio:
    return np.random.default_rng(0).normal(0, 0.1, samples).astype(np.float32)


def whole(codec: CsmCodec, sound: Audio) -> Any:
    """What the model's own card does: the sound as it is, one after the other."""
    values = torch.from_numpy(sound)[None, None].to(codec.model.device)
    with torch.no_grad():
        return codec.model.encode(values, num_quantizers=codec.codebooks).audio_codes.cpu()


def operations(codec: CsmCodec) -> float:
    """Floating-point operations for a second of sound."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        whole(codec, np.zeros(4 * codec.sample_rate, np.float32))
    return counter.get_total_flops() / 4


def hearing(clips: int, runs: int) -> ResultTable:
    title = "the tiny Whisper"
    names = ["transcribe, one by one", *map(_name, BATCHES)]
    lacks = [package for package in ("whisper", "soundfile") if importlib.util.find_spec(package) is None]
    if lacks:
        return ResultTable(title, [TimedRow(name, skipped=f"without {' and '.join(lacks)}") for name in names])
    from timbre import asr, audio

    model = asr.load(WhisperParams(str(ROOT / "models/tiny/whisper.pt")))
    samples, rate = audio.read(RECORDINGS[0], asr.SAMPLE_RATE)
    size = 4 * rate
    sounds = [samples[place * size : (place + 1) * size] for place in range(min(clips, len(samples) // size))]
    calls: dict[str, Callable[[], object]] = {
        names[0]: lambda: [asr.transcribe(model, sound) for sound in sounds],
    }
    for batch in BATCHES:
        calls[_name(batch)] = lambda batch=batch: [
            asr.hear(model, some, ["en"] * len(some)) for some in _cut(sounds, batch)
        ]
    asr.hear(model, sounds[:1], ["en"])
    seconds = race(calls, runs, warmup=0)
    rows = [TimedRow(name, seconds[name], _minutes(sounds, rate)) for name in names]
    title += f" on {model.device.type}, {len(sounds)} pieces of 4 s"
    return ResultTable(title, rows, baseline=names[0], rate=RATE)


def _name(batch: int) -> str:
    return f"{batch} at once" if batch > 1 else "one at once"


def _cut(sounds: Sequence[Audio], batch: int) -> Iterator[Sequence[Audio]]:
    return (sounds[start : start + batch] for start in range(0, len(sounds), batch))


def _minutes(sounds: Sequence[Audio], rate: int) -> float:
    """Hours × 60, so that over the seconds it is hours a minute."""
    return sum(map(len, sounds)) / rate / 60


if __name__ == "__main__":
    main()
