"""XTTS and GPT-SoVITS: a step of learning and a sentence, by upstream's recipe and by ours, in the same run.

    python -m benchmarks.code_voices                       # 15 minutes of one core, 6 GB
    python -m benchmarks.code_voices --only sovits-step sovits-codes --runs 1

Weights are random. GPT-SoVITS has its released sizes; of XTTS' language model there are half the layers, so that
learning it whole fits a small machine, the rest has its released sizes. Everything is in single precision on a CPU, and
what is counted is the processor's time, of all threads, which other work on the machine hardly prolongs.

Both ways are our own modules, which give upstream's numbers (tests/models/parity), so recipes are compared, not two
implementations. Upstream's recipe, as its trainers and its inference have it:

- XTTS learns all weights of the language model; each step makes the codes of the sound and the conditioning, whose
  encoder learns too. GPT-SoVITS learns all weights of stage 1; benchmarks/wave_step.py has its stage 2.
- One sentence at a time, with caches that are copied to grow by a place with each code. XTTS then sends all codes
  through the language model once more, for the states that the vocoder needs.

Ours: codes and conditioning made once, LoRA, sentences side by side in caches that stay in place, states kept.
"""

from __future__ import annotations

import argparse
import copy
import gc
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks import table
from benchmarks.recipes import CHARACTERS, LORA
from benchmarks.table import ResultTable, TimedRow
from timbre.families import int8
from timbre.families.code_decoder import CodeDecoder, CodeDrawing, CodeModel, CodeSentence
from timbre.families.lora import put_on
from timbre.families.sampling import penalised, pick
from timbre.families.sovits import voice as sovits
from timbre.families.sovits.stage1 import Stage1, Stage1Batch, Stage1Speaker
from timbre.families.sovits.stage2 import Stage2
from timbre.families.sovits.text import PHONES
from timbre.families.xtts import course as xtts_course
from timbre.families.xtts import voice as xtts
from timbre.families.xtts.codec import CodecEncoder
from timbre.families.xtts.config import GptArgs
from timbre.families.xtts.gpt import TEXT_WEIGHT, GptSpeaker, SpeechGpt, XttsBatch
from timbre.families.xtts.load import XttsModel
from timbre.families.xtts.speaker import SpeakerEncoder
from timbre.families.xtts.vocoder import LatentVocoder

UPSTREAM = "upstream's recipe"
VOCABULARY = 6681  # of XTTS' text
HALF = 15  # layers of 30
STAGE1: dict[str, int] = {
    "hidden_dim": 512,
    "vocab_size": 1025,
    "head": 16,
    "n_layer": 24,
    "EOS": 1024,
    "phoneme_vocab_size": 732,
}
STAGE2: dict[str, Any] = {
    "inter_channels": 192, "hidden_channels": 192, "filter_channels": 768, "n_heads": 2, "n_layers": 6,
    "kernel_size": 3, "upsample_rates": [10, 8, 2, 2, 2], "upsample_initial_channel": 512,
    "upsample_kernel_sizes": [16, 16, 8, 2, 2], "gin_channels": 512, "version": "v2",
}  # fmt: skip
DRAWING = CodeDrawing(1.0, 15, 1.0, 1.35)


Speakers = Callable[[argparse.Namespace, bool], Iterator[tuple[str, Callable[[], object], int]]]


class Learning(NamedTuple):
    """A way to learn: a step of it, and what it learns from."""

    name: str
    step: Callable[[], object]
    codes: int  # of a step


def main() -> None:
    options = table.parse(__doc__, arguments)
    torch.set_num_threads(1)  # threads that wait for each other are counted as work
    for name in options.only:
        family, _, part = name.partition("-")
        table.record(f"code_voices-{name}", [FAMILIES[family](part, options)], options.out)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--runs", type=int, default=3, help="of each, after a warm-up")
    parser.add_argument("--seconds", type=float, default=6.0, help="of a clip that is learnt")
    parser.add_argument("--batch", type=int, default=2, help="clips of a step")
    parser.add_argument("--codes", type=int, default=60, help="of a sentence that is spoken")


def random_networks() -> XttsModel:
    torch.manual_seed(0)
    args = GptArgs(
        gpt_layers=HALF, gpt_n_model_channels=1024, gpt_n_heads=16, gpt_max_audio_tokens=605, gpt_max_text_tokens=402,
        gpt_max_prompt_tokens=70, gpt_num_audio_tokens=1026, gpt_start_audio_token=1024, gpt_stop_audio_token=1025,
        gpt_use_perceiver_resampler=True,
    )  # fmt: skip
    networks = XttsModel(
        SpeechGpt(args, VOCABULARY), LatentVocoder(1024, 512, 512), SpeakerEncoder((32, 64, 128, 256), 512),
        CodecEncoder(256, 512, 1024), torch.ones(80),
    )  # fmt: skip
    networks.eval()
    return networks


def of_xtts(part: str, options: argparse.Namespace) -> ResultTable:
    what, networks = "XTTS, half of its layers", random_networks()
    if part == "step":
        return learnt(what, xtts_ways(networks, options), options)
    return spoken(what, partial(xtts_speakers, networks), options, 1024 / 22_050, sound=part == "sound")


def xtts_ways(networks: XttsModel, options: argparse.Namespace) -> Iterator[Learning]:
    gpt, rate = networks.gpt, 22_050
    sound = 0.1 * torch.randn(options.batch, int(options.seconds * rate) // 1024 * 1024)
    text = torch.randint(1, VOCABULARY, (options.batch, round(options.seconds * CHARACTERS / 3)))
    latents = gpt.latents(networks.reference_mel(sound)).detach()

    def batch(codes: Tensor, latents: Tensor) -> XttsBatch:
        lengths = [torch.full((options.batch,), tokens.shape[1]) for tokens in (text, codes)]
        return XttsBatch(latents, text, lengths[0], codes, lengths[1], torch.ones_like(codes) > 0, torch.ones(2))

    def total(batch: XttsBatch) -> Tensor:
        words, codes = gpt.labelled(batch)
        return TEXT_WEIGHT * words.loss() + codes.loss()

    def upstream() -> Tensor:
        return total(batch(networks.codec(networks.codec_mel(sound)), gpt.latents(networks.reference_mel(sound))))

    codes = networks.codec(networks.codec_mel(sound))
    yield Learning(UPSTREAM, step_of(gpt, upstream), codes.numel())
    yield Learning("ours, whole", step_of(gpt, lambda: total(batch(codes, latents)), xtts_course.FROZEN), codes.numel())
    put_on(gpt, xtts.TARGETS, LORA, HALF, per_layer=xtts.MATRICES, fan_in_fan_out=True)
    yield Learning("ours, LoRA", step_of(gpt, lambda: total(batch(codes, latents))), codes.numel())


def xtts_speakers(
    networks: XttsModel, options: argparse.Namespace, sound: bool
) -> Iterator[tuple[str, Callable[[], object], int]]:
    networks = copy.deepcopy(networks)
    for module in networks.gpt.gpt.modules():  # what was learnt for the table before is taken off
        for name, child in module.named_children():
            if hasattr(child, "base_layer"):
                setattr(module, name, child.base_layer)
    gpt, vector = networks.gpt.requires_grad_(False), torch.randn(1, 512)
    latents = torch.randn(1, 32, 1024)

    def sentence(speaker: GptSpeaker, seed: int) -> CodeSentence:
        return speaker.sentence(latents, torch.arange(1, 25), options.codes, seed)

    def upstream() -> None:
        speaker = GptSpeaker(gpt)
        codes = said_by_growing_caches(speaker, sentence(speaker, 0))
        if not sound:
            return
        said = gpt.embed_codes(torch.tensor([codes[:-1]]), torch.arange(1, len(codes)))
        prompt = gpt.prompt(latents, torch.arange(1, 25)[None])
        networks.vocoder(gpt.states(torch.cat((prompt, said), 1))[:, prompt.shape[1] - 1 :], vector)

    def vocoded(states: list[list[Tensor]]) -> None:
        for row in states:
            networks.vocoder(torch.stack(row)[None], vector)

    yield UPSTREAM, upstream, 1
    yield from beside("ours", lambda: GptSpeaker(gpt), sentence, vocoded if sound else silent)
    int8.replace(gpt.gpt)
    gpt.mel_head = int8.Int8Linear(gpt.mel_head.weight, gpt.mel_head.bias)
    yield from beside("ours, int8", lambda: GptSpeaker(gpt), sentence, vocoded if sound else silent)


def of_sovits(part: str, options: argparse.Namespace) -> ResultTable:
    torch.manual_seed(0)
    if part == "step":
        return learnt("GPT-SoVITS, stage 1", sovits_ways(Stage1(STAGE1), options), options)
    stage2 = Stage2({"model": STAGE2, "train": {"segment_size": 20_480}}, PHONES).eval()
    return spoken("GPT-SoVITS v2", partial(sovits_speakers, stage2), options, 1 / 25, sound=part == "sound")


def sovits_ways(model: Stage1, options: argparse.Namespace) -> Iterator[Learning]:
    codes = torch.randint(0, 1024, (options.batch, round(25 * options.seconds)))
    phones = torch.randint(0, PHONES, (options.batch, round(12 * options.seconds)))
    lengths = [torch.full((options.batch,), tokens.shape[1]) for tokens in (phones, codes)]
    batch = Stage1Batch(phones, lengths[0], codes, lengths[1])

    def total() -> Tensor:
        return model.losses(batch).mean()

    yield Learning(UPSTREAM, step_of(model, total), codes.numel())
    put_on(model, sovits.TARGETS, LORA, STAGE1["n_layer"], per_layer=sovits.MATRICES)
    yield Learning("ours, LoRA", step_of(model, total), codes.numel())


def sovits_speakers(
    stage2: Stage2, options: argparse.Namespace, sound: bool
) -> Iterator[tuple[str, Callable[[], object], int]]:
    model = Stage1(STAGE1).requires_grad_(False).eval()
    phones, prompt = torch.randint(0, PHONES, (60,)), torch.randint(0, 1024, (100,))
    style = (torch.randn(1, 512, 1),) * 2

    def sentence(speaker: Stage1Speaker, seed: int) -> CodeSentence:
        return speaker.sentence(phones, prompt, options.codes, seed)

    def sounded(codes: list[int]) -> None:
        noise = 0.5 * torch.randn(1, stage2.latents, 2 * len(codes))
        stage2.speak(torch.tensor([codes]), phones[None, :30], style, noise)

    def upstream() -> None:
        speaker = Stage1Speaker(model)
        codes = said_by_growing_caches(speaker, sentence(speaker, 0))
        if sound:
            sounded(codes)

    def each_sounded(states: list[list[Tensor]]) -> None:
        for row in states:
            sounded([0] * len(row))

    yield UPSTREAM, upstream, 1
    yield from beside("ours", lambda: Stage1Speaker(model), sentence, each_sounded if sound else silent)
    int8.replace(model.h)
    model.ar_predict_layer = int8.Int8Linear(model.ar_predict_layer.weight)
    yield from beside("ours, int8", lambda: Stage1Speaker(model), sentence, each_sounded if sound else silent)


def step_of(model: Any, total: Callable[[], Tensor], frozen: str = "") -> Callable[[], None]:
    """A step on all weights that learn, with AdamW as our loop has it, whose states the warm-up makes."""
    weights = [
        weight
        for name, weight in model.named_parameters()
        if weight.requires_grad and not (frozen and name.startswith(frozen))
    ]
    optimiser = torch.optim.AdamW(weights, 1e-5)

    def step() -> None:
        total().backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        model.zero_grad()

    return step


@torch.inference_mode()  # type: ignore[untyped-decorator]
def said_by_growing_caches(model: CodeModel, sentence: CodeSentence) -> list[int]:
    """The codes of one sentence, as `generate` and upstream's loop make them: each layer's keys and values are
    concatenated with those of each code."""
    caches: list[tuple[Tensor, Tensor] | None] = [None] * len(model.layers)

    def attend(layer: int, mask: Tensor | None, joint: Tensor) -> Tensor:
        query, key, value = joint.unflatten(-1, (3, model.heads, -1)).permute(2, 0, 3, 1, 4)
        if earlier := caches[layer]:
            key, value = torch.cat((earlier[0], key), 2), torch.cat((earlier[1], value), 2)
        caches[layer] = key, value
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).flatten(2)

    def through(x: Tensor, mask: Tensor | None) -> Tensor:
        for number, layer in enumerate(model.layers):
            x = layer(x, partial(attend, number, mask))
        return model.normed(x)[:, -1]

    x = sentence.prompt()[None]
    count = x.shape[1]
    mask = torch.ones(count, count, dtype=torch.bool).tril()
    mask[: sentence.both_ways, : sentence.both_ways] = True
    state, codes = through(x, mask), []
    spoken = torch.zeros(1, model.vocabulary, dtype=torch.bool)
    for number in range(sentence.codes):
        logits = penalised(model.logits(state).float(), spoken, DRAWING.penalty)
        logits[:, model.end] = -torch.inf  # a random voice does not end
        code = pick(logits, torch.rand(1, 1, dtype=torch.float64), DRAWING)
        spoken[0, code] = True
        codes.append(int(code))
        state = through(model.embed(code[:, None], torch.tensor([[sentence.place + number]])), None)
    return codes


def beside(
    name: str, speaker: Callable[[], Any], sentence: Callable[[Any, int], CodeSentence],
    sounded: Callable[[list[list[Tensor]]], None],
) -> Iterator[tuple[str, Callable[[], object], int]]:  # fmt: skip
    """One sentence alone, and eight side by side."""
    for rows in (1, 8):
        yield f"{name}, {rows} at once", ours(speaker(), sentence, rows, sounded), rows


def ours(
    speaker: Any, sentence: Callable[[Any, int], CodeSentence], rows: int,
    sounded: Callable[[list[list[Tensor]]], None],
) -> Callable[[], None]:  # fmt: skip
    speaker.silent_steps = 1 << 20  # a random voice does not end
    like = speaker.embed(torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, 1, dtype=torch.int64))
    decoder = CodeDecoder(speaker, DRAWING, rows, like)

    def speak() -> None:
        states: list[list[Tensor]] = [[] for _ in range(rows)]
        with torch.inference_mode():
            for said in decoder.speak([sentence(speaker, seed) for seed in range(rows)]):
                states[said.number].append(said.state)
            sounded(states)

    return speak


def learnt(what: str, ways: Iterator[Learning], options: argparse.Namespace) -> ResultTable:
    """One way after the other: their optimisers' states would not fit the memory together."""
    rows = []
    for way in ways:
        rows.append(TimedRow(way.name, used(way.step, options.runs), way.codes))
        gc.collect()
    title = f"{what}: a step of {options.batch} clips of {options.seconds:g} s"
    return ResultTable(title, rows, baseline=UPSTREAM, unit="CPU s", rate="codes/s")


def spoken(what: str, speakers: Speakers, options: argparse.Namespace, code: float, *, sound: bool) -> ResultTable:
    rows = [
        TimedRow(name, used(speak, options.runs), count * options.codes * code)
        for name, speak, count in speakers(options, sound)
    ]
    title = f"{what}: {options.codes} codes of each sentence" + (" and their sound" if sound else "")
    return ResultTable(title, rows, baseline=UPSTREAM, unit="CPU s", rate="s of sound a second")


def silent(states: list[list[Tensor]]) -> None:
    """Codes alone."""


def used(call: Callable[[], object], runs: int) -> list[float]:
    """The processor's seconds of each run, of all threads, after a warm-up."""
    return [once(call) for _ in range(runs + 1)][1:]


def once(call: Callable[[], object]) -> float:
    begun = time.process_time()
    call()
    return time.process_time() - begun


FAMILIES: Mapping[str, Callable[[str, argparse.Namespace], ResultTable]] = {"xtts": of_xtts, "sovits": of_sovits}
PARTS = [f"{family}-{part}" for family in FAMILIES for part in ("step", "codes", "sound")]

if __name__ == "__main__":
    main()
