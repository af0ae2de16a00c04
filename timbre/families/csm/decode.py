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

from functools import partial
from typing import Any

import torch

from timbre.families.csm.depth import CompiledDepth, Depth, Pick
from timbre.families.csm.eight_bits import Int8Heads
from timbre.families.csm.small_depth import SmallDepth
from timbre.families.csm.small_layers import SmallLayers
from timbre.families.csm.small_stack import SmallStack
from timbre.families.frame_loop import FrameDecoder, Frames
from timbre.families.llama import PACKED, Layer, Product, Stack, joined, joined_weight, product, shape_of
from timbre.families.lora_rows import RowAdapters, RowProduct
from timbre.families.protocol import Speaking
from timbre.families.sampling import RowSampling, pick


class Weights:
    """A voice's weights as the loop wants them. On a CPU most are copies, so decoders of one voice share them.

    With `adapters`, each row of a decoder may speak with an adapter of its own.
    """

    def __init__(self, model: Any, adapters: RowAdapters | None = None) -> None:
        depth = model.depth_decoder
        self.busy = adapters.busy if adapters else None
        self.backbone = layers(model.backbone_model.layers, "backbone_model.layers", adapters)
        self.depth = layers(depth.model.layers, "depth_decoder.model.layers", adapters)
        self.head, self.project = joined(model.lm_head), joined(depth.model.inputs_embeds_projector)
        self.heads = heads(depth.codebooks_head)


def layers(modules: Any, prefix: str, adapters: RowAdapters | None) -> list[Layer]:
    adapted_layers = [Layer(module) for module in modules]
    if adapters is None:
        return adapted_layers
    for number, (layer, module) in enumerate(zip(adapted_layers, modules, strict=True)):
        attention, mlp = (module.self_attn, f"{prefix}.{number}.self_attn"), (module.mlp, f"{prefix}.{number}.mlp")
        layer.qkv = adapted(adapters, layer.qkv, *attention, "q_proj", "k_proj", "v_proj")
        layer.output = adapted(adapters, layer.output, *attention, "o_proj")
        layer.gates = adapted(adapters, layer.gates, *mlp, "gate_proj", "up_proj")
        layer.down = adapted(adapters, layer.down, *mlp, "down_proj")
    return adapted_layers


def adapted(adapters: RowAdapters, plain: Product, module: Any, prefix: str, *names: str) -> RowProduct:
    each = [getattr(module, name) for name in names]
    shapes = [shape_of(layer) for layer in each]
    parts = [(f"{prefix}.{name}", outputs) for name, (outputs, _) in zip(names, shapes, strict=True)]
    weight = joined_weight(*each)
    small = None if weight is None or weight.numel() >= PACKED else weight.t().contiguous()
    return adapters.put_on(plain, shapes[0][1], *parts, small=small)


class Decoder(FrameDecoder):
    """Slots of a voice: caches and buffers that keep their places from call to call."""

    def __init__(
        self, model: Any, how: Speaking, *, graphs: bool | None = None, weights: Weights | None = None,
        sampling: RowSampling | None = None, compiled: bool | None = None,
    ) -> None:  # fmt: skip
        """With `sampling`, each row draws in its own way instead of by `how`. A GPU compiles unless told otherwise."""
        self.weights = weights or Weights(model)
        self.pick: Pick = sampling.pick if sampling else partial(pick, how=how)
        config = model.config
        self.how, self.end = how, config.codebook_eos_token_id
        self.size: int = config.codec_config.codebook_size  # the few ids above are no codes, and crash the codec
        self.embed = model.backbone_model.embed_tokens
        positions, codebooks = config.max_position_embeddings, config.num_codebooks
        self.small: list[SmallLayers] = []  # which learn each voice
        backbone = self._backbone(model.backbone_model, how.slots, positions)
        super().__init__(backbone, config.hidden_size, how.slots, positions, codebooks, graphs, compiled)
        self.depth = self._depth(model, how.slots)

    def _backbone(self, model: Any, rows: int, positions: int) -> Stack:
        layers, busy = self.weights.backbone, self.weights.busy
        if busy is None or not SmallLayers.fits(model, layers):
            return Stack(model, layers, rows, positions)
        stack = SmallStack(model, layers, rows, positions, busy)
        self.small.append(stack.small)
        return stack

    def _depth(self, model: Any, rows: int) -> Depth | SmallDepth:
        layers, busy = self.weights.depth, self.weights.busy
        if busy is None or not SmallDepth.fits_model(model, layers, self.size):
            kind = CompiledDepth if self.compiled else Depth
            return kind(model, self.weights, self.size, self.pick, rows)
        depth = SmallDepth(model, layers, rows, self.pick, self.size, busy)
        self.small.append(depth)
        return depth

    def learn(self, name: str) -> None:
        """A voice that its weights' adapters have loaded."""
        for layers in self.small:
            layers.learn(name)

    def forget(self, name: str) -> None:
        for layers in self.small:
            layers.forget(name)

    def is_end(self, frame: Frames) -> bool:
        return bool((frame[:-1] == self.end).all())

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def frame(self, length: int) -> None:
        """From the states the next codes, and the states after them. Asks the host nothing, so it can be a graph."""
        draws = self.draws[self.backbone.rows[:, 0], self.number]
        first = self.pick(self.weights.head(self.state)[:, : self.size], draws[:, :1])
        self.codes.copy_(self.depth.frame(self.state, first, draws))
        where = self.backbone.at(self.place[:, None], length)
        self.state.copy_(self.backbone.following(self.embed(self.codes[:, None]), where))
        self.place += self.busy
        self.number += self.busy


def heads(head: Any) -> list[Product]:
    """For each codebook but the first, logits from states."""
    return list(head.each) if isinstance(head, Int8Heads) else [product(weight.detach().T) for weight in head.weight]
