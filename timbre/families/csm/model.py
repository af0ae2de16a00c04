"""Sesame CSM: a text-and-audio backbone that says the first codebook, a depth decoder the others, Mimi the sound.

A sequence is turns of `[0]text` with begin and end marks, then one position per frame of sound, then a frame of zeros:
the end. All embeddings are made here (`_embed`), so the model sees codes and the codec never runs in training.
Loads any folder that `save_pretrained` wrote and any hub id alike. What is learnt is a LoRA adapter on both decoders.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from timbre.core.errors import ModelError
from timbre.core.sections import CsmParams
from timbre.families import lora as low_rank
from timbre.families.batch_rows import own_rows, rounded
from timbre.families.csm import file_tokenizer, speaking_parts
from timbre.families.csm.codec import CsmCodec
from timbre.families.csm.decode import Decoder
from timbre.families.csm.load import prepare, whole_codec, whole_model
from timbre.families.csm.losses import CsmBatch, label_losses, named_losses
from timbre.families.csm.mimi import CodecStream, pieces
from timbre.families.frame_loop import Frames
from timbre.families.frame_voice import FrameVoice
from timbre.families.llama import CausalLayers
from timbre.families.lora import LoraCourse, merged
from timbre.families.precision import device_for
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
from timbre.families.slots import Slots

TARGETS = r".*(backbone_model|depth_decoder\.model)\.layers\.\d+\." + low_rank.PROJECTIONS  # never a layer of Mimi


class Row(NamedTuple):
    """One sequence; S positions."""

    ids: list[int]  # (S) text tokens, 0 where there is sound
    codes: Frames  # (S, codebooks), 0 where there is text, and at the end frame
    sound: list[bool]  # (S)


def load_speaking(base: str, revision: str | None, adapter: Path | None, precision: Precision) -> Csm:
    """What `load` gives, where all it does is to speak: on a CPU most of transformers is not imported for it.

    When it is to hear, it loads the rest of its codec, and when it is to learn, the rest of it all.
    """
    whole = functools.partial(load, base, revision, adapter, precision)
    folder = Path(base)
    if device_for(precision).type != "cpu" or not folder.is_dir() or _needs_peft(adapter):
        return whole()
    parts, tokenizer = speaking_parts.read(folder), file_tokenizer.read(folder)
    if parts is None or tokenizer is None:
        return whole()
    if adapter:
        parts = merged(parts, adapter)
    return Csm(prepare(parts, precision), tokenizer, whole, lambda: whole_codec(base, revision)[0])


def load(base: str, revision: str | None, adapter: Path | None, precision: Precision) -> Csm:
    model, tokenizer = whole_model(base, revision)
    if adapter:
        model = merged(model, adapter)
    return Csm(prepare(model, precision), tokenizer)


def _needs_peft(adapter: Path | None) -> bool:
    return adapter is not None and not low_rank.is_plain(low_rank.check_config(adapter))


class CsmCourse(LoraCourse):
    """One adapter on both decoders."""

    voice: Csm

    def __init__(self, voice: Csm, lora: Lora, own: CsmParams, *, save_memory: bool) -> None:
        super().__init__(voice, lora, save_memory=save_memory)
        self.own = own
        # in multiplications per frame: the depth decoder has a position for each codebook
        decoders = (voice.base.backbone_model, voice.base.depth_decoder.model)
        backbone, depth = (sum(weight.numel() for weight in decoder.layers.parameters()) for decoder in decoders)
        depth *= voice.codebooks
        self.exam_cost = (backbone + depth) / (2 * (backbone + own.depth_share * depth))

    def batch(self, dialogues: Sequence[Sequence[Turn]], seed: int, part: Part = WHOLE) -> CsmBatch:
        return self.voice.batch(dialogues, self.own.depth_share, seed, part)

    def exam(self, dialogues: Sequence[Sequence[Turn]], part: Part = WHOLE) -> CsmBatch:
        return self.voice.batch(dialogues, 1.0, 0, part)  # all frames


class Csm(FrameVoice[Decoder]):
    """A loaded CSM."""

    def __init__(
        self, base: Any, tokenizer: Any, whole: Callable[[], Csm] | None = None, ear: Callable[[], Any] | None = None
    ) -> None:
        """`whole` and `ear` load it again, and its codec, where `base` is only those parts of a
        CsmForConditionalGeneration that speak."""
        codec = CsmCodec(base.codec_model, int(base.config.num_codebooks), ear)
        super().__init__(base, tokenizer, codec)
        self.whole = whole
        self.positions: int = base.config.max_position_embeddings
        self.codebooks = self.frame_codes = codec.codebooks
        self.frame_rate: float = codec.frame_rate

    def complete(self) -> None:
        """Have all of the model from now on, to learn."""
        if self.whole:
            loaded, self.whole = self.whole(), None
            self.base, self.model, self.tokenizer = loaded.base, loaded.model, loaded.tokenizer
            self.codec = loaded.codec
            self.decoders.clear()

    def named(self, speaker: SpeakerTag) -> int:
        return speaker.number

    def length(self, turns: Sequence[Turn]) -> int:
        return len(self._row(turns).ids)

    def _row(self, turns: Sequence[Turn]) -> Row:
        ids: list[int] = []
        codes: list[Frames] = []
        sound: list[bool] = []
        for turn in turns:
            text = self.tokenizer(f"[{turn.speaker.number}]{turn.text}", add_special_tokens=True)["input_ids"]
            frames = _frames(turn)
            ids += [*text, *[0] * frames]
            sound += [False] * len(text) + [True] * frames
            codes.append(np.zeros((len(text), self.codebooks), np.int16))
            if turn.codes is not None:
                codes += [
                    turn.codes["codes"],
                    np.full((1, self.codebooks), self.base.config.codebook_eos_token_id, np.int16),
                ]
        return Row(ids, np.concatenate(codes), sound)

    @functools.cached_property
    def stacks(self) -> tuple[CausalLayers, CausalLayers]:
        self.complete()
        return CausalLayers(self.base.backbone_model), CausalLayers(self.base.depth_decoder.model)

    def batch(self, dialogues: Sequence[Sequence[Turn]], depth_share: float, seed: int, part: Part = WHOLE) -> CsmBatch:
        """The last turn's frames are to be learnt, a share of them by the depth decoder too.

        They are drawn for the whole batch, so that its parts have those that it would have. It stays in the machine's
        memory, where a thread makes it; `losses` takes it to the model.
        """
        random = np.random.default_rng(seed)
        spoken = [_frames(turns[-1]) for turns in dialogues]
        deep = [random.random(frames) < depth_share for frames in spoken]  # where the depth decoder learns
        for frames in deep:
            frames[-1] = True  # the end always: a voice that never learnt it never stops
        mine = slice(part.number, None, part.of)
        own = own_rows(len(dialogues), part)
        rows = [self._row(dialogues[i]) for i in own]
        size = rounded(max(len(row.ids) for row in rows), self.device)
        ids, codes, sound = _padded(rows, size)
        starts = [size * place + len(row.ids) - spoken[i] for place, (i, row) in enumerate(zip(own, rows, strict=True))]
        said = [start + np.arange(spoken[i]) for i, start in zip(own, starts, strict=True)]
        learnt = [frames[deep[i]] for i, frames in zip(own, said, strict=True)]
        places, deeper = (torch.from_numpy(np.concatenate(part)) for part in (said, learnt))
        counts = np.array([[frames.size, frames.sum()] for frames in deep])
        shares = torch.tensor(counts[mine].sum(0) / counts.sum(0), dtype=torch.float32)
        batch = CsmBatch(ids, codes, sound, places, deeper, shares)
        if self.device.type != "cuda":
            return batch
        with torch.cuda.device(self.device):  # a thread begins at the first GPU, and would take of its memory
            return CsmBatch(*(values.pin_memory() for values in batch))

    def _here(self, batch: CsmBatch) -> CsmBatch:
        return CsmBatch(*(values.to(self.device, non_blocking=True) for values in batch))

    def _embed(self, ids: Tensor, codes: Tensor, sound: Tensor) -> Tensor:
        audio_embedding = self.base.backbone_model.embed_tokens(codes)
        return torch.where(sound[..., None], audio_embedding, self.base.embed_text_tokens(ids))

    def losses(self, batch: CsmBatch) -> Losses:
        """The model's own two losses, each a mean, so that the many codes of the depth decoder do not outvote.

        Of a part of a batch they are weighed by its share of the labels.
        """
        batch = self._here(batch)
        return named_losses(*label_losses(self.base, *self.stacks, batch), batch.shares)

    def courses(self, lora: Lora, own: CsmParams, *, save_memory: bool = False) -> Sequence[CsmCourse]:
        self.complete()
        return (CsmCourse(self, lora, own, save_memory=save_memory),)

    def adapt(self, lora: Lora) -> None:
        self.complete()
        self.decoders.clear()  # of the layers as they were
        config = self.base.config
        layers = config.num_hidden_layers + config.depth_decoder_config.num_hidden_layers
        self.model = low_rank.put_on(self.base, TARGETS, lora, layers)

    def logits(self, turns: Sequence[Turn]) -> Tensor:
        """Of the first codebook, at every position."""
        batch = self._here(self.batch([turns], 1.0, 0))
        embedded = self._embed(batch.ids, batch.codes, batch.sound)
        return torch.as_tensor(self.base.lm_head(self.stacks[0](embedded))).float()

    def sounds(self, frames: Iterator[Frames]) -> Iterator[Audio]:
        codec = CodecStream(self.base.codec_model)
        for piece in pieces(frames):
            yield codec.feed(piece)

    def decoder(self, how: Speaking, like: Decoder | None) -> Decoder:
        if how.repetition_penalty != 1:
            raise ModelError("generate.repetition_penalty: CSM knows none; set it to 1")
        return Decoder(self.base, how, weights=like.weights if like else None)

    merged_library = "transformers"

    def merged_usage(self, where: str) -> Sequence[str]:
        return (
            "```python",
            "import soundfile",
            "from transformers import AutoTokenizer, CsmForConditionalGeneration",
            "",
            f'tokenizer = AutoTokenizer.from_pretrained("{where}")',
            f'model = CsmForConditionalGeneration.from_pretrained("{where}").float()',
            "# [0] is the speaker's number; at most ten seconds",
            'text = tokenizer("[0]Good morning.", return_tensors="pt")',
            f"spoken = model.generate(**text, max_new_tokens={round(10 * self.frame_rate)}, output_audio=True)",
            f'soundfile.write("spoken.wav", spoken[0].numpy().squeeze(), {self.sample_rate})',
            "```",
            "",
            "Run it in the folder that holds this file, after `pip install torch transformers soundfile`. For a clip",
            "to clone, see transformers' page on CSM.",
            "",
            "`adapter` is for peft, over the base model. Sesame's own repository cannot load the merged ones, which",
            "have other names there.",
        )

    def save_merged(self, folder: Path) -> None:
        """See `timbre.exchange.releasing.Mergeable`. The codec stays in single precision, as it is loaded."""
        import copy

        self.complete()
        half = copy.deepcopy(self.base).to(torch.bfloat16)
        half.codec_model = self.base.codec_model
        # Written twice: some releases of transformers leave a shared one random on loading.
        embedding = half.backbone_model.embed_tokens.embed_audio_tokens
        embedding.weight = torch.nn.Parameter(embedding.weight.detach().clone())
        half.config.tie_codebooks_embeddings = False
        half.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def slots(self, count: int, adapters: Mapping[str, Path]) -> Slots:
        from timbre.families.csm.slots import CsmSlots

        return CsmSlots(self, count, adapters)

    def embedded(self, turns: Sequence[Turn]) -> Tensor:
        row = self._row(turns)
        return self._embed(*(torch.as_tensor(np.asarray(part), device=self.device)[None] for part in row))[0]


def _frames(turn: Turn) -> int:
    """Of its sound, with the end frame."""
    return 0 if turn.codes is None else len(turn.codes["codes"]) + 1


def _padded(rows: Sequence[Row], size: int) -> tuple[Tensor, Tensor, Tensor]:
    """ids, codes and sound of all rows, at one length."""

    def fill(values: Any, kind: Any) -> Tensor:
        value = np.asarray(values, kind)
        return torch.from_numpy(np.pad(value, [(0, size - len(value))] + [(0, 0)] * (value.ndim - 1)))

    parts = zip(*((fill(r.ids, np.int64), fill(r.codes, np.int64), fill(r.sound, bool)) for r in rows), strict=True)
    ids, codes, sound = (torch.stack(part) for part in parts)
    return ids, codes, sound
