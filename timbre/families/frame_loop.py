"""The loop of families that speak in frames of codes: sentences side by side in slots, a frame of each at a time.

    for number, frame, ended in decode(decoder, sentences):
        ...     # a frame (codebooks) of the sentence of that number, as soon as it is made; None: that sentence is over

A family's `FrameDecoder` says how a frame comes from a row's state. On one machine and with as many slots, a sentence
comes out the same in any company, slot and order: all slots compute always, a prompt is read alone, and draws are the
sentence's own. A sentence that is over leaves its slot to the next one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from timbre.families import compiling
from timbre.families.llama import Stack

Frames = npt.NDArray[np.int16]  # (frames, codebooks); of one frame (codebooks)


class SpokenFrames(NamedTuple):
    codes: Frames
    ended: bool  # by its own end, not by the cap


class Sentence(NamedTuple):
    """What is to be spoken after what was said before; embedded when its turn comes."""

    before: str  # names the context: sentences of one name share its keys and values; empty is none
    context: Callable[[], Tensor]  # (positions, hidden)
    text: Callable[[], Tensor]  # (positions, hidden)
    frames: int  # at most; 1 or more
    seed: int


class Said(NamedTuple):
    number: int  # of the sentence
    frame: Frames | None  # (codebooks); None: it is over
    ended: bool = False  # by its own end, not by the cap


@dataclass
class Slot:
    """The sentence that a slot speaks."""

    number: int
    places: int  # of the cache that it takes
    left: int  # frames


def decode(decoder: FrameDecoder, sentences: Sequence[Sentence]) -> Iterator[Said]:
    waiting, uses = deque(enumerate(sentences)), Counter(sentence.before for sentence in sentences)
    contexts: dict[str, Caches] = {}
    slots: dict[int, Slot] = {}
    ahead: Launched | None = None  # a frame that is computed already while the one before is looked at
    decoder.free(range(decoder.slots))  # of a call that was left before its end
    # disable=None: no bar in a log file
    with tqdm(desc="frames", unit="frame", leave=False, dynamic_ncols=True, disable=None) as bar:
        while waiting or slots:
            for free in sorted(set(range(decoder.slots)) - slots.keys())[: len(waiting)]:
                number, sentence = waiting.popleft()
                slots[free] = Slot(number, decoder.admit(free, sentence, contexts), sentence.frames)
                uses[sentence.before] -= 1
                if not uses[sentence.before]:
                    contexts.pop(sentence.before, None)
            launched = ahead or Launched.of(decoder, slots)
            speaking = {place: slot for place, slot in launched.slots.items() if slots.get(place) is slot}
            for slot in speaking.values():
                slot.places, slot.left = slot.places + decoder.span, slot.left - 1
            # only where nobody is over by the cap: whoever is over by the end is found when the frame is here
            ahead = Launched.of(decoder, slots) if decoder.ahead and all(slot.left for slot in slots.values()) else None
            frames = launched.read()
            bar.update(len(speaking))
            for place, slot in speaking.items():
                ended = decoder.is_end(frames[place])
                if not ended:
                    yield Said(slot.number, frames[place])
                if ended or not slot.left:
                    yield Said(slot.number, None, ended)
                    decoder.free([place])
                    del slots[place]


class Launched(NamedTuple):
    """A frame that may still be computed."""

    read: Callable[[], Frames]
    slots: dict[int, Slot]  # those that it is of

    @classmethod
    def of(cls, decoder: FrameDecoder, slots: dict[int, Slot]) -> Launched:
        longest = max(slot.places for slot in slots.values()) + decoder.span
        return cls(decoder.launch(longest), dict(slots))


def whole(said: Iterable[Said], codebooks: int) -> Iterator[SpokenFrames]:
    """Sentences in their order, each as soon as it and all before it are over."""
    frames: dict[int, list[Frames]] = defaultdict(list)
    done: dict[int, SpokenFrames] = {}
    following = 0
    for number, frame, ended in said:
        if frame is not None:
            frames[number].append(frame)
            continue
        done[number] = SpokenFrames(np.array(frames.pop(number, []), np.int16).reshape(-1, codebooks), ended)
        while following in done:
            yield done.pop(following)
            following += 1


def alone(said: Iterable[Said]) -> Generator[Frames, None, bool]:
    """Frames of a single sentence as they are made; returns whether it ended by itself."""
    for _, frame, ended in said:
        if frame is None:
            return ended
        yield frame
    raise AssertionError("every sentence is over some time")


class Caches(NamedTuple):
    """Keys and values of a context (layers, 1, groups, places, width)."""

    keys: Tensor
    values: Tensor


class FrameDecoder(ABC):
    """Slots of a voice: caches and buffers that keep their places from call to call. A family says what a frame is."""

    span = 1  # places of the cache that a frame takes

    def __init__(
        self, backbone: Stack, width: int, slots: int, positions: int, codebooks: int, graphs: bool | None,
        compiled: bool | None = None,
    ) -> None:  # fmt: skip
        self.backbone, self.slots = backbone, slots
        self.device, kind = backbone.keys.device, backbone.keys.dtype
        self.state = torch.zeros(slots, width, dtype=kind, device=self.device)
        self.codes = torch.zeros(slots, codebooks, dtype=torch.int64, device=self.device)
        self.draws = torch.zeros(slots, positions, codebooks, dtype=torch.float64, device=self.device)
        # Of each row: where its next frame will lie, that frame's number, and 1 where somebody speaks.
        self.place, self.number, self.busy = torch.zeros(3, slots, dtype=torch.int64, device=self.device)
        self.compiled = compiling.is_wanted(self.device) if compiled is None else compiled
        if self.compiled:
            backbone.compile()
        on_gpu = self.device.type == "cuda"
        self.ahead = on_gpu  # a GPU computes the next frame while the host looks at this one
        # Places that are looked at. A graph is made for each; without graphs any will do.
        self.lengths = [256 << i for i in range(4)] if on_gpu else list(range(64, positions, 64))
        self.lengths = [*(length for length in self.lengths if length < positions), positions]
        self.step = Replay(self) if (on_gpu if graphs is None else graphs) else self.frame

    def prepare(self) -> None:
        """On a GPU, compile and capture for every length now, instead of while somebody waits for a sentence."""
        if isinstance(self.step, Replay):
            for length in self.lengths:
                self.step(length)

    @property
    def kept(self) -> list[tuple[Tensor, Tensor]]:
        """What a frame changes of rows where nobody is busy."""
        return [(buffer, buffer.clone()) for buffer in (self.state, self.codes, self.busy)]

    @abstractmethod
    def frame(self, length: int) -> None:
        """From the states the next codes, and the states after them. Asks the host nothing, so it can be a graph."""

    @abstractmethod
    def is_end(self, frame: Frames) -> bool: ...

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def admit(self, slot: int, sentence: Sentence, contexts: dict[str, Caches]) -> int:
        """The places that context and text take. A context is read alone, and kept in `contexts`, whoever shares it."""
        row, start = self.backbone.row(slot), 0
        if sentence.before in contexts:
            start = contexts[sentence.before].keys.shape[3]
            row.keys[:, :, :, :start], row.values[:, :, :, :start] = contexts[sentence.before]
        elif sentence.before:
            context = sentence.context()
            start = len(context)
            row.read(context, 0)
            contexts[sentence.before] = Caches(row.keys[:, :, :, :start].clone(), row.values[:, :, :, :start].clone())
        text = sentence.text()
        self.state[slot] = row.read(text, start)
        # Drawn on the CPU: the same on any device.
        random, shape = torch.Generator().manual_seed(sentence.seed), (sentence.frames, self.draws.shape[-1])
        self.draws[slot, : sentence.frames] = torch.rand(shape, generator=random, dtype=torch.float64)
        self.place[slot], self.number[slot], self.busy[slot] = start + len(text), 0, 1
        return start + len(text)

    def free(self, slots: Iterable[int]) -> None:
        """Their rows go on computing, on the spot."""
        for slot in slots:
            self.place[slot] = self.number[slot] = self.busy[slot] = 0

    def launch(self, longest: int) -> Callable[[], Frames]:
        """Begin the next frame of every row (slots, codebooks), with which the longest takes `longest` places. What it
        gives is read by a call, before which others may begin."""
        self.step(self.lengths[bisect_left(self.lengths, longest)])
        on_gpu = self.device.type == "cuda"
        codes = torch.empty_like(self.codes, device="cpu", pin_memory=on_gpu)
        codes.copy_(self.codes, non_blocking=on_gpu)
        computed = torch.cuda.Event() if on_gpu else None
        if computed:
            computed.record()

        def read() -> Frames:
            if computed:
                computed.synchronize()
            frames: Frames = codes.numpy().astype(np.int16)
            return frames

        return read

    def frames(self, longest: int) -> Frames:
        """The next frame of every row, waited for."""
        return self.launch(longest)()


class Replay:
    """`FrameDecoder.frame` on CUDA: captured as one graph for each length that is looked at, then replayed."""

    def __init__(self, decoder: FrameDecoder) -> None:
        self.decoder, self.graphs = decoder, dict[int, torch.cuda.CUDAGraph]()

    def __call__(self, length: int) -> None:
        if length not in self.graphs:
            self.graphs[length] = self._capture(length)
        self.graphs[length].replay()

    def _capture(self, length: int) -> torch.cuda.CUDAGraph:
        """Warmed up on a side stream, as CUDA wants it, with nobody busy: rows stand, and are written again later."""
        decoder, side = self.decoder, torch.cuda.Stream()
        buffers = decoder.kept
        decoder.busy.zero_()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                decoder.frame(length)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        pool = next((other.pool() for other in self.graphs.values()), None)  # what lies there lives for a frame only
        with torch.cuda.graph(graph, pool=pool):
            decoder.frame(length)
        for buffer, value in buffers:
            buffer.copy_(value)
        return graph
