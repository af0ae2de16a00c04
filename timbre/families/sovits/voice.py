"""GPT-SoVITS as a voice: hears clips, learns by its courses, speaks. See `timbre.families.protocol.Voice`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from timbre.core.errors import ModelError
from timbre.core.sections import SovitsParams
from timbre.families import lora as low_rank
from timbre.families.code_decoder import CodeDecoder, CodeDrawing, CodeSentence, SaidCode
from timbre.families.code_voice import CodeVoice
from timbre.families.int8 import Int8Linear, replace
from timbre.families.lora import evaluating, merged
from timbre.families.precision import device_for, dtype_of
from timbre.families.protocol import (
    WHOLE,
    Audio,
    Codes,
    Course,
    Lora,
    Losses,
    Part,
    Precision,
    Request,
    Speaking,
    Spoken,
    Turn,
)  # fmt: skip
from timbre.families.request_parts import by_request, sentences_of
from timbre.families.sovits.codec import SovitsCodec
from timbre.families.sovits.courses import Stage1Course, Stage2Course, learnt, mean_losses, stage1_batch
from timbre.families.sovits.discriminators import Discriminators
from timbre.families.sovits.hearing import PAUSE, checked_reference, magnitudes_of, sound_of, unfit, vector_of
from timbre.families.sovits.load import SovitsBase, half, load_base, load_codec_parts
from timbre.families.sovits.spectrogram import RATE, Spectrograms
from timbre.families.sovits.stage1 import ROOM, Stage1Batch, Stage1Speaker
from timbre.families.sovits.stage2 import Stage2
from timbre.families.sovits.text import MARKS, ids

TARGETS = r"h\.layers\.\d+\.(self_attn\.(in_proj|out_proj)|linear1|linear2)"
MATRICES = 4  # of a layer
STAGE2, STYLE = "stage2.safetensors", "voice.safetensors"  # beside the adapter
CODE_RATE = 25.0  # a second
MOST_PHONES = 512  # of a clip
LONGEST_SENTENCE = 200  # letters
MET = 16  # clips whose mean style is kept with the adapter


class SovitsVoices(NamedTuple):
    """Who is to speak: the words and codes that stage 1 goes on from, and stage 2's style."""

    words: str
    prompt: Tensor  # (M) codes; none without a reference
    style: tuple[Tensor, Tensor]  # see Stage2.voice


class SovitsPart(NamedTuple):
    """A sentence of a request."""

    request: int
    who: SovitsVoices
    text: Tensor  # (P) phones
    seed: int
    sentence: CodeSentence


def load(base: str, revision: str | None, adapter: Path | None, precision: Precision) -> Sovits:
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # peft's calls, not ours
    device = device_for(precision)
    loaded = load_base(base, revision)
    style = None
    if adapter:
        loaded = loaded._replace(stage1=merged(loaded.stage1, adapter))
        put_in(loaded.codec.stage2, adapter / STAGE2)
        style = read_style(adapter / STYLE)
    if precision == "int8":
        replace(loaded.stage1.h)
        loaded.stage1.ar_predict_layer = Int8Linear(loaded.stage1.ar_predict_layer.weight)
    if dtype_of(precision, device) == torch.bfloat16:
        loaded.stage1.to(torch.bfloat16)
    return Sovits(loaded, device, style)


def load_codec(base: str, revision: str | None) -> SovitsCodec:
    return SovitsCodec(load_codec_parts(base, revision), device_for("auto"))


def put_in(stage2: Stage2, path: Path) -> None:
    """What stage 2 learnt, where it did; the posterior is only needed to learn."""
    if not path.is_file():
        return
    try:
        values = load_file(path)
        with torch.no_grad():
            for name, weight in learnt(stage2).items():
                if not name.startswith("enc_q."):
                    weight.copy_(values[name])
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise ModelError(f"{path} does not fit the base model; run `dvc repro -f train`") from error


def read_style(path: Path) -> Tensor | None:
    if not path.is_file():
        return None
    try:
        return load_file(path)["style"]
    except (OSError, SafetensorError, KeyError) as error:
        raise ModelError(f"{path} is damaged; run `dvc repro -f train`") from error


class Sovits(CodeVoice):
    def __init__(self, loaded: SovitsBase, device: torch.device, style: Tensor | None = None) -> None:
        super().__init__(loaded.stage1.to(device))
        self.loaded, self.device, self.style = loaded, device, style
        self.codec = SovitsCodec(loaded.codec, device)
        self.stage2, self.spectrograms = self.codec.stage2, self.codec.spectrograms
        self.spectrograms_here = Spectrograms()  # where batches are made
        self.sample_rate = self.hearing_rate = RATE
        self.frame_rate, self.positions = CODE_RATE, ROOM
        self.stage2_learnt = False
        self._met: list[tuple[Tensor, Tensor]] = []  # magnitudes and speaker's vectors of clips that are learnt

    @property
    def stacks(self) -> Sequence[nn.Module]:
        return (self.base.h,)

    def encode(self, sounds: Sequence[Audio]) -> list[Codes]:
        return self.codec.encode(sounds)

    def resound(self, turn: Turn, reference: Turn | None) -> Audio:
        return self.codec.resound(turn, reference)

    def phones(self, turn: Turn) -> list[int]:
        return ids(turn.text)

    def length(self, turns: Sequence[Turn]) -> int:
        return sum(len(ids(turn.text)) + _codes(turn) + 1 for turn in turns)

    def fits(self, turns: Sequence[Turn]) -> str | None:
        turn = turns[-1]  # no turn is heard before it
        if (phones := len(ids(turn.text))) > MOST_PHONES:
            return f"have a text of {phones} phones, and the model was trained on at most {MOST_PHONES}"
        if (size := self.length([turn])) > self.positions:
            return f"take {size} of the model's {self.positions} positions"
        return unfit(turn)

    def batch(self, turns: Sequence[Turn], part: Part = WHOLE) -> tuple[Stage1Batch, Tensor]:
        codes = [[] if turn.codes is None else turn.codes["codes"][:, 0].tolist() for turn in turns]
        return stage1_batch([self.phones(turn) for turn in turns], codes, self.base.eos, part)

    def courses(self, lora: Lora, own: SovitsParams, *, save_memory: bool = False) -> Sequence[Course]:
        first = Stage1Course(self, lora, own, save_memory=save_memory)
        if not own.stage2:
            return (first,)
        if self.stage2.enc_q is None:
            raise ModelError(
                "voice.base: this GPT-SoVITS voice was exported to speak (it lacks enc_q), so its stage 2 cannot be "
                "trained further; set sovits.stage2 to false, or name the base that it was made from"
            )
        judges: Discriminators | None = self.loaded.judges
        if judges is None:
            raise ModelError(
                "voice.base: has no s2D*.pth to train stage 2 against; add it, or set sovits.stage2: false"
            )
        return (first, Stage2Course(self, judges.to(self.device), own))

    def meet(self, clips: Sequence[Turn]) -> None:
        """Clips that are about to be learnt: the mean of their styles is who speaks without a reference."""
        here = torch.device("cpu")
        self._met = [
            (magnitudes_of(self.spectrograms_here, sound_of(turn), here), vector_of(turn, self.stage2.speaker))
            for turn in clips[:MET]
        ]

    def adapt(self, lora: Lora) -> None:
        self.decoders.clear()  # of the layers as they were
        self.model = low_rank.put_on(self.base, TARGETS, lora, len(self.base.h.layers), per_layer=MATRICES)

    def losses(self, batch: tuple[Stage1Batch, Tensor]) -> Losses:
        return mean_losses(self.base, batch)

    def logits(self, turns: Sequence[Turn]) -> Tensor:
        batch, _ = self.batch(turns)
        here = Stage1Batch(*(None if value is None else value.to(self.device) for value in batch))
        return self.base.logits(here).float()

    def save_adapter(self, folder: Path) -> None:
        low_rank.save(self.model, folder)
        if self._met:
            with torch.no_grad(), evaluating(self.stage2):
                here = ([values.to(self.device) for values in met] for met in self._met)
                styles = [self.codec.style_of(*met)[0][0, :, 0] for met in here]
            save_file({"style": torch.stack(styles).mean(0).cpu().contiguous()}, folder / STYLE)
        if self.stage2_learnt:
            state = {name: value for name, value in learnt(self.stage2).items() if not name.startswith("enc_q.")}
            save_file({name: value.contiguous() for name, value in half(state).items()}, folder / STAGE2)

    merged_library = "gpt-sovits"

    def merged_usage(self, where: str) -> Sequence[str]:
        version = self.stage2.version
        return (
            f"`voice.ckpt` and `voice.pth` in `{where}` are the two stages. Put them into `GPT_weights_{version}` and",
            f"`SoVITS_weights_{version}` of GPT-SoVITS, and choose them there.",
        )

    def save_merged(self, folder: Path) -> None:
        """See `timbre.exchange.releasing.Mergeable`."""
        from timbre.families.sovits.exporting import export

        export(self, folder, "voice")

    def speak(self, requests: Sequence[Request], how: Speaking) -> Iterator[Spoken]:
        parts = self._parts(requests)
        with evaluating(self.base), evaluating(self.stage2):
            done = 0
            for sentences in by_request(
                self._said([part.sentence for part in parts], how), [part.request for part in parts]
            ):
                own = parts[done : done + len(sentences)]
                done += len(sentences)
                yield Spoken(
                    np.concatenate(list(self._pieces(own, sentences))), all(said[-1].ended for said in sentences)
                )

    def stream(self, request: Request, how: Speaking) -> Generator[Audio, None, bool]:
        """Sentence by sentence: stage 2 hears all codes of a sentence at once."""
        ended = True
        parts = self._parts([request])
        with evaluating(self.base), evaluating(self.stage2):
            for number, part in enumerate(parts):
                said = list(self._said([part.sentence], how))
                ended = ended and said[-1].ended
                yield from self._pieces([part], [said], last=number == len(parts) - 1)
        return ended

    def _pieces(
        self, parts: Sequence[SovitsPart], sentences: Sequence[Sequence[SaidCode]], *, last: bool = True
    ) -> Iterator[Audio]:
        """Each sentence's sound; a pause after it, but not after the last."""
        for number, (part, said) in enumerate(zip(parts, sentences, strict=True)):
            codes = torch.tensor([one.code for one in said if not one.ended], device=self.device)
            yield self.codec.sound(codes, part.text, part.who.style, part.seed)
            if not last or number < len(parts) - 1:
                yield np.zeros(int(PAUSE * RATE), np.float32)

    def decoder(self, drawing: CodeDrawing, slots: int) -> CodeDecoder:
        return CodeDecoder(Stage1Speaker(self.base), drawing, slots, self.base.bert_proj.weight)

    def _parts(self, requests: Sequence[Request]) -> list[SovitsPart]:
        parts, speaker = [], Stage1Speaker(self.base)
        for number, request in enumerate(requests):
            who = self._who(request.context)
            before = ids(closed(who.words)) if who.words else []
            for place, text in enumerate(sentences_of(request.text, LONGEST_SENTENCE, joined=False)):
                own = ids(closed(text))
                phones = torch.tensor([*before, *own], device=self.device)
                room = ROOM - len(phones) - len(who.prompt) - 1
                if room < 1:
                    raise ModelError(f"{text!r}: its phones and the reference leave no room to speak in; shorten them")
                codes = max(1, min(math.ceil(request.seconds * CODE_RATE), room))
                seed = request.seed + place
                sentence = speaker.sentence(phones, who.prompt, codes, seed)
                parts.append(SovitsPart(number, who, torch.tensor(own, device=self.device), seed, sentence))
        return parts

    def _who(self, context: Sequence[Turn]) -> SovitsVoices:
        """The voice of the last turn that is a clip, not of a sentence just spoken; without one, the mean style
        of the clips that were learnt, or for a base none."""
        clips = [turn for turn in context if turn.clip]
        if not clips:
            width = self.stage2.ref_enc.fc.get_submodule("fc").out_features
            style = torch.zeros(width) if self.style is None else self.style
            with torch.inference_mode():
                told = self.stage2.told(style.to(self.device)[None, :, None])
            return SovitsVoices("", torch.zeros(0, dtype=torch.int64, device=self.device), told)
        turn = clips[-1]
        sound = checked_reference(turn)
        if (why := unfit(turn)) or turn.codes is None:
            raise ModelError(f"{turn.text!r} is no reference: its clip's sounds {why}; take another clip")
        prompt = torch.from_numpy(turn.codes["prompt"][:, 0].astype(np.int64)).to(self.device)
        return SovitsVoices(turn.text, prompt, self.codec.style(sound, turn))


def closed(text: str) -> str:
    """With a mark at its end, as upstream wants a sentence."""
    return text if text.rstrip()[-1:] in MARKS else f"{text.rstrip()}."


def _codes(turn: Turn) -> int:
    return 0 if turn.codes is None else len(turn.codes["codes"])
