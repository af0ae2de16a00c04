"""CSM for many callers: continuous batching of the decode loop, with an adapter, a seed and a way of drawing per slot.

Every step computes all slots, busy or not, so a sentence comes out the same byte for byte whoever shares the batch; a
GPU may round the sums of a short sentence otherwise beside a long one. Each sentence becomes sound in pieces that grow,
decoded alone, and hardly more than one large piece in a step: whoever comes meanwhile waits for one. On a GPU the
frames of all sentences that have just begun become sound in one call; a CPU would pay for all slots there, and of eight
hardly one is so young.

A GPU also computes a frame ahead, while the host looks at the last one and makes it sound. Such a frame is of those who
spoke when it was begun: whoever is gone by then is passed over, and whoever has come since begins with the next.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from timbre.families.csm.decode import Decoder, Weights
from timbre.families.csm.mimi import LONGEST_PIECE, CodecRows
from timbre.families.frame_loop import Caches, Frames
from timbre.families.lora_rows import RowAdapters, rank_of
from timbre.families.protocol import Audio, Request, Speaking
from timbre.families.sampling import RowSampling
from timbre.families.slots import Drawing, SlotSound

if TYPE_CHECKING:
    from timbre.families.csm.model import Csm

RANK = 32  # room for later adapters, where none was there at the start
YOUNG = 4  # first frames of a sentence that a GPU decodes at once, each
LARGE = 8  # frames of a piece that others may have to wait for
CONTEXTS = 32  # references and conversations whose keys and values are kept


@dataclass
class SlotSentence:
    """Who speaks in a slot."""

    places: int  # of the cache that it takes
    left: int  # frames that are not begun
    most: int  # frames
    frames: list[Frames] = field(default_factory=list)
    sounded: int = 0  # frames that are sound already
    over: bool = False  # all frames are made
    ended: bool = False  # by itself

    @property
    def waiting(self) -> list[Frames]:
        return self.frames[self.sounded :]

    @property
    def piece(self) -> int:
        """Frames of the next piece, one more than all before it: 1, 2, 4, 8, …; at the end what is left."""
        piece = min(self.sounded + 1, LONGEST_PIECE)
        return min(piece, len(self.frames) - self.sounded) if self.over else piece

    @property
    def due(self) -> int:
        """Frames beyond those that the next piece needs; less than 0 where it is not whole yet."""
        return len(self.frames) - self.sounded - self.piece


class BegunFrame(NamedTuple):
    """A frame that may still be computed."""

    read: Callable[[], Frames]
    sentences: dict[int, SlotSentence]  # those that it is of


class CsmSlots:
    """See `timbre.families.slots.Slots`."""

    def __init__(self, voice: Csm, count: int, adapters: Mapping[str, Path]) -> None:
        model = voice.base
        self.voice, self.count = voice, count
        self.sample_rate, self.frame_rate = voice.sample_rate, voice.frame_rate
        rank = max((rank_of(folder) for folder in adapters.values()), default=RANK)
        self.adapters = RowAdapters(count, rank, model.backbone_model.norm.weight)
        self.sampling = RowSampling(count, voice.device)
        weights = Weights(model, self.adapters)
        self.decoder = Decoder(model, Speaking(1.0, 0, count), weights=weights, sampling=self.sampling)
        self.codec = CodecRows(model.codec_model, count)
        self.alone = [self.codec.row(slot) for slot in range(count)]
        self.sentences: dict[int, SlotSentence] = {}
        self.ahead: BegunFrame | None = None  # computed already while the one before is looked at
        self.contexts: OrderedDict[str, Caches] = OrderedDict()
        for name, folder in adapters.items():
            self.load(name, folder)
        self.decoder.prepare()

    def load(self, name: str, adapter: Path) -> None:
        self.adapters.load(name, adapter)
        self.decoder.learn(name)

    def forget(self, name: str) -> None:
        self.adapters.forget(name)
        self.decoder.forget(name)
        for key in [key for key in self.contexts if key.startswith(f"{name}\n")]:
            del self.contexts[key]

    def admit(self, slot: int, request: Request, how: Drawing, adapter: str | None) -> None:
        sentence = self.voice.sentence(request)
        if sentence.before:  # the same words are heard differently by each adapter
            sentence = sentence._replace(before=f"{adapter or ''}\n{sentence.before}")
        self.adapters.use(slot, adapter)
        self.sampling.set(slot, Speaking(how.temperature, how.top_k, self.count), how.top_p)
        places = self.decoder.admit(slot, sentence, self.contexts)
        if sentence.before:
            self.contexts.move_to_end(sentence.before)
            while len(self.contexts) > CONTEXTS:
                self.contexts.popitem(last=False)
        self.codec.clear(slot)
        self.sentences[slot] = SlotSentence(places, sentence.frames, sentence.frames)

    def free(self, slot: int) -> None:
        self.adapters.leave(slot)
        if self.sentences.pop(slot, None):
            self.decoder.free([slot])

    def step(self) -> Iterator[SlotSound]:
        if not self.sentences:
            return
        young = self._frame() if any(not one.over for one in self.sentences.values()) else {}
        for slot, sound in young.items():
            if not self.sentences[slot].over:
                yield SlotSound(slot, sound)
        for slot in self._in_turn():
            one, sound = self.sentences[slot], self._grown(slot)
            if one.over and slot in young:
                sound = np.concatenate((young[slot], sound))
            if not one.over or one.waiting:
                yield SlotSound(slot, sound)
                continue
            codes = np.array(one.frames, np.int16).reshape(-1, self.voice.codebooks)
            self.free(slot)
            yield SlotSound(slot, sound, True, one.ended, {"codes": codes})

    def _frame(self) -> dict[int, Audio]:
        """A frame of every sentence; the sound of those that begin, where it is made at once."""
        begun = self.ahead if self.ahead and self._still_speaking(self.ahead) else self._begin()
        assert begun, "of a sentence that is not over, a frame is begun or left to begin"
        self.ahead = self._begin() if self.decoder.ahead else None
        frames, going = begun.read(), self._still_speaking(begun)
        for slot, one in going.items():
            one.ended = self.decoder.is_end(frames[slot])
            if not one.ended:
                one.frames.append(frames[slot])
            one.over = one.ended or len(one.frames) == one.most
            if one.over:
                self._idle(slot)
        return self._young(frames, going)

    def _begin(self) -> BegunFrame | None:
        """The next frame of all who may say one more; whoever has none left is out of the one after it."""
        going = {slot: one for slot, one in self.sentences.items() if not one.over and one.left}
        if not going:
            return None
        read = self.decoder.launch(max(one.places for one in going.values()) + 1)
        for slot, one in going.items():
            one.places, one.left = one.places + 1, one.left - 1
            if not one.left:
                self._idle(slot)
        return BegunFrame(read, going)

    def _still_speaking(self, begun: BegunFrame) -> dict[int, SlotSentence]:
        """Of the frame's sentences, those that have not ended since and were not left."""
        return {slot: one for slot, one in begun.sentences.items() if self.sentences.get(slot) is one and not one.over}

    def _idle(self, slot: int) -> None:
        """The row says nothing more; its slot is not free, until the rest is sound."""
        self.adapters.leave(slot)
        self.decoder.free([slot])

    def _young(self, frames: Frames, going: Mapping[int, SlotSentence]) -> dict[int, Audio]:
        """On a GPU the first frames of sentences, all in one call of the codec."""
        young = [slot for slot, one in going.items() if one.waiting and len(one.frames) <= YOUNG]
        if not young or self.codec.device.type == "cpu":
            return {}
        busy = torch.zeros(self.count, dtype=torch.bool)
        busy[young] = True
        codes = torch.from_numpy(frames.astype(np.int64))[..., None]
        sound = self.codec.sound(codes * busy[:, None, None], busy)
        for slot in young:
            self.sentences[slot].sounded += 1
        return {slot: sound[slot].copy() for slot in young}

    def _in_turn(self) -> list[int]:
        """Whose frames become sound in this step, the smallest piece first; of large ones the last or most overdue."""
        due = {slot: one for slot, one in self.sentences.items() if one.due >= 0}
        small = [slot for slot, one in due.items() if one.piece < LARGE]
        large = sorted(due.keys() - set(small), key=lambda slot: (not due[slot].over, -due[slot].due, slot))
        at_once = -(-self.count // LONGEST_PIECE)  # as many as fall due in a step on average, at most
        return sorted(small, key=lambda slot: due[slot].piece) + large[:at_once]

    def _grown(self, slot: int) -> Audio:
        """The sound of the next piece."""
        one = self.sentences[slot]
        if not one.waiting:
            return np.zeros(0, np.float32)
        piece = np.stack(one.waiting[: one.piece]).astype(np.int64)
        one.sounded += len(piece)
        sound: Audio = self.alone[slot].sound(torch.from_numpy(piece).T[None])[0]
        return sound
