"""A small voice's depth decoder with few calls, for the slots of a server on a CPU.

    depth = SmallDepth(model, layers, rows=8, pick=sampling.pick, size=512, busy=adapters.busy)
    codes = depth.frame(state, first, draws)    # as `Depth` of timbre.families.csm.decode

Beside what `timbre.families.csm.small_layers` says: what goes into the first layer, and that layer's query, key and
value, depend on the code and its codebook alone, and are read from a table. Heads are laid out so that a turn is a
product of complex numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from timbre.families.csm.small_layers import SmallLayer, SmallLayers, SmallVoice
from timbre.families.llama import Layer
from timbre.families.lora_rows import BusyRows

LARGEST_TABLE = 1 << 22  # numbers, 16 MB; each voice has its own
Pick = Callable[[Tensor, Tensor], Tensor]


class DepthCache(NamedTuple):
    """A layer's keys and values at one place and before it."""

    here: Tensor  # (2, rows, groups, width)
    keys: Tensor  # (rows * groups, width, places)
    values: Tensor  # (rows * groups, places, width)
    scores: Tensor  # (rows * groups, heads that share keys, places)


class SmallDepth(SmallLayers):
    """From the backbone's state and the first code, the other codes of a frame; its cache begins anew each time."""

    @staticmethod
    def fits_model(model: Any, layers: Sequence[Layer], size: int) -> bool:
        depth = model.depth_decoder
        config = depth.config
        outputs = (config.num_attention_heads + 2 * config.num_key_value_heads) * config.head_dim
        table = (config.num_codebooks - 1) * size * (config.hidden_size + outputs)
        return (
            table <= LARGEST_TABLE
            and isinstance(getattr(depth.codebooks_head, "weight", None), Tensor)
            and SmallLayers.fits(depth.model, layers)
        )

    def __init__(self, model: Any, layers: Sequence[Layer], rows: int, pick: Pick, codes: int, busy: BusyRows) -> None:
        depth = model.depth_decoder.model
        super().__init__(depth, layers, rows)
        self.pick, self.codes, self.busy = pick, codes, busy
        self.vocabulary, self.codebooks = depth.config.vocab_size, int(model.config.num_codebooks)
        self.codebook_heads = model.depth_decoder.codebooks_head.weight.detach()
        self.project = depth.inputs_embeds_projector.weight.detach().t().contiguous()
        like = depth.norm.weight.detach()
        angles = (
            part[0, :, None, : self.width // 2].contiguous()
            for part in depth.rotary_emb(like[None, None], torch.arange(self.codebooks)[None])
        )
        self.turns = list(torch.complex(*angles))  # (1, width / 2) of each place
        self.ordered = self._ordered()
        pairs = self.said[:, : self.turning].unflatten(2, (-1, 2))
        self.complex = torch.view_as_complex(pairs)
        self.asked = self.said[:, : self.heads]
        self.remembered = self.said[:, self.heads :].unflatten(1, (2, self.groups)).transpose(0, 1)
        self.query = like.new_zeros(rows, self.heads, self.width)
        self.queries = self.query.view(rows * self.groups, -1, self.width)
        self.heard = torch.zeros_like(self.queries)
        self.attended = self.heard.view(rows, -1)
        self.logits = like.new_zeros(rows, codes)
        cache = like.new_zeros(len(layers), 2, rows, self.groups, self.codebooks, self.width)
        self.caches = [[self._cache(layer, place) for layer in cache] for place in range(self.codebooks)]

    def _cache(self, layer: Tensor, place: int) -> DepthCache:
        keys, values = layer.flatten(1, 2)[:, :, : place + 1]
        scores = layer.new_zeros(len(keys), self.heads // self.groups, place + 1)
        return DepthCache(layer[:, :, :, place], keys.transpose(1, 2), values, scores)

    def _ordered(self) -> Tensor:
        """Where a layer has each of our outputs: what turns together lies side by side, as a complex number's parts."""
        pairs = torch.arange(self.width).view(2, -1).t().flatten().expand(self.turning, -1)
        plain = torch.arange(self.width).expand(self.groups, -1)
        starts = self.width * torch.arange(self.turning + self.groups)[:, None]
        return (starts + torch.cat((pairs, plain))).flatten()

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def learn(self, name: str | None) -> None:
        last = self.folded(self.model.norm)
        heads = [last * head[:, : self.codes] for head in self.codebook_heads]
        layers = self.merged(name)
        self.voices[name] = SmallVoice(layers, heads, [self._table(layers[0], i) for i in range(len(heads))])

    def _layer(self, products: Layer, layer: Any, name: str | None) -> SmallLayer:
        made = super()._layer(products, layer, name)
        qkv = made.qkv[:, self.ordered]
        qkv[:, : self.heads * self.width] *= self.width**-0.5
        return made._replace(qkv=qkv)

    def _table(self, layer: SmallLayer, codebook: int) -> Tensor:
        """Of each code of a codebook."""
        start = codebook * self.vocabulary
        x = self.model.embed_tokens.weight.detach()[start : start + self.codes] @ self.project
        qkv = (x / torch.linalg.vector_norm(x, dim=-1, keepdim=True).hypot(self.least)) @ layer.qkv
        turning = qkv[:, : self.turning * self.width].unflatten(1, (self.turning, -1, 2))
        torch.view_as_complex(turning).mul_(self.turns[codebook + 1])
        return torch.cat((x, qkv), 1)

    def frame(self, state: Tensor, first: Tensor, draws: Tensor) -> Tensor:
        """state (rows, hidden), first (rows), draws (rows, codebooks) → (rows, codebooks)."""
        codes = None
        for voice in self.busy.voices:
            own = self._say(self.voice(voice.name), state, first, draws)
            codes = own if codes is None or voice.mask is None else torch.where(voice.mask, own, codes)
        assert codes is not None
        return codes

    def _say(self, voice: SmallVoice, state: Tensor, first: Tensor, draws: Tensor) -> Tensor:
        codes, each = [first], draws.unsqueeze(-1).unbind(1)
        torch.mm(state, self.project, out=self.x)
        self._pass(voice, 0)
        for place, (table, head) in enumerate(zip(voice.tables, voice.heads, strict=True), 1):
            torch.index_select(table, 0, codes[-1], out=self.both)
            self._pass(voice, place)
            codes.append(self.pick(torch.mm(self.normed(), head, out=self.logits), each[place]))
        return torch.stack(codes, 1)

    def _pass(self, voice: SmallVoice, place: int) -> None:
        """All layers over x. What the first one asks lies there already where x is a code."""
        for number, (layer, cache) in enumerate(zip(voice.layers, self.caches[place], strict=True)):
            if number or not place:
                self.ask(layer)
                self.complex.mul_(self.turns[place])
            cache.here.copy_(self.remembered)
            if not place and number == len(voice.layers) - 1:
                return  # nobody asks what comes after the backbone's state
            self.query.copy_(self.asked)
            torch.bmm(self.queries, cache.keys, out=cache.scores)
            torch.bmm(torch.softmax(cache.scores, -1), cache.values, out=self.heard)
            self.think(layer, self.attended)
