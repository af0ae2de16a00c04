"""CSM's decode loop: sentences side by side in slots, a frame of each at a time.

    decoder = Decoder(model, Speaking(temperature=0.6, top_k=0, slots=8))   # kept: buffers and graphs are made once
    for number, frame, ended in decode(decoder, sentences):
        ...     # a frame (codebooks) of the sentence of that number, as soon as it is made; None: that sentence is over

transformers' `generate` runs its whole machinery for every code. Here a frame is one function over buffers that stay
where they are: the first code from the backbone's state, the others by the depth decoder, then the backbone's next
state; on CUDA it is captured as a graph and replayed. A sentence that is over leaves its slot to the next one.

In single precision the codes are those of `generate`. On one machine and with as many slots, a sentence comes out the
same in any company, slot and order: all slots compute always, a prompt is read alone, and draws are the sentence's own.
A GPU looks at more places where a longer sentence is beside, and may round the sums of a shorter one otherwise.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from timbre.families.csm.eight_bits import Int8Heads
from timbre.families.csm.frames import Frames, SpokenFrames
from timbre.families.llama import Layer, Product, Stack, joined, product, shape_of
from timbre.families.lora_rows import RowAdapters, RowProduct
from timbre.families.protocol import Speaking
from timbre.families.sampling import RowSampling, pick

Pick = Callable[[Tensor, Tensor], Tensor]  # logits (rows, codes), draws (rows, 1) → codes (rows)


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


def decode(decoder: Decoder, sentences: Sequence[Sentence]) -> Iterator[Said]:
    waiting, wanted = deque(enumerate(sentences)), Counter(sentence.before for sentence in sentences)
    heard: dict[str, Caches] = {}
    slots: dict[int, Slot] = {}
    decoder.free(range(decoder.slots))  # of a call that was left before its end
    # disable=None: no bar in a log file
    with tqdm(desc="frames", unit="frame", leave=False, dynamic_ncols=True, disable=None) as bar:
        while waiting or slots:
            for free in sorted(set(range(decoder.slots)) - slots.keys())[: len(waiting)]:
                number, sentence = waiting.popleft()
                slots[free] = Slot(number, decoder.admit(free, sentence, heard), sentence.frames)
                wanted[sentence.before] -= 1
                if not wanted[sentence.before]:
                    heard.pop(sentence.before, None)
            frames = decoder.frames(max(slot.places for slot in slots.values()) + 1)
            bar.update(len(slots))
            for place, slot in list(slots.items()):
                ended = bool((frames[place, :-1] == decoder.end).all())
                if not ended:
                    yield Said(slot.number, frames[place])
                    slot.places, slot.left = slot.places + 1, slot.left - 1
                if ended or not slot.left:
                    yield Said(slot.number, None, ended)
                    decoder.free([place])
                    del slots[place]


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


class Weights:
    """A voice's weights as the loop wants them. On a CPU most are copies, so decoders of one voice share them.

    With `adapters`, each row of a decoder may speak with an adapter of its own.
    """

    def __init__(self, model: Any, adapters: RowAdapters | None = None) -> None:
        depth = model.depth_decoder
        self.backbone = layers(model.backbone_model.layers, "backbone_model.layers", adapters)
        self.depth = layers(depth.model.layers, "depth_decoder.model.layers", adapters)
        self.head, self.project = joined(model.lm_head), joined(depth.model.inputs_embeds_projector)
        self.heads = heads(depth.codebooks_head)


def layers(modules: Any, prefix: str, adapters: RowAdapters | None) -> list[Layer]:
    made = [Layer(module) for module in modules]
    if adapters is None:
        return made
    for number, (layer, module) in enumerate(zip(made, modules, strict=True)):
        attention, mlp = (module.self_attn, f"{prefix}.{number}.self_attn"), (module.mlp, f"{prefix}.{number}.mlp")
        layer.heard = adapted(adapters, layer.heard, *attention, "q_proj", "k_proj", "v_proj")
        layer.said = adapted(adapters, layer.said, *attention, "o_proj")
        layer.gates = adapted(adapters, layer.gates, *mlp, "gate_proj", "up_proj")
        layer.down = adapted(adapters, layer.down, *mlp, "down_proj")
    return made


def adapted(adapters: RowAdapters, plain: Product, module: Any, prefix: str, *names: str) -> RowProduct:
    shapes = [shape_of(getattr(module, name)) for name in names]
    parts = [(f"{prefix}.{name}", outputs) for name, (outputs, _) in zip(names, shapes, strict=True)]
    return adapters.put_on(plain, shapes[0][1], *parts)


class Decoder:
    """Slots of a voice: caches and buffers that keep their places from call to call."""

    def __init__(
        self, model: Any, how: Speaking, *, graphs: bool | None = None, weights: Weights | None = None,
        sampling: RowSampling | None = None,
    ) -> None:  # fmt: skip
        """With `sampling`, each row draws in a way of its own instead of `how`."""
        self.weights = weights or Weights(model)
        self.pick: Pick = sampling.pick if sampling else partial(pick, how=how)
        weight, config = model.backbone_model.norm.weight, model.config
        self.slots, self.how, self.end = how.slots, how, config.codebook_eos_token_id
        self.size: int = config.codec_config.codebook_size  # the few ids above are no codes, and crash the codec
        self.embed, self.device = model.backbone_model.embed_tokens, weight.device
        positions, codebooks = config.max_position_embeddings, config.num_codebooks
        self.backbone = Stack(model.backbone_model, self.weights.backbone, how.slots, positions)
        self.depth = Depth(model, self.weights, self.size, self.pick, how.slots)
        self.state = torch.zeros(how.slots, config.hidden_size, dtype=weight.dtype, device=self.device)
        self.codes = torch.zeros(how.slots, codebooks, dtype=torch.int64, device=self.device)
        self.draws = torch.zeros(how.slots, positions, codebooks, dtype=torch.float64, device=self.device)
        # Of each row: where its next frame will lie, that frame's number, and 1 where somebody speaks.
        self.place, self.number, self.busy = torch.zeros(3, how.slots, dtype=torch.int64, device=self.device)
        on_gpu = self.device.type == "cuda"
        # Places that are looked at. A graph is made for each; without graphs any will do.
        self.lengths = [256 << i for i in range(4)] if on_gpu else list(range(64, positions, 64))
        self.lengths = [*(length for length in self.lengths if length < positions), positions]
        self.step = Replay(self) if (on_gpu if graphs is None else graphs) else self.frame

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def admit(self, slot: int, sentence: Sentence, heard: dict[str, Caches]) -> int:
        """The places that context and text take. A context is read alone, and kept in `heard`, whoever shares it."""
        row, start = self.backbone.row(slot), 0
        if sentence.before in heard:
            start = heard[sentence.before].keys.shape[3]
            row.keys[:, :, :, :start], row.values[:, :, :, :start] = heard[sentence.before]
        elif sentence.before:
            context = sentence.context()
            start = len(context)
            row.read(context, 0)
            heard[sentence.before] = Caches(row.keys[:, :, :, :start].clone(), row.values[:, :, :, :start].clone())
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

    def frames(self, longest: int) -> Frames:
        """The next frame of every row (slots, codebooks); with it the longest takes `longest` places."""
        self.step(self.lengths[bisect_left(self.lengths, longest)])
        codes: Frames = self.codes.cpu().numpy().astype(np.int16)
        return codes

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def frame(self, length: int) -> None:
        """From the states the next codes, and the states after them. Asks the host nothing, so it can be a graph."""
        draws = self.draws[self.backbone.rows[:, 0], self.number]
        first = self.pick(self.weights.head(self.state)[:, : self.size], draws[:, :1])
        self.codes.copy_(self.depth.frame(self.state, first, draws))
        where = self.backbone.at(self.place[:, None], length)
        self.state.copy_(self.backbone.step(self.embed(self.codes[:, None]), where)[:, 0])
        self.place += self.busy
        self.number += self.busy


class Depth:
    """From the backbone's state and the first code, the other codes of a frame; its cache begins anew each time."""

    def __init__(self, model: Any, weights: Weights, size: int, pick: Pick, rows: int) -> None:
        depth, codebooks = model.depth_decoder, model.config.num_codebooks
        self.vocabulary, self.size, self.pick = depth.config.vocab_size, size, pick
        self.embed, self.project, self.heads = depth.model.embed_tokens, weights.project, weights.heads
        self.stack = Stack(depth.model, weights.depth, rows, codebooks)
        places = self.stack.every.expand(rows, -1)  # the first is the backbone's state's, then one for each code
        self.places = [self.stack.at(places[:, :2], 2)]
        self.places += [self.stack.at(places[:, i : i + 1], i + 1)._replace(mask=None) for i in range(2, codebooks)]

    def frame(self, state: Tensor, first: Tensor, draws: Tensor) -> Tensor:
        """state (B, hidden), first (B), draws (B, codebooks) → (B, codebooks)."""
        codes = [first]
        x = torch.stack((state, self.embed(first)), 1)
        for codebook, (head, where) in enumerate(zip(self.heads, self.places, strict=True), 1):
            logits = head(self.stack.step(self.project(x), where)[:, -1])[:, : self.size]
            codes.append(self.pick(logits, draws[:, codebook, None]))
            x = self.embed(codes[-1] + codebook * self.vocabulary)[:, None]
        return torch.stack(codes, 1)


def heads(head: Any) -> list[Product]:
    """For each codebook but the first, logits from states."""
    return list(head.each) if isinstance(head, Int8Heads) else [product(weight.detach().T) for weight in head.weight]


class Replay:
    """`Decoder.frame` on CUDA: captured as one graph for each length that is looked at, then replayed."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder, self.graphs = decoder, dict[int, torch.cuda.CUDAGraph]()

    def __call__(self, length: int) -> None:
        if length not in self.graphs:
            self.graphs[length] = self._capture(length)
        self.graphs[length].replay()

    def _capture(self, length: int) -> torch.cuda.CUDAGraph:
        """Warmed up on a side stream, as CUDA wants it, with nobody busy: rows stand, and are written again later."""
        decoder, side = self.decoder, torch.cuda.Stream()
        kept = [(buffer, buffer.clone()) for buffer in (decoder.state, decoder.codes, decoder.busy)]
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
        for buffer, value in kept:
            buffer.copy_(value)
        return graph
