"""Orpheus as a voice: loading, sequences, losses, speaking. What is learnt is a LoRA adapter on the Llama's layers.

The base is a folder, or an id on the hub, with the Llama's shards and its tokenizer; SNAC lies in the folder `snac`
inside, or is that of the hub.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from timbre.core.errors import ModelError
from timbre.core.sections import OrpheusParams
from timbre.families import lean_transformers
from timbre.families import lora as low_rank
from timbre.families.batch_rows import rounded
from timbre.families.frame_loop import Frames
from timbre.families.frame_voice import FrameVoice
from timbre.families.int8 import Int8Linear
from timbre.families.llama import CausalLayers
from timbre.families.lora import LoraCourse, merged
from timbre.families.orpheus.codec import SnacCodec, read_codec
from timbre.families.orpheus.decode import OrpheusDecoder, OrpheusWeights, slot_ids
from timbre.families.orpheus.shape import SLOTS
from timbre.families.orpheus.tokens import LEVELS, TokenIds, tokens_of, without_repeats
from timbre.families.precision import cast, device_for, dtype_of, shrink_decoder
from timbre.families.protocol import (
    WHOLE,
    Audio,
    Lora,
    Losses,
    Part,
    Precision,
    SpeakerTag,
    Speaking,
    Turn,
)  # fmt: skip
from timbre.families.published import SAFE, WEIGHTS, harmless, quiet, told

TARGETS = r".*model\.layers\.\d+\." + low_rank.PROJECTIONS
CODEC = "hubertsiuzdak/snac_24khz"  # where the base has none of its own …
CODEC_REVISION = "d73ad176a12188fcf4f360ba3bf2c2fbbe8f58ec"  # … at this commit of the hub
POSITIONS = 4096  # at most: 45 s of sound; the model's own 131,072 would be room for nobody
NAMES = ("coarse", "middle", "fine")  # levels


def load(base: str, revision: str | None, adapter: Path | None, precision: Precision) -> Orpheus:
    quiet()
    device = device_for(precision)
    with told(base):
        model, tokenizer = from_pretrained(base, {} if Path(base).is_dir() else {"revision": revision})
    codec = load_codec(base)
    ids = TokenIds.of(tokenizer, codec.codes, base)
    if adapter:
        model = merged(model, adapter)
    if precision == "int8":
        shrink_decoder(model.model)
    cast(model, dtype_of(precision, device))
    model.to(device).eval()
    return Orpheus(model, tokenizer, codec, ids)


def load_codec(base: str, revision: str | None = None) -> SnacCodec:
    """SNAC has a commit of its own."""
    with told(base):
        codec = SnacCodec(read_codec(*codec_files(base)))
    codec.model.to(device_for("auto"))
    return codec


def from_pretrained(base: str, where: dict[str, Any]) -> tuple[Any, Any]:
    lean_transformers.load()
    with lean_transformers.uncompiled():
        from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

        content, _ = LlamaConfig.get_config_dict(base, **where)
        if (kind := content.get("model_type")) != "llama":
            raise ModelError(f"voice.base: {base} is a {kind} model, not orpheus; see voice.family")
        model, report = LlamaForCausalLM.from_pretrained(
            base, config=LlamaConfig.from_dict(harmless(content)), dtype=torch.float32, output_loading_info=True,
            **WEIGHTS, **where,
        )  # fmt: skip
    tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    if missing := sorted(set(report["missing_keys"]) - tied):  # transformers fills them with noise
        raise ValueError(f"it lacks {len(missing)} weights, first {missing[0]}")
    return model, AutoTokenizer.from_pretrained(base, **SAFE, **where)


def codec_files(base: str) -> tuple[Path, Path]:
    names, folder = ("config.json", "pytorch_model.bin"), Path(base) / "snac"
    if Path(base).is_dir():
        config, weights = (folder / name for name in names)
        return config, weights
    from huggingface_hub import hf_hub_download

    config, weights = (Path(hf_hub_download(CODEC, name, revision=CODEC_REVISION)) for name in names)
    return config, weights


class OrpheusBatch(NamedTuple):
    ids: Tensor  # (B, S), padded on the right
    places: Tensor  # (7, frames) of the codes to be learnt, among all B * S
    ends: Tensor  # (rows) of the ends of speech
    text: Tensor  # (tokens) of the words to be learnt
    counts: Tensor  # (4) labels of the whole batch: coarse, middle, fine, text


class OrpheusCourse(LoraCourse):
    """One adapter on the Llama's layers."""

    voice: Orpheus

    def __init__(self, voice: Orpheus, lora: Lora, own: OrpheusParams, *, save_memory: bool) -> None:
        super().__init__(voice, lora, save_memory=save_memory)
        self.own = own
        self.main = "codes" if own.learn_text else ""  # without the words, the total is the codes' loss

    def batch(self, dialogues: Sequence[Sequence[Turn]], seed: int, part: Part = WHOLE) -> OrpheusBatch:
        return self.voice.batch(dialogues, self.own, part)

    def exam(self, dialogues: Sequence[Sequence[Turn]], part: Part = WHOLE) -> OrpheusBatch:
        return self.voice.batch(dialogues, self.own, part)


class Orpheus(FrameVoice[OrpheusDecoder]):
    """A loaded Orpheus."""

    span = frame_codes = SLOTS

    def __init__(self, base: Any, tokenizer: Any, codec: SnacCodec, ids: TokenIds) -> None:
        super().__init__(base, tokenizer, codec)
        self.codec: SnacCodec = codec
        self.ids = ids
        self.frame_rate = codec.sample_rate / codec.frame
        self.positions = min(int(base.config.max_position_embeddings), POSITIONS)

    def named(self, speaker: SpeakerTag) -> str:
        return speaker.name

    def sounds(self, frames: Iterator[Frames]) -> Iterator[Audio]:
        return self.codec.stream(frames)

    def length(self, turns: Sequence[Turn]) -> int:
        return sum(len(tokens_of(turn, self.tokenizer, self.ids).ids) for turn in turns)

    @functools.cached_property
    def stacks(self) -> tuple[CausalLayers]:
        return (CausalLayers(self.base.model),)

    def batch(self, dialogues: Sequence[Sequence[Turn]], own: OrpheusParams, part: Part = WHOLE) -> OrpheusBatch:
        """The last turn's codes are to be learnt, and its words where `own` says so.

        The counts are those of the whole batch, so that losses of its parts add up to its own.
        """
        if own.drop_repeated:
            dialogues = [[_shortened(turn) for turn in turns] for turns in dialogues]
        frames = [len(turns[-1].codes["codes"]) if turns[-1].codes else 0 for turns in dialogues]
        lasts = [tokens_of(turns[-1], self.tokenizer, self.ids) for turns in dialogues]
        codes_and_ends = sum(frames)
        words = sum(last.text.stop - last.text.start for last in lasts) if own.learn_text else 0
        counts = [codes_and_ends + len(dialogues), 2 * codes_and_ends, 4 * codes_and_ends, words]
        mine = range(len(dialogues))[part.number :: part.of]
        rows = [self._ids(dialogues[i]) for i in mine or [0]]  # more processes than rows: computed along, for nothing
        size = rounded(max(map(len, rows)), self.device)
        ids = np.stack([np.pad(row, (0, size - len(row)), constant_values=self.ids.pad) for row in rows])
        places, ends, text = [], [], []
        for place, i in enumerate(mine):
            start = size * place + len(rows[place]) - len(lasts[i].ids)
            first = start + lasts[i].audio.start
            places.append(first + np.arange(frames[i] * SLOTS).reshape(-1, SLOTS))
            ends.append(start + lasts[i].audio.stop - 1)
            text += [start + np.arange(lasts[i].text.start, lasts[i].text.stop)] if own.learn_text else []
        every = np.concatenate([np.zeros((0, SLOTS), np.int64), *places]).T
        tokens = np.concatenate([np.zeros(0, np.int64), *text])
        batch = OrpheusBatch(
            torch.from_numpy(ids), torch.from_numpy(np.ascontiguousarray(every)),
            torch.tensor(ends, dtype=torch.int64), torch.from_numpy(tokens), torch.tensor(counts, dtype=torch.float32),
        )  # fmt: skip
        if self.device.type != "cuda":
            return batch
        with torch.cuda.device(self.device):  # a thread begins at the first GPU, and would take of its memory
            return OrpheusBatch(*(values.pin_memory() for values in batch))

    def _ids(self, turns: Sequence[Turn]) -> Any:
        return np.concatenate([tokens_of(turn, self.tokenizer, self.ids).ids for turn in turns])

    def losses(self, batch: OrpheusBatch) -> Losses:
        """Each label weighs the same; a code is learnt among those of its slot, as it is spoken."""
        batch = OrpheusBatch(*(values.to(self.device, non_blocking=True) for values in batch))
        ids = batch.ids.flatten()
        hidden = self.stacks[0](self.base.model.embed_tokens(batch.ids)).flatten(0, 1)
        sums = [hidden.sum() * 0.0 for _ in range(4)]  # a part without labels has gradients of zero
        for slot, level in enumerate(LEVELS):
            places = batch.places[slot]
            codes = ids[places] - self.ids.audio - slot * self.ids.codes
            if slot == 0:
                places = torch.cat([places, batch.ends])
                codes = torch.cat([codes, torch.full_like(batch.ends, self.ids.codes)])
            head = self.base.lm_head.weight[slot_ids(self.ids, slot, self.device)]
            logits = F.linear(hidden[places - 1], head.to(hidden.dtype)).float()
            sums[level] = sums[level] + F.cross_entropy(logits, codes, reduction="sum")
        if len(batch.text):
            logits = F.linear(hidden[batch.text - 1], self.base.lm_head.weight.to(hidden.dtype)).float()
            sums[3] = sums[3] + F.cross_entropy(logits, ids[batch.text], reduction="sum")
        total = torch.stack(sums).sum() / batch.counts.sum()
        parts = {name: sums[i] / batch.counts[i].clamp(min=1) for i, name in enumerate(NAMES)}
        if batch.counts[3]:
            words = sums[3] / batch.counts[3]
            parts |= {"text": words, "codes": torch.stack(sums[:3]).sum() / batch.counts[:3].sum()}
        return Losses(total, parts)

    def courses(self, lora: Lora, own: OrpheusParams, *, save_memory: bool = False) -> Sequence[OrpheusCourse]:
        return (OrpheusCourse(self, lora, own, save_memory=save_memory),)

    def adapt(self, lora: Lora) -> None:
        self.decoders.clear()  # of the layers as they were
        self.model = low_rank.put_on(self.base, TARGETS, lora, self.base.config.num_hidden_layers)

    def logits(self, turns: Sequence[Turn]) -> Tensor:
        """Of the first slot, at every position."""
        ids = torch.from_numpy(self._ids(turns))[None].to(self.device)
        hidden = self.stacks[0](self.base.model.embed_tokens(ids))
        return F.linear(hidden, self.base.lm_head.weight[slot_ids(self.ids, 0, self.device)].to(hidden.dtype)).float()

    def decoder(self, how: Speaking, like: OrpheusDecoder | None) -> OrpheusDecoder:
        small = any(isinstance(module, Int8Linear) for module in self.base.modules())
        weights = like.weights if like else OrpheusWeights(self.base, self.ids, small)
        return OrpheusDecoder(self.base, self.ids, how, self.positions, weights)

    def embedded(self, turns: Sequence[Turn]) -> Tensor:
        return torch.as_tensor(self.base.model.embed_tokens(torch.from_numpy(self._ids(turns)).to(self.device)))


def _shortened(turn: Turn) -> Turn:
    return turn if turn.codes is None else turn._replace(codes={"codes": without_repeats(turn.codes["codes"])})
