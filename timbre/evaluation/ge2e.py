"""A speaker encoder trained on thousands of people by the GE2E loss (Wan et al. 2018), as Resemblyzer publishes it.

    encoder = load("resemblyzer")            # or a .pt file of that form
    encoder.embed(samples)                   # 16 kHz

Its weights come in the package, so it works without a network. Only they are taken from there: the package's own code
asks for librosa and for webrtcvad, which needs a C compiler and a pkg_resources that is no more, so it is installed
without what it depends on. The network is three LSTM layers over 1.6 s of a mel spectrogram; a longer sound is the mean
of such windows, 0.77 s apart.
"""

from __future__ import annotations

import functools
import importlib.util
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from timbre.core.errors import ModelError
from timbre.core.running import settle

RESEMBLYZER = "resemblyzer"
VERSION = 1  # raise when the code gives other numbers for the same sound
RATE = 16_000  # Hz
WINDOW, HOP, BANDS = 400, 160, 40  # samples, samples, mel bands: 25 ms and 10 ms
FRAMES = 160  # of a part: 1.6 s
STEP = 77  # frames from one part to the next
COVERED = 0.75  # of the last part, at least; with less it is left out
LOUDNESS = 10 ** (-30 / 20)  # RMS that a quieter sound is brought to; a louder one stays as it is
WIDTH, LAYERS = 256, 3


@dataclass(frozen=True)
class GeneralisedEncoder:
    lstm: Any
    linear: Any

    def embed(self, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """One direction for the sound (16 kHz); zero for silence, which is nobody's voice."""
        import torch

        settle(self.lstm)
        level = float(np.sqrt(np.mean(np.square(samples)))) if len(samples) else 0.0
        if level == 0:
            return np.zeros(WIDTH, np.float32)
        sound = samples * max(1.0, LOUDNESS / level)
        starts = parts(len(sound))
        missing = (starts[-1] + FRAMES) * HOP - len(sound)
        mel = spectrogram(np.pad(sound, (0, max(0, missing))))
        windows = np.stack([mel[start : start + FRAMES] for start in starts])
        with torch.inference_mode():
            _, (hidden, _) = self.lstm(torch.from_numpy(windows).to(self.linear.weight.device))
            each = torch.relu(self.linear(hidden[-1]))
            mean = torch.nn.functional.normalize(each, dim=1).mean(0)
            return np.asarray(torch.nn.functional.normalize(mean, dim=0).cpu().numpy(), np.float32)


def parts(length: int) -> list[int]:
    """The first frame of each part of a sound of so many samples; one at least."""
    frames = -(-(length + 1) // HOP)
    starts = list(range(0, max(1, frames - FRAMES + STEP + 1), STEP))
    covered = (length - starts[-1] * HOP) / (FRAMES * HOP)
    return starts[:-1] if len(starts) > 1 and covered < COVERED else starts


def spectrogram(sound: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(frames, bands), of power."""
    from transformers import audio_utils

    power = audio_utils.spectrogram(
        sound, audio_utils.window_function(WINDOW, "hann"), WINDOW, HOP, power=2.0, center=True, pad_mode="constant",
        mel_filters=_bands(),
    )  # fmt: skip
    return np.ascontiguousarray(power.T, np.float32)


@functools.cache
def _bands() -> Any:
    from transformers import audio_utils

    return audio_utils.mel_filter_bank(WINDOW // 2 + 1, BANDS, 0.0, RATE / 2, RATE, norm="slaney", mel_scale="slaney")


def is_one(model: str) -> bool:
    """Whether the name is of such an encoder, and not of a folder or a model on the hub."""
    return model == RESEMBLYZER or model.endswith(".pt")


def weights_of(model: str) -> Path:
    """The file of the weights; of the package's, without running its code."""
    if model != RESEMBLYZER:
        if not Path(model).is_file():
            raise ModelError(f"{model}: no such file")
        return Path(model)
    package = importlib.util.find_spec(RESEMBLYZER)
    if package is None or package.origin is None:
        raise ModelError("resemblyzer is not installed; `pip install --no-deps resemblyzer==0.1.4` brings its weights")
    return Path(package.origin).with_name("pretrained.pt")


def load(model: str) -> GeneralisedEncoder:
    import torch

    path = weights_of(model)
    lstm, linear = torch.nn.LSTM(BANDS, WIDTH, LAYERS, batch_first=True), torch.nn.Linear(WIDTH, WIDTH)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
        for name, part in (("lstm", lstm), ("linear", linear)):
            own = {key.partition(".")[2]: value for key, value in state.items() if key.startswith(f"{name}.")}
            part.load_state_dict(own)
    except (OSError, pickle.UnpicklingError, KeyError, TypeError, AttributeError, RuntimeError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{path}: cannot be loaded as a GE2E speaker encoder: {reason}") from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return GeneralisedEncoder(lstm.eval().to(device), linear.eval().to(device))
