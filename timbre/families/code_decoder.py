"""The decode loop of models that say one code after another: sentences side by side in slots, a code of each at a time.

    decoder = CodeDecoder(model, CodeDrawing(temperature=0.75, top_k=50, top_p=0.85, penalty=5.0), slots=8)
    for said in decoder.speak(sentences):
        ...     # a code of the sentence of that number, and the state behind it, as soon as it is made

A sentence comes out the same in any company, slot and order: all slots compute always, a prompt is read alone, and
draws are the sentence's own. A sentence that is over leaves its slot to the next one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from timbre.families.sampling import penalised, pick

Attend = Callable[[Tensor], Tensor]  # query, key and value (B, T, 3 C) -> what was heard (B, T, C)
Layer = Callable[[Tensor, Attend], Tensor]
PLACES = 64  # of the cache that is looked at: a multiple of this many


class CodeModel(Protocol):
    """What the loop asks of a model."""

    @property
    def layers(self) -> Sequence[Layer]: ...

    @property
    def heads(self) -> int: ...

    @property
    def channels(self) -> int: ...

    @property
    def places(self) -> int:
        """Of the longest sequence."""

    @property
    def vocabulary(self) -> int: ...

    @property
    def end(self) -> int:
        """The code that ends a sentence."""

    @property
    def silent_steps(self) -> int:
        """First steps in which the end cannot be said."""

    def embed(self, codes: Tensor, places: Tensor) -> Tensor:
        """(B, 1), (B, 1) -> (B, 1, C)"""

    def normed(self, x: Tensor) -> Tensor:
        """What comes after the last layer."""

    def logits(self, states: Tensor) -> Tensor:
        """(B, C) -> (B, vocabulary)"""


class CodeDrawing(NamedTuple):
    """How codes are drawn."""

    temperature: float  # 0 takes the likeliest code
    top_k: int = 0  # only the k likeliest; 0 is all
    top_p: float = 1.0  # only the likeliest that together have this probability; 1 is all
    penalty: float = 1.0  # by which a code that was said before becomes less likely; 1 is none


class CodeSentence(NamedTuple):
    prompt: Callable[[], Tensor]  # (T, C), embedded when its turn comes
    both_ways: int  # so many of its first positions hear each other; the others what comes before them
    place: int  # the place that the first code is embedded with
    counted: Sequence[int]  # codes that count as said before
    codes: int  # at most; 1 or more
    seed: int


class SaidCode(NamedTuple):
    number: int  # of the sentence
    code: int
    state: Tensor  # (C) the state that it was drawn from
    over: bool = False
    ended: bool = False  # by its own end, which `code` then is


@dataclass
class CodeSlot:
    """The sentence that a slot speaks."""

    number: int
    places: int  # of the cache that it takes
    left: int  # codes


class CodeDecoder:
    """Slots: caches and buffers that keep their places from call to call."""

    def __init__(self, model: CodeModel, how: CodeDrawing, slots: int, like: Tensor) -> None:
        """`like` is a weight of the model."""
        self.model, self.how, self.slots = model, how, slots
        shape = (2, len(model.layers), slots, model.heads, model.places, model.channels // model.heads)
        self.keys, self.values = torch.zeros(shape, dtype=like.dtype, device=like.device)
        self.every = torch.arange(model.places, device=like.device)
        self.rows = torch.arange(slots, device=like.device)[:, None]
        self.state = torch.zeros(slots, model.channels, dtype=like.dtype, device=like.device)
        self.draws = torch.zeros(slots, model.places, 1, dtype=torch.float64, device=like.device)
        self.spoken = torch.zeros(slots, model.vocabulary, dtype=torch.bool, device=like.device)
        # Of each row: where its next code will lie, the place it is embedded with, its number, 1 where somebody speaks.
        self.place, self.embedded, self.number, self.busy = torch.zeros(4, slots, dtype=torch.int64, device=like.device)

    def speak(self, sentences: Sequence[CodeSentence]) -> Iterator[SaidCode]:
        waiting = deque(enumerate(sentences))
        slots: dict[int, CodeSlot] = {}
        self.free(range(self.slots))  # of a call that was left before its end
        # disable=None: no bar in a log file
        with tqdm(desc="codes", unit="code", leave=False, dynamic_ncols=True, disable=None) as bar:
            while waiting or slots:
                for free in sorted(set(range(self.slots)) - slots.keys())[: len(waiting)]:
                    number, sentence = waiting.popleft()
                    slots[free] = CodeSlot(number, self.admit(free, sentence), sentence.codes)
                longest = max(slot.places for slot in slots.values()) + 1
                codes, states = self.step(longest)
                bar.update(len(slots))
                for place, slot in list(slots.items()):
                    slot.places, slot.left = slot.places + 1, slot.left - 1
                    ended = codes[place] == self.model.end
                    over = ended or not slot.left
                    yield SaidCode(slot.number, codes[place], states[place], over, ended)
                    if over:
                        self.free([place])
                        del slots[place]

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def admit(self, slot: int, sentence: CodeSentence) -> int:
        """The places that the prompt takes."""
        prompt = sentence.prompt()[None]
        count = prompt.shape[1]
        hears = self.every[:count] <= self.every[:count, None]
        hears[: sentence.both_ways, : sentence.both_ways] = True
        row = self.rows[slot : slot + 1]
        self.state[slot] = self._through(prompt, row, self.every[None, :count], hears[None, None], count)[0, -1]
        # Drawn on the CPU: the same on any device.
        random = torch.Generator().manual_seed(sentence.seed)
        self.draws[slot, : sentence.codes] = torch.rand((sentence.codes, 1), generator=random, dtype=torch.float64)
        self.spoken[slot] = False
        self.spoken[slot, list(sentence.counted)] = True
        self.place[slot], self.embedded[slot], self.number[slot], self.busy[slot] = count, sentence.place, 0, 1
        return int(count)

    def free(self, slots: Sequence[int] | range) -> None:
        """Their rows go on computing, on the spot."""
        for slot in slots:
            self.place[slot] = self.embedded[slot] = self.number[slot] = self.busy[slot] = 0

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def step(self, longest: int) -> tuple[list[int], Tensor]:
        """The next code of every row, and the states that they were drawn from; the longest takes `longest` places."""
        states = self.state.clone()
        logits = self.model.logits(states).float()
        early = (self.number < self.model.silent_steps)[:, None] & (self.every_code == self.model.end)
        logits = penalised(logits, self.spoken, self.how.penalty).masked_fill(early, -torch.inf)
        codes = pick(logits, self.draws[self.rows[:, 0], self.number], self.how)
        self.spoken.scatter_(1, codes[:, None], True)
        length = min(-(-longest // PLACES) * PLACES, self.model.places)
        places = self.place[:, None]
        hears = (self.every[:length] <= places[..., None])[:, None]
        embedded = self.model.embed(codes[:, None], self.embedded[:, None])
        self.state.copy_(self._through(embedded, self.rows, places, hears, length)[:, 0])
        for buffer in (self.place, self.embedded, self.number):
            buffer += self.busy
        return codes.tolist(), states

    @property
    def every_code(self) -> Tensor:
        return torch.arange(self.model.vocabulary, device=self.spoken.device)

    def _through(self, x: Tensor, rows: Tensor, places: Tensor, hears: Tensor, length: int) -> Tensor:
        """x (B, T, C) of `rows` (B, 1) at `places` (B, T) -> the last layer's states, the caches written."""
        for number, layer in enumerate(self.model.layers):
            x = layer(x, partial(self._attend, number, rows, places, hears, length))
        return self.model.normed(x)

    def _attend(self, layer: int, rows: Tensor, places: Tensor, hears: Tensor, length: int, joint: Tensor) -> Tensor:
        query, key, value = joint.unflatten(-1, (3, self.model.heads, -1)).unbind(2)  # (B, T, heads, width)
        keys, values = self.keys[layer].transpose(1, 2), self.values[layer].transpose(1, 2)
        keys.index_put_((rows, places), key)
        values.index_put_((rows, places), value)
        first = int(rows[0]) if len(rows) < self.slots else 0
        mine = slice(first, first + len(rows))
        attended = F.scaled_dot_product_attention(
            query.transpose(1, 2), self.keys[layer, mine, :, :length], self.values[layer, mine, :, :length],
            attn_mask=hears,
        )  # fmt: skip
        return attended.transpose(1, 2).flatten(2)
