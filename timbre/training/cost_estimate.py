"""What a voice will cost, by arithmetic: a model's shape, a device's pace, and the work that lies in a step or a frame.

    shape = read_shape("csm", "models/tiny/csm")
    batch = BatchShape(clips=8, positions=300, frames=160, whole_frames=20)
    step = learning_step(shape, batch, rank=32, checkpointing=False)
    seconds = step / DEVICES["h200"].pace()

Counted are multiplications and additions of the large products, each as two operations, and bytes that must be read.
Nothing here loads a model or torch. A test holds the counts to those of torch itself on a random model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from timbre import families
from timbre.core.errors import ModelError
from timbre.families.shape import CodecShape, DecoderShape, Shape, WaveShape

GB = 1e9
ROW = 12.2e9  # over the operations a second of a core: of a small layer's time, what each further row takes; fitted

# Seconds of a CPU until a stage's process can begin, by what it needs, with a small model loaded; MLflow also makes its
# store and takes in a run's files. To be renewed by `python -m benchmarks.whole_stages` where imports change.
START = {"plain": 0.55, "torch": 2.4, "voice": 2.4, "judge": 3.5, "mlflow": 13.0}
LOADING = 1.3 * GB  # bytes of a large model's weights that are read and converted in a second
ADDED = 0.6 * GB  # bytes of weights to which an adapter is added in a second
LAID_OUT = 0.9 * GB  # bytes that are laid out anew in a second, for products with few rows
HASHED = 0.75 * GB  # bytes of a base model's files that are hashed in a second, by each stage that uses it
SMALL = 30e6  # weights, below which a second core brings nothing
CORE = 87e9  # operations a second of a core in large products of single precision, where none was measured
SMALL_PACE = 43.5e9  # of a small model, whose products are too small to reach more
CONVOLVED = 0.6  # of that pace, where a codec hears a long sound: the passes between its convolutions take as long


@dataclass(frozen=True)
class Device:
    name: str
    arithmetic: float  # operations a second, at best, in the precision that it learns in
    single: float  # the same in single precision, in which the codec is
    bandwidth: float  # bytes a second, at best
    memory: float  # bytes
    half: bool  # weights of two bytes
    reached: float  # share of the arithmetic that learning and encoding reach
    read: float  # share of the bandwidth that speaking reaches
    layer: float  # seconds that a decoder's layer takes at least, whatever its size
    cores: int = 0  # of a CPU; a small model uses one of them

    @property
    def basis(self) -> str:
        """What the figures are, in a sentence."""
        if self.cores:
            return (
                f"{self.arithmetic / self.cores / 1e9:.0f} GFLOP/s of each core; what models reach of it was measured "
                "on an AMD EPYC and an Intel Xeon"
            )
        return (
            f"the maker's figures; that {self.reached:.0%} of them is reached is assumed and was not measured, so a "
            "real run may take several times as long"
        )

    def pace(self, weights: float = math.inf, *, half: bool = True) -> float:
        """Operations a second that a model of so many weights reaches."""
        if self.cores and weights < SMALL:
            return SMALL_PACE
        return (self.arithmetic if half else self.single) * self.reached

    def hearing_pace(self, codec: CodecShape) -> float:
        """The same of a codec that makes codes of sound, in single precision."""
        return self.pace(codec.weights, half=False) * (CONVOLVED if self.cores else 1)


def cpu(cores: int, memory: float, core: float = CORE) -> Device:
    """`core`: operations a second of each in large products. Of them a large model reaches two thirds: 0.6 were
    measured on an AMD EPYC (Zen 5), 0.7 on an Intel Xeon. Each reads 21 GB/s, of which 0.7 is reached, as far as two of
    them; a layer that is too small to be work takes 0.27 ms."""
    arithmetic, bandwidth = cores * core, min(cores, 2) * 21.5 * GB
    return Device(f"CPU, {cores} cores", arithmetic, arithmetic, bandwidth, memory, False, 0.65, 0.7, 0.27e-3, cores)


# Makers' figures for dense bf16. That learning reaches a third of them, and speaking a third of the bandwidth and 40 µs
# a layer (some twenty kernels of a graph, 2 µs each), is assumed: nobody has measured it here.
DEVICES = {
    "h200": Device("h200", 989e12, 67e12, 4800 * GB, 141 * GB, True, 0.33, 0.33, 40e-6),
    "h100": Device("h100", 989e12, 67e12, 3350 * GB, 80 * GB, True, 0.33, 0.33, 40e-6),
    "a100": Device("a100", 312e12, 19.5e12, 2039 * GB, 80 * GB, True, 0.33, 0.33, 40e-6),
    "l40s": Device("l40s", 362e12, 91.6e12, 864 * GB, 48 * GB, True, 0.33, 0.33, 40e-6),
    "4090": Device("4090", 165e12, 82.6e12, 1008 * GB, 24 * GB, True, 0.33, 0.33, 40e-6),
    "3090": Device("3090", 71e12, 35.6e12, 936 * GB, 24 * GB, True, 0.33, 0.33, 40e-6),
}


def read_shape(family: str, base: str) -> Shape:
    """Of a base in a folder, or of one that the family knows by its name."""
    voices, asked = families.family(family), base.rpartition("/")[2].lower()
    known = (config for name, config in voices.known.items() if asked in name.lower())
    config = voices.config(Path(base)) or next(known, None)
    if config is None:
        names = ", ".join(voices.known) or "none"
        raise ModelError(f"{base}: nothing here tells its shape; name a folder, or one of {names}")
    return voices.shape(config)


class BatchShape(NamedTuple):
    """A batch, padded: what a step learns from."""

    clips: int
    positions: float  # of each, text and frames of the clip and of what is heard before it
    frames: float  # of all clips
    whole_frames: float  # of them, from which every code is learnt and not only the first


def learning_step(shape: Shape, batch: BatchShape, rank: int, checkpointing: bool) -> float:
    """Operations forwards and backwards: what is frozen costs twice, what learns three times its way forwards."""
    tokens, codes = batch.clips * batch.positions, batch.whole_frames * shape.frame_codes
    frozen, learnt, attended = 0.0, 0.0, 0.0
    for decoder, count, length in ((shape.sentence, tokens, batch.positions), (shape.frame, codes, shape.frame_codes)):
        frozen += 2 * decoder.weights * count
        learnt += 2 * decoder.adapter(rank) * count
        attended += 4 * decoder.layers * decoder.heads * length * count
    heads = 2 * shape.codes * shape.sentence.width * batch.frames
    heads += 2 * shape.codes * shape.frame.width * batch.whole_frames * (shape.frame_codes - 1)
    heads += 2 * shape.sentence.width * shape.frame.width * codes
    again = frozen + learnt + attended if checkpointing else 0
    # There is no way back beyond the first layer's queries, keys and values.
    first = 2 * shape.sentence.width * (shape.sentence.heads + 2 * shape.sentence.keys) * tokens
    return 2 * (frozen + heads) - first + 3 * (learnt + attended) + again


def hearing_step(shape: Shape, batch: BatchShape, rank: int) -> float:
    """Operations of an evaluation's batch, forwards only."""
    tokens, codes = batch.clips * batch.positions, batch.whole_frames * shape.frame_codes
    products = 2 * (shape.sentence.weights + shape.sentence.adapter(rank)) * tokens
    products += 2 * (shape.frame.weights + shape.frame.adapter(rank)) * codes
    return products + 2 * shape.codes * shape.frame.width * codes


def learning_memory(
    shape: Shape, batch: BatchShape, rank: int, *, half: bool, checkpointing: bool, small_optimiser: bool
) -> dict[str, float]:
    """Bytes at the highest."""
    size = 2 if half else 4
    adapter = shape.sentence.adapter(rank) + shape.frame.adapter(rank)
    tokens, codes = batch.clips * batch.positions, batch.whole_frames * shape.frame_codes
    stored, at_once = 0.0, 0.0
    for decoder, count in ((shape.sentence, tokens), (shape.frame, codes)):
        # with what dropout leaves for each matrix of the adapter; norms are in single precision
        layer = (2.5 if half else 4) * count * _kept(decoder)
        stored += decoder.layers * (size * count * decoder.width if checkpointing else layer)
        at_once = max(at_once, layer if checkpointing else 0)
    logits = 3 * 4 * shape.codes * (batch.frames + batch.whole_frames * (shape.frame_codes - 1))
    return {
        "weights": size * shape.weights + 4 * shape.codec.weights,
        "adapter and optimiser": adapter * (4 + 4 + (2 if small_optimiser else 8)),
        "activations": stored + at_once,
        "logits": logits,
    }


def wave_memory(shape: Shape, waves: WaveShape, clips: int, *, half: bool, small_optimiser: bool) -> dict[str, float]:
    """Bytes at the highest, of the training of what makes sound."""
    return {
        "weights": 4 * (shape.weights + shape.codec.weights + waves.weights),
        "gradients and optimiser": waves.weights * (4 + (2 if small_optimiser else 8)),
        "activations": clips * waves.kept / (2 if half else 1),
    }


def _kept(decoder: DecoderShape) -> float:
    """Numbers that a layer keeps of a position for its way back; counted on a random model."""
    return 10.25 * decoder.width + 3.25 * decoder.heads + 2 * decoder.keys + 5 * decoder.inner


def speaking_frame(shape: Shape, rows: int, device: Device) -> float:
    """Seconds of a frame of `rows` sentences side by side: read all weights, multiply by them, start each layer.

    A core does not multiply while it waits for weights; a GPU does both at once.
    """
    steps = shape.frame_codes - 1
    weights = shape.sentence.weights + shape.codes * shape.sentence.width
    weights += steps * (shape.frame.weights + shape.codes * shape.frame.width)
    layers = shape.sentence.layers + steps * shape.frame.layers
    size = 2 if device.half else 4
    work = 2 * weights * rows / device.pace(weights)
    further = ROW * device.cores / device.arithmetic * (rows - 1)  # rows are products, the layer's start is not
    small = layers * device.layer * (1 + further)
    read = weights * size / (device.bandwidth * device.read)
    return max(read + work if device.cores else max(read, work), small)


def reading(shape: Shape, sequences: Sequence[float], device: Device) -> float:
    """Seconds until a voice has read what stands before its first frame: so many positions of each sequence, alone."""
    weights, size = shape.sentence.weights, 2 if device.half else 4
    least = max(weights * size / (device.bandwidth * device.read), shape.sentence.layers * device.layer)
    return sum(least + 2 * weights * positions / device.pace(shape.weights) for positions in sequences)


def loading(shape: Shape, device: Device, *, speaks: bool = False) -> float:
    """Seconds until a large model is there; on a CPU, one that speaks has its layers laid out anew."""
    size = 2 if device.half else 4
    laid_out = (shape.sentence.weights + shape.frame.weights) * size / LAID_OUT if speaks and device.cores else 0
    return shape.weights * size / LOADING + laid_out


def loading_codec(shape: Shape, device: Device) -> float:
    """Of a codec that is loaded by itself; none is in half precision."""
    return shape.codec.weights * 4 / LOADING


def adding(shape: Shape, device: Device) -> float:
    """Seconds until an adapter is added to the weights: it makes a change of their size, which is scaled and added."""
    return (shape.sentence.weights + shape.frame.weights) * (2 if device.half else 4) / ADDED


def hashing(base: str) -> float:
    """Seconds until the files of a base in a folder have their key; one from the hub has its commit."""
    folder = Path(base)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / HASHED


class Listener(NamedTuple):
    """A Whisper."""

    width: int
    encoder: int  # layers
    decoder: int
    near: bool = False  # its positions look at what is near: of a short clip, only the clip is encoded

    @property
    def weights(self) -> float:
        return self.width**2 * (12 * self.encoder + 16 * self.decoder)


LISTENERS = {
    "tiny": Listener(384, 4, 4), "base": Listener(512, 6, 6), "small": Listener(768, 12, 12),
    "medium": Listener(1024, 24, 24), "large": Listener(1280, 32, 32), "turbo": Listener(1280, 32, 4),
    "models/tiny/whisper.pt": Listener(160, 3, 2, near=True),
}  # fmt: skip
POSITIONS, TOKENS, VOCABULARY = 1500, 4.0, 51_866  # of a window of 30 s; a second of speech; of ids
LONGEST = 1.3  # tokens of a batch's longest clip, by those of a mean one: a batch is decoded until all have ended
HEARD_LAYER, HEARD_ROW = 1.3e-3, 0.8e-3  # seconds of a token: for each layer, and to choose it; both on a CPU, measured


def listener(model: str) -> Listener:
    """By its name, such as large-v3 or small.en; a file that is not ours is taken for a turbo."""
    return LISTENERS.get(model) or LISTENERS.get(model.split("-")[0].split(".")[0], LISTENERS["turbo"])


def hearing(whisper: Listener, lengths: Sequence[float], rows: int, device: Device) -> float:
    """Seconds for clips of so many seconds, each in a window of 30 s, so many windows at once: most encoders work on
    all of a window, and the decoder says one token of each after the other."""
    w, pace = whisper.width, device.pace(whisper.weights)
    encoder = sum(_encoding(whisper, seconds) for seconds in lengths)
    places = sum(_positions(whisper, seconds) for seconds in lengths)
    keys = whisper.decoder * 4 * w**2 * places  # of what the decoder looks at
    read = 16 * whisper.decoder * w**2 + w * VOCABULARY  # weights, for each token
    rows = min(rows, len(lengths))
    size = 2 if device.half else 4
    least = max(read * size / (device.bandwidth * device.read), whisper.decoder * HEARD_LAYER)
    token = max(least, 2 * read * rows / pace) + rows * HEARD_ROW
    steps = TOKENS * sum(lengths) / rows * (LONGEST if rows > 1 else 1)
    return (encoder + keys) / pace + steps * token


def _positions(whisper: Listener, seconds: float) -> float:
    """Of a window, those that are computed for it alone."""
    return min(POSITIONS, POSITIONS / 30 * (seconds + 1)) if whisper.near else POSITIONS


def _encoding(whisper: Listener, seconds: float) -> float:
    """Operations of a window (timbre/asr/silent_tail.py)."""
    positions = _positions(whisper, seconds)
    seen = min(POSITIONS, positions + 100)
    return whisper.encoder * positions * (24 * whisper.width**2 + 4 * seen * whisper.width)


@dataclass(frozen=True)
class Ear:
    """A speaker encoder."""

    weights: float
    second: float  # operations for a second of sound
    least: float = 0.015  # seconds that a sound takes at least on a CPU: to read it, and to write what was found


EARS = {"models/tiny/speaker": Ear(0.5e6, 0.05e9)}
WAVLM = Ear(94.4e6, 15.5e9)  # base-plus: its transformer at 50 Hz, and convolutions


def embedding(ear: Ear, lengths: Sequence[float], device: Device) -> float:
    """Seconds for a vector of each sound."""
    least = ear.least if device.cores else 0.02
    return sum(max(least, length * ear.second / device.pace(ear.weights)) for length in lengths)
