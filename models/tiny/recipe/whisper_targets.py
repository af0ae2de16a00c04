"""What the tiny Whisper is to write for a window: its vocabulary, the tokens, and where each of them is heard.

Only the tokens of the domain have a number of their own, so that training computes 1,600 logits and not 51,864.
`export` expands them exactly: all unused tokens share one row, and while training its logit carries their number.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from synthesise import WORDS
from torch import Tensor
from whisper.model import Whisper
from whisper.tokenizer import get_tokenizer
from whisper_windows import POSITIONS, Window

VOCABULARY = 51_864  # of whisper's English models


class Vocabulary:
    """The tokens in use, numbered compactly; timestamps last, all other tokens are number 0."""

    def __init__(self) -> None:
        self.tokenizer = t = get_tokenizer(False)
        forms = [" " + form for word in WORDS for form in (word, word[0].upper() + word[1:])]
        pieces = sorted({token for form in forms for token in t.encode(form)} | set(t.encode(".")))
        special = [t.eot, t.sot, t.sot_prev, t.no_speech, t.no_timestamps]
        self.ids = [-1, *pieces, *special, *range(t.timestamp_begin, t.timestamp_begin + POSITIONS + 1)]
        self.number = {token: number for number, token in enumerate(self.ids)}
        self.eot, self.sot, self.prev, self.silence, self.untimed = (self.number[token] for token in special)
        self.stop = self.number[t.encode(".")[0]]
        self.zero = self.number[t.timestamp_begin]
        self.unused = VOCABULARY - len(self.ids) + 1

    def word(self, word: str) -> list[int]:
        return [self.number[token] for token in self.tokenizer.encode(" " + word)]

    def time(self, seconds: float) -> int:
        return self.zero + min(max(round(seconds * 50), 0), POSITIONS)


@dataclass
class Batch:
    mel: Tensor  # (batch, 80, frames)
    labels: Tensor  # (batch, positions)
    tokens: Tensor  # (batch, length) what the decoder reads
    targets: Tensor  # (batch, length) what it should write; -1 where it is not asked
    spans: Tensor  # (batch, length, 2) the positions where each target is heard; empty where nothing is


def write(
    window: Window, vocabulary: Vocabulary, rng: np.random.Generator, shift: float
) -> list[tuple[int, int, float, float]]:
    """The window's tokens: (number, 1 if it is a target, start and end in seconds of where it is heard)."""
    v, timed = vocabulary, rng.random() > 0.25
    out: list[tuple[int, int, float, float]] = []
    if rng.random() < 0.1:
        prompt = [v.word(w) if rng.random() < 0.7 else [0] for w in rng.choice(WORDS, rng.integers(1, 25))]
        out += [(token, 0, 0, 0) for token in [v.prev, *(t for word in prompt for t in word)]]
    out.append((v.sot, 0, 0, 0))
    if not window.sentences and window.cut is None:
        shown = v.zero + int(rng.integers(POSITIONS)) if timed else v.untimed
        return [*out, (shown, 2 if timed else 0, 0, 0), (v.eot, 1, 0, 0)]
    if not timed:
        out.append((v.untimed, 0, 0, 0))
    last = 0.0
    starts = [times[0][0] for _, times in window.sentences] + [window.cut or window.sentences[-1][1][-1][1] + 0.5]
    for (text, times), following in zip(window.sentences, starts[1:], strict=True):
        start, last = times[0][0], times[-1][1]
        if timed:
            out.append((v.time(start + shift), 1, start - 0.04, start + 0.08))
        for word, (a, b) in zip(text[:-1].split(), times, strict=True):
            pieces = v.word(word)
            step = (b - a) / len(pieces)
            out += [(piece, 1, a + i * step, a + (i + 1) * step) for i, piece in enumerate(pieces)]
        out.append((v.stop, 1, last, max(following, last + 0.08)))  # the pause is the full stop's
        if timed:
            out.append((v.time(last + shift), 1, last - 0.06, last + 0.06))
    if window.cut is not None and timed:
        out.append((v.time(window.cut + shift), 1, window.cut - 0.04, window.cut + 0.08))
    return [*out, (v.eot, 1, last + 0.04, last + 0.3)]


def collate(windows: list[Window], vocabulary: Vocabulary, rng: np.random.Generator, offset: int, device: str) -> Batch:
    written = [write(window, vocabulary, rng, offset / 50) for window in windows]
    length = max(map(len, written)) - 1
    tokens = np.full((len(written), length), vocabulary.eot)
    targets = np.full((len(written), length), -1)
    spans = np.zeros((len(written), length, 2))
    for row, items in enumerate(written):
        tokens[row, : len(items) - 1] = [item[0] for item in items[:-1]]
        targets[row, : len(items) - 1] = [(-1, item[0], -2)[item[1]] for item in items[1:]]
        spans[row, : len(items) - 1] = [item[2:] for item in items[1:]]
    places = np.stack([np.floor(spans[..., 0] * 50), np.ceil(spans[..., 1] * 50)], -1).astype(np.int64)
    mel, labels = np.stack([w.mel for w in windows]), np.stack([w.labels for w in windows])
    return Batch(*(torch.from_numpy(a).to(device) for a in (mel, labels, tokens, targets, places)))


def export(model: Whisper, vocabulary: Vocabulary, path: Path) -> None:
    """openai-whisper's format, fp16, deflated: the 50,000 equal rows cost next to nothing."""
    state = {name: tensor.detach().cpu().half() for name, tensor in model.state_dict().items()}
    small = state["decoder.token_embedding.weight"]
    whole = small[:1].repeat(VOCABULARY, 1)
    whole[torch.tensor(vocabulary.ids[1:])] = small[1:]
    state["decoder.token_embedding.weight"] = whole
    dims = {**asdict(model.dims), "n_vocab": VOCABULARY}
    plain = io.BytesIO()
    torch.save({"dims": dims, "model_state_dict": state}, plain)
    partial = path.with_suffix(".partial")
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
        for name in source.namelist():
            out.writestr(zipfile.ZipInfo(name), source.read(name), zipfile.ZIP_DEFLATED)
    partial.rename(path)


def restore(model: Whisper, vocabulary: Vocabulary, path: Path) -> None:
    """The exported weights back into a model that trains: the inverse of `export`."""
    state = torch.load(path, map_location="cpu", weights_only=True)["model_state_dict"]
    whole = state["decoder.token_embedding.weight"]
    unused = next(number for number in range(VOCABULARY) if number not in vocabulary.number)
    state["decoder.token_embedding.weight"] = whole[torch.tensor([unused, *vocabulary.ids[1:]])]
    model.load_state_dict(state)
