"""How probable a voice is in each 32 ms of a sound: the network of silero-vad, as products of numpy.

    probabilities(audio.stream(path, RATE))         # one for each whole frame

The weights are those of silero-vad's package (MIT licence, 2 MB). Its own code gives them to torch frame by frame, at
ten times the cost: only what the network remembers has to go frame by frame, all else does many at once. The
probabilities are its own but for rounding, and nothing here imports torch, which takes two seconds.
"""

from __future__ import annotations

import functools
import importlib.util
import pickle
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from timbre.audio import Samples
from timbre.core.errors import ModelError

RATE, FRAME = 16_000, 512  # Hz and samples: 32 ms at a time
PAST = 64  # samples of the frame before that a frame is heard with
WINDOW, HOP, MIRRORED = 256, 128, 64  # samples: of a spectrum, to the next one, and of a frame's end heard backwards
WIDTH = 128  # numbers that are remembered from frame to frame
AT_ONCE = 256  # frames, 8 s: what a layer makes of them stays in the cache
WEIGHTS = "data/silero_vad.jit"  # in the package
UNREADABLE = OSError, LookupError, ValueError, TypeError, AttributeError, zipfile.BadZipFile, pickle.UnpicklingError
Floats = npt.NDArray[np.float32]


class SileroLayer(NamedTuple):
    weight: Floats  # (in, out)
    bias: Floats  # (out)

    def __call__(self, x: Floats) -> Floats:
        return np.asarray(np.maximum(x @ self.weight + self.bias, 0), np.float32)


class SileroNetwork(NamedTuple):
    spectrum: Floats  # (WINDOW, 2 * 129) cosines and sines
    layers: list[SileroLayer]  # a convolution over a frame's four spectra each, until one is left
    heard: Floats  # (WIDTH, 4 * WIDTH), of what is heard …
    remembered: Floats  # … and of what is remembered
    bias: Floats  # (4 * WIDTH)
    answer: Floats  # (WIDTH)
    answer_bias: np.float32

    def features(self, frames: Floats) -> Floats:
        """frames (n, PAST + FRAME) → (n, 4 * WIDTH): what each does to the gates."""
        sound = np.concatenate((frames, frames[:, -2 : -2 - MIRRORED : -1]), 1)
        windows = np.lib.stride_tricks.sliding_window_view(sound, WINDOW, axis=1)[:, ::HOP]
        real, imaginary = np.split(windows.reshape(-1, WINDOW) @ self.spectrum, 2, axis=1)
        x = np.sqrt(real**2 + imaginary**2).reshape(len(frames), -1, real.shape[1])  # (n, 4, 129)
        one, two, three, four = self.layers
        x = one(_around(x, 1))  # (n, 4, 128)
        x = two(_around(x, 2))  # (n, 2, 64)
        x = three(_around(x, 2))  # (n, 1, 64)
        return np.asarray(four(_around(x, 1))[:, 0] @ self.heard + self.bias, np.float32)


def _around(x: Floats, step: int) -> Floats:
    """(n, places, channels) → (n, places / step, 3 * channels): each place with its neighbours, silence at the ends."""
    padded = np.pad(x, ((0, 0), (1, 1), (0, 0)))
    return np.concatenate([padded[:, place : place + x.shape[1] : step] for place in range(3)], 2)


def probabilities(blocks: Iterable[Samples]) -> Floats:
    """Of the sound's frames; what is less than a frame at the end has none."""
    # products as small as these wait for a second thread longer than they take
    with threadpool_limits(1, "blas"), np.errstate(over="ignore"):  # a gate may be shut for sure
        return np.concatenate([np.empty(0, np.float32), *_probabilities(blocks)])


def _probabilities(blocks: Iterable[Samples]) -> Iterator[Floats]:
    net, rest = network(), np.zeros(PAST, np.float32)
    output, cell = np.zeros(WIDTH, np.float32), np.zeros(WIDTH, np.float32)
    for block in blocks:
        sound = np.concatenate((rest, block))
        count = (len(sound) - PAST) // FRAME
        frames = np.lib.stride_tricks.as_strided(sound, (count, PAST + FRAME), (4 * FRAME, 4), writeable=False)
        for first in range(0, count, AT_ONCE):
            outputs = []
            for heard in net.features(frames[first : first + AT_ONCE]):
                gates = heard + np.dot(output, net.remembered)
                opened = 1 / (1 + np.exp(-gates[: 3 * WIDTH]))  # in, keep, out
                cell = opened[WIDTH : 2 * WIDTH] * cell + opened[:WIDTH] * np.tanh(gates[3 * WIDTH :])
                output = opened[2 * WIDTH :] * np.tanh(cell)
                outputs.append(output)
            answers = np.maximum(np.stack(outputs), 0) @ net.answer + net.answer_bias
            yield np.asarray(1 / (1 + np.exp(-answers)), np.float32)
        rest = sound[count * FRAME :]


@functools.cache
def network() -> SileroNetwork:
    package = importlib.util.find_spec("silero_vad")  # not imported: it would import torch
    if package is None or package.origin is None:
        raise ModelError("silero-vad is not installed; `make install` does it, or set `chunk.vad: energy`")
    path = Path(package.origin).parent / WEIGHTS
    try:
        return _of(ModuleReader(path).load()._model)
    except UNREADABLE as error:
        raise ModelError(
            f"{path}: no weights of silero-vad that we know ({error}); `make install` repairs it"
        ) from error


class ScriptModule:
    """A part of a TorchScript file, with its parts and tensors as attributes."""

    def __new__(cls, *_: object) -> ScriptModule:
        return super().__new__(cls)

    def __getattr__(self, name: str) -> Any:  # for type checkers; those that are there are found before
        raise AttributeError(name)


class ModuleReader(pickle.Unpickler):
    """Reads parts and tensors of a TorchScript file without torch; no class that the file names is ever looked for."""

    def __init__(self, path: Path) -> None:
        self.archive = zipfile.ZipFile(path)
        self.folder = self.archive.namelist()[0].split("/")[0]
        super().__init__(self.archive.open(f"{self.folder}/data.pkl"))

    def find_class(self, module: str, name: str, /) -> Callable[..., Any]:
        return self._tensor if name == "_rebuild_tensor_v2" else ScriptModule

    def persistent_load(self, pid: Any) -> Floats:
        return np.frombuffer(self.archive.read(f"{self.folder}/data/{pid[2]}"), np.float32)

    @staticmethod
    def _tensor(storage: Floats, offset: int, shape: tuple[int, ...], *_: object) -> Floats:
        return storage[offset : offset + np.prod(shape, dtype=int)].reshape(shape)


def _of(module: ScriptModule) -> SileroNetwork:
    # torch has the gates as in, keep, new, out: the three that open come first here
    order = np.concatenate([np.arange(part * WIDTH, (part + 1) * WIDTH) for part in (0, 1, 3, 2)])
    cell, answer = module.decoder.rnn, vars(module.decoder.decoder)["2"]
    blocks = [vars(module.encoder)[str(number)].reparam_conv for number in range(4)]
    return SileroNetwork(
        spectrum=np.ascontiguousarray(module.stft.forward_basis_buffer[:, 0].T),
        # a convolution's weight is (out, in, 3)
        layers=[SileroLayer(np.concatenate(tuple(conv.weight.transpose(2, 1, 0))), conv.bias) for conv in blocks],
        heard=np.ascontiguousarray(cell.weight_ih[order].T),
        remembered=np.ascontiguousarray(cell.weight_hh[order].T),
        bias=(cell.bias_ih + cell.bias_hh)[order],
        answer=answer.weight[0, :, 0],
        answer_bias=answer.bias[0],
    )
