"""XTTS-v2 as a voice: hears clips, learns by its courses, speaks in slots. See `timbre.families.protocol.Voice`."""

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
from timbre.core.sections import XttsParams
from timbre.families import lora as low_rank
from timbre.families.checkpoints import local_folder
from timbre.families.code_decoder import CodeDecoder, CodeDrawing, CodeSentence, SaidCode
from timbre.families.code_voice import CodeVoice
from timbre.families.int8 import Int8Linear, replace
from timbre.families.lora import evaluating, merged
from timbre.families.precision import all_digits, device_for, dtype_of
from timbre.families.protocol import (
    WHOLE,
    Audio,
    Codes,
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
from timbre.families.xtts import course as courses
from timbre.families.xtts.conditioning import LATENTS
from timbre.families.xtts.config import XttsSettings
from timbre.families.xtts.course import XttsCourse, XttsWholeCourse, made_batch
from timbre.families.xtts.gpt import TEXT_WEIGHT, GptSpeaker, XttsBatch
from timbre.families.xtts.hearing import Identity, heard, identity_of, unfit
from timbre.families.xtts.latent_stream import LatentStream
from timbre.families.xtts.load import StockSpeaker, XttsModel, from_folder, stock_speakers
from timbre.families.xtts.mel import SOUND_RATE
from timbre.families.xtts.text import LONGEST, XttsText, check_language
from timbre.families.xtts.vocoder import RATE

FILES = ("config.json", "model.pth", "dvae.pth", "mel_stats.pth", "vocab.json", "speakers_xtts.pth")
OPTIONAL = ("speakers_xtts.pth",)
TARGETS = r"gpt\.h\.\d+\.(attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)"
MATRICES = 4  # of a layer
IDENTITY = "voice.safetensors"  # beside an adapter: the mean latents and vector of the clips that it learnt from
TUNED = "tuned"  # that mean among the speakers of a release
LEARNT_TEXT, LEARNT_CODES = 200, 250  # most of a clip that upstream trains on: 255,995 samples, 11.6 s
FIRST_PIECE, LONGEST_PIECE = 24, 192  # frames of 10.7 ms


class Layers(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """The language model's, as what spreads them over processes looks for them."""

    def __init__(self, layers: nn.ModuleList) -> None:
        super().__init__()
        self.layers = layers


class SentencePart(NamedTuple):
    """A sentence of a request."""

    request: int
    identity: Identity
    sentence: CodeSentence


def load(base: str, revision: str | None, adapter: Path | None, precision: Precision) -> Xtts:
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # peft's calls, not ours
    device = device_for(precision)
    folder = local_folder(base, revision, FILES, OPTIONAL)
    networks, settings = from_folder(folder)
    identity = None
    if adapter and courses.is_whole(adapter):
        courses.load_whole(networks.gpt, adapter)
    elif adapter:
        networks.gpt = merged(networks.gpt, adapter)
    if adapter and (adapter / IDENTITY).is_file():
        identity = read_identity(adapter / IDENTITY)
    if precision == "int8":
        replace(networks.gpt.gpt)
        networks.gpt.mel_head = Int8Linear(networks.gpt.mel_head.weight, networks.gpt.mel_head.bias)
    if dtype_of(precision, device) == torch.bfloat16:
        networks.gpt.to(torch.bfloat16)
        networks.gpt.conditioning_encoder.float()
        networks.gpt.conditioning_perceiver.float()
    networks.to(device).eval()
    stock = stock_speakers(folder / "speakers_xtts.pth")
    return Xtts(networks, settings, XttsText(folder / "vocab.json"), stock, identity, folder)


def read_identity(path: Path) -> Identity:
    try:
        values = load_file(path)
        return Identity(values["latents"][None], values["vector"][None])
    except (OSError, SafetensorError, KeyError) as error:
        raise ModelError(f"{path} is damaged; run `dvc repro -f train`") from error


class Xtts(CodeVoice):
    def __init__(
        self, networks: XttsModel, settings: XttsSettings, text: XttsText, stock: dict[str, StockSpeaker],
        identity: Identity | None = None, folder: Path | None = None,
    ) -> None:  # fmt: skip
        super().__init__(networks.gpt)
        self.folder = folder  # of the base's files
        self.networks, self.settings, self.text, self.stock = networks, settings, text, stock
        self.identity = identity  # who speaks where no reference is given
        args = settings.model_args
        self.sample_rate, self.hearing_rate = RATE, SOUND_RATE
        self.frame_rate: float = SOUND_RATE / args.gpt_code_stride_len
        self.most_text, self.most_codes = args.gpt_max_text_tokens, args.gpt_max_audio_tokens
        self.positions: int = LATENTS + self.most_text + 2 + self.most_codes + 3
        self.untuned: dict[str, Tensor] = {}  # before the whole model learnt

    @property
    def device(self) -> torch.device:
        return torch.device(self.base.device)

    @property
    def stacks(self) -> Sequence[nn.Module]:
        return (Layers(self.base.gpt.h),)

    @all_digits()
    def encode(self, sounds: Sequence[Audio]) -> list[Codes]:
        """One by one: a mel frame's neighbours would be another sound's silence."""
        stride = self.settings.model_args.gpt_code_stride_len
        return [heard(self.networks, sound, stride, self.device) for sound in sounds]

    def resound(self, turn: Turn, reference: Turn | None) -> Audio:
        """The clip's codes spoken by the language model's states, its own or the reference's latents before them."""
        assert turn.codes is not None, "a clip has codes"
        identity = self._here(identity_of([reference or turn]))
        vector = self._here(identity_of([turn])).vector
        codes = torch.from_numpy(turn.codes["codes"][:, 0].astype(np.int64)).to(self.device)[None]
        text = self._ids(turn.text, turn.language)
        with torch.inference_mode(), evaluating(self.base):
            prompt = self.base.prompt(identity.latents, text[None])
            said = self.base.embed_codes(codes[:, :-1], torch.arange(1, codes.shape[1], device=self.device))
            states = self.base.states(torch.cat((prompt, said), 1))[:, prompt.shape[1] - 1 :]
            sound: Audio = self.networks.vocoder(states.float(), vector)[0].cpu().numpy()
        return sound

    def length(self, turns: Sequence[Turn]) -> int:
        return sum(LATENTS + len(self.text.ids(turn.text)) + 2 + _codes(turn) + 1 for turn in turns)

    def fits(self, turns: Sequence[Turn]) -> str | None:
        turn = turns[-1]  # no turn is heard before it
        ids = len(self.text.ids(turn.text, turn.language or "en"))
        if ids > (most := min(self.most_text, LEARNT_TEXT)):
            return f"have a text of {ids} tokens, and the model was trained on at most {most}"
        if (codes := _codes(turn)) > (most := min(self.most_codes, LEARNT_CODES)):
            return f"take {codes} codes, and the model was trained on at most {most} ({most / self.frame_rate:.1f} s)"
        return unfit(turn.codes)

    def batch(self, dialogues: Sequence[Sequence[Turn]], halves: Sequence[int], part: Part = WHOLE) -> XttsBatch:
        turns = [turns[-1] for turns in dialogues]
        return made_batch([self.text.ids(turn.text, turn.language or "en") for turn in turns], turns, halves, part)

    def courses(self, lora: Lora, own: XttsParams, *, save_memory: bool = False) -> Sequence[XttsCourse]:
        kind = XttsWholeCourse if own.whole else XttsCourse
        return (kind(self, lora, own, save_memory=save_memory),)

    def meet(self, clips: Sequence[Turn]) -> None:
        """The clips that are about to be learnt: their mean is who speaks without a reference."""
        self.identity = identity_of(clips)

    def adapt(self, lora: Lora) -> None:
        self.decoders.clear()  # of the layers as they were
        layers = len(self.base.gpt.h)
        self.model = low_rank.put_on(self.base, TARGETS, lora, layers, per_layer=MATRICES, fan_in_fan_out=True)

    def begin_whole(self) -> None:
        self.decoders.clear()
        self.untuned = {name: weight.detach().cpu().clone() for name, weight in courses.learnt(self.base).items()}

    def losses(self, batch: XttsBatch, text_weight: float = TEXT_WEIGHT) -> Losses:
        return courses.losses(self.base, batch, text_weight)

    def logits(self, turns: Sequence[Turn]) -> Tensor:
        batch = XttsBatch(*(values.to(self.device) for values in self.batch([turns], [0])))
        return self.base.labelled(batch)[1].logits.float()

    def save_adapter(self, folder: Path) -> None:
        if self.untuned:
            courses.save_whole(self.base, folder)
        else:
            low_rank.save(self.model, folder)
        if self.identity:
            values = {"latents": self.identity.latents[0], "vector": self.identity.vector[0]}
            save_file({name: value.float().cpu().contiguous() for name, value in values.items()}, folder / IDENTITY)

    merged_library = "coqui"

    def merged_usage(self, where: str) -> Sequence[str]:
        return (
            f"`{where}` is what Coqui's TTS loads from a folder: `Xtts.load_checkpoint(config, checkpoint_dir=…)`. The",
            f"mean voice of the clips that it learnt from is the speaker `{TUNED}` in `speakers_xtts.pth`.",
        )

    def save_merged(self, folder: Path) -> None:
        """See `timbre.exchange.releasing.Mergeable`."""
        from timbre.families.xtts.exporting import export

        assert self.folder, "a voice that is released was loaded from somewhere"
        export(self, self.folder, folder)

    def speak(self, requests: Sequence[Request], how: Speaking) -> Iterator[Spoken]:
        parts = self._parts(requests)
        owners = [part.request for part in parts]
        identities = {part.request: part.identity for part in parts}
        with evaluating(self.base):
            for number, sentences in enumerate(by_request(self._said([part.sentence for part in parts], how), owners)):
                vector = self._here(identities[number]).vector
                sounds = [self._sound(said, vector) for said in sentences]
                yield Spoken(np.concatenate(sounds), all(said[-1].ended for said in sentences))

    def stream(self, request: Request, how: Speaking) -> Generator[Audio, None, bool]:
        ended = True
        with evaluating(self.base):
            for part in self._parts([request]):  # each sentence begins when the one before is over
                stream, piece = LatentStream(self.networks.vocoder, self._here(part.identity).vector), FIRST_PIECE
                for said in self._said([part.sentence], how):
                    stream.feed(said.state)
                    ended = ended and (said.ended or not said.over)
                    if not said.over and stream.waiting >= piece:
                        yield stream.sound()
                        piece = min(2 * piece, LONGEST_PIECE)
                yield stream.sound(last=True)
        return ended

    def decoder(self, drawing: CodeDrawing, slots: int) -> CodeDecoder:
        return CodeDecoder(GptSpeaker(self.base), drawing, slots, self.base.mel_embedding.weight)

    def _sound(self, said: Sequence[SaidCode], vector: Tensor) -> Audio:
        with torch.inference_mode():
            latents = torch.stack([one.state for one in said])[None].float()
            sound: Audio = self.networks.vocoder(latents, vector)[0].cpu().numpy()
        return sound

    def _parts(self, requests: Sequence[Request]) -> list[SentencePart]:
        parts = []
        speaker = GptSpeaker(self.base)
        for number, request in enumerate(requests):
            language = request.language or "en"
            check_language(language)
            identity = self._here(identity_of(request.context) if request.context else self.default_identity())
            codes = max(1, min(math.ceil(request.seconds * self.frame_rate), self.most_codes))
            for place, text in enumerate(sentences_of(request.text, LONGEST[language], language)):
                sentence = speaker.sentence(
                    identity.latents.to(self.base.dtype), self._ids(text, language), codes, request.seed + place
                )
                parts.append(SentencePart(number, identity, sentence))
        return parts

    def default_identity(self) -> Identity:
        """The mean of the clips that were learnt, or the first stock speaker."""
        if self.identity:
            return self.identity
        if not self.stock:
            raise ModelError(
                "this XTTS has no stock speakers (speakers_xtts.pth), so it speaks with a reference alone; name one"
            )
        return Identity(*next(iter(self.stock.values())))

    def _ids(self, text: str, language: str | None) -> Tensor:
        ids = self.text.ids(text, language or "en")
        if len(ids) > self.most_text:
            raise ModelError(f"{text!r} has {len(ids)} tokens, and the model reads {self.most_text}; cut it in two")
        return torch.tensor(ids, device=self.device)

    def _here(self, identity: Identity) -> Identity:
        return Identity(*(values.to(self.device) for values in identity))


def _codes(turn: Turn) -> int:
    return 0 if turn.codes is None else len(turn.codes["codes"])
