"""How fast a voice speaks: a frame of sound by our decode loop, beside `generate` of transformers, in the same run.

    python -m benchmarks.speaking                                # tiny and csm-1b, on the GPU where there is one
    python -m benchmarks.speaking --size csm-1b --device cpu     # 8 minutes on two cores, 15 GB
    python -m benchmarks.speaking --size tiny                    # seconds: what Python costs

The voices are random and of true shape (benchmarks/shapes.py), so they speak until the cap: every run makes as many
frames. Sentences are a few words without a reference; reading them is in the seconds. All sample with temperature 0.9
out of the 50 likeliest. `generate` has the table's precision, int8 stands beside single precision. A batch of
`generate` is padded on the left. The limit is the longer of reading all weights that a frame needs once, and of
multiplying by them: both at the pace that a plain product reaches on this machine. Tiny weights are in the cache: all
time there is Python's.

What each thing that only a GPU does is worth for one sentence is a table of its own: the loop as it is, without the
frame ahead, without the compiler, and in 8 bits with and without it. The first call, in which the compiler works,
stands beside. On a CPU nothing of this is done by itself, and only `--modes` rehearses it.

First sound is of a sentence that clones a reference of five seconds, which is read too: `generate` makes the whole
sentence before any of it is heard, `Voice.stream` gives sound from the first frame on.
"""

from __future__ import annotations

import argparse
import copy
import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks import limits, table
from benchmarks.shapes import SIZES, Size, csm
from benchmarks.table import ResultTable, TimedRow
from timbre.core.running import settle
from timbre.families import Request, Speaking, Turn
from timbre.families.compiling import Compiled
from timbre.families.csm.decode import Decoder
from timbre.families.csm.eight_bits import shrink
from timbre.families.csm.model import Csm
from timbre.families.int8 import Int8Weights

TEMPERATURE, TOP_K = 0.9, 50
TEXTS = ("We will be there.", "Is it raining?", "The ferry waits for us.", "Good morning.")
REFERENCE_SECONDS, SENTENCE_SECONDS = 5.0, 1.6  # the sentence of which the first sound is waited for
POSITIONS = 512  # of the caches; what is spoken here is far shorter
GROUPS = {"cpu": (("fp32", "int8"), ("bf16",)), "cuda": (("bf16",),)}
ON_CPU = {"tiny": 50, "small": 20, "csm-1b": 4}  # frames of a run
ON_GPU = 40


class Version(NamedTuple):
    """A voice in a precision."""

    name: str
    voice: Csm
    bytes: int  # of a weight
    dtype: torch.dtype | None  # that a limit of arithmetic is known for

    def again(self) -> Version:
        """The same weights, with caches and graphs of its own, which are kept from run to run as in real use."""
        voice = Csm(self.voice.base, self.voice.tokenizer)
        voice.decoders = dict(self.voice.decoders)  # how the weights are laid out is shared
        return self._replace(voice=voice)


class OwnWay(Csm):
    """A voice whose decode loop is told what to do without."""

    compiled = ahead = True

    def decoder(self, how: Speaking, like: Decoder | None) -> Decoder:
        made = Decoder(self.base, how, weights=like.weights if like else None, compiled=self.compiled)
        made.ahead = self.ahead
        return made


class Mode(NamedTuple):
    name: str
    int8: bool = False
    compiled: bool = True
    ahead: bool = True


UNCOMPILED = "bf16, uncompiled"
MODES = (
    Mode(UNCOMPILED, compiled=False),
    Mode("bf16"),
    Mode("bf16, no frame ahead", ahead=False),
    Mode("int8", int8=True),
    Mode("int8, uncompiled", int8=True, compiled=False),
)


class Contender(NamedTuple):
    name: str
    speak: Callable[[], object]  # frames of each row
    rows: int
    limit: float | None  # seconds a frame


def main() -> None:
    options = table.parse(__doc__, arguments)
    options.end = time.monotonic() + options.seconds
    for size in options.size:
        table.record(f"speaking-{size}", measure(size, options), options.out)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", nargs="+", choices=SIZES, default=["tiny", "csm-1b"])
    table.add_device(parser, runs=3)
    parser.add_argument("--slots", type=int, nargs="+", help="sentences side by side; 1 8 16, on a GPU 64 too")
    parser.add_argument("--modes", action="store_true", help="on a CPU too")
    parser.add_argument("--seconds", type=float, default=math.inf, help="after which no further mode is begun")
    parser.add_argument("--frames", type=int, help="of a run, for each sentence")


def measure(size: Size, options: argparse.Namespace) -> Iterator[ResultTable]:
    for precisions in GROUPS[options.device]:  # one after the other: all at once would be 19 GB
        yield from measured(size, versions(size, options.device, precisions), options)
        gc.collect()
    if options.device == "cuda" or options.modes:
        yield modes(size, options)


def measured(size: Size, made: Sequence[Version], options: argparse.Namespace) -> Iterator[ResultTable]:
    on_gpu = options.device == "cuda"
    frames = options.frames or (ON_GPU if on_gpu else ON_CPU[size])
    racing = list(contenders(size, made, frames, options.slots or [1, 8, 16, *[64] * on_gpu]))
    seconds = race({one.name: one.speak for one in racing}, options.runs, f"{size}, frames")
    rate = made[0].voice.frame_rate
    rows = [
        TimedRow(one.name, [run / frames for run in seconds[one.name]], one.rows / rate, one.limit) for one in racing
    ]
    where = f"{size} on {options.device}, {made[0].name}"
    yield ResultTable(f"{where}: a frame of each sentence", rows, baseline=rows[0].name, rate="s of sound a second")
    yield ResultTable(f"{where}: first sound", first_sounds(size, made, options.runs), "generate, decode")


def modes(size: Size, options: argparse.Namespace) -> ResultTable:
    """One sentence at a time, mode by mode; each is skipped where the time is over or it fails."""
    on_gpu = options.device == "cuda"
    base = csm(size, options.device, torch.bfloat16 if on_gpu else torch.float32)
    base.base.config.max_position_embeddings = POSITIONS
    frames, rows, small = options.frames or (ON_GPU if on_gpu else ON_CPU[size]), list[TimedRow](), False
    for mode in MODES:
        name = in_precision(mode.name, on_gpu)
        if time.monotonic() > options.end:
            rows.append(TimedRow(name, skipped="the time was over"))
            continue
        if mode.int8 and not small:  # the voice in 16 bits is measured by now
            shrink(base.base, Int8Weights)
            small = True
        rows.append(in_mode(size, base, mode, frames, options.runs)._replace(name=name))
        gc.collect()
    title = f"{size} on {options.device}, one sentence: a frame"
    return ResultTable(title, rows, baseline=in_precision(UNCOMPILED, on_gpu), rate="s of sound a second")


def in_precision(name: str, on_gpu: bool) -> str:
    return name if on_gpu else name.replace("bf16", "fp32")


def in_mode(size: Size, base: Csm, mode: Mode, frames: int, runs: int) -> TimedRow:
    voice = OwnWay(base.base, base.tokenizer)
    voice.compiled, voice.ahead = mode.compiled, mode.ahead
    settle(base.base)
    began = time.perf_counter()
    speak(voice, texts(1), frames)
    first_call = time.perf_counter() - began
    if mode.compiled and Compiled.fails:
        return TimedRow(mode.name, skipped=f"the compiler fails here ({Compiled.fails})")
    [seconds] = table.race({"": partial(speak, voice, texts(1), frames)}, runs).values()
    version = Version(mode.name, voice, 1 if mode.int8 else base.base.dtype.itemsize, None)
    each, extra = [run / frames for run in seconds], {"first call, s": first_call}
    return TimedRow(mode.name, each, 1 / voice.frame_rate, limit(size, version, 1), extra)


def race(calls: Mapping[str, Callable[[], object]], runs: int, label: str) -> dict[str, list[float]]:
    """`table.race`, and what is raced just now."""
    with tqdm(total=len(calls) * (runs + 1), desc=label, unit="run", leave=False, dynamic_ncols=True) as bar:

        def told(name: str) -> None:
            bar.set_postfix_str(name)
            calls[name]()
            bar.update()

        return table.race({name: partial(told, name) for name in calls}, runs)


def versions(size: Size, device: str, precisions: Sequence[str]) -> list[Version]:
    """The weights of the first, and what of them the others leave as it is, are shared."""
    dtype, width = {"fp32": (torch.float32, 4), "bf16": (torch.bfloat16, 2)}[precisions[0]]
    made = [Version(precisions[0], csm(size, device, dtype), width, dtype)]
    settle(made[0].voice.base)
    if "int8" in precisions:
        exact = made[0].voice
        shared = {id(part): part for part in (*exact.base.parameters(), *exact.base.buffers())}
        small = copy.deepcopy(exact.base, shared)
        shrink(small)
        made.append(Version("int8", Csm(small, exact.tokenizer), 1, None))
    for version in made:
        version.voice.base.config.max_position_embeddings = POSITIONS
        speak(version.voice, texts(1), 1)  # lays the weights out
    return made


def contenders(size: Size, made: Sequence[Version], frames: int, slots: Sequence[int]) -> Iterator[Contender]:
    base = made[0]
    for count in (1, slots[min(1, len(slots) - 1)]):
        name = f"generate, {'one by one' if count == 1 else f'{count} at once'}"
        yield Contender(name, partial(generate, base.voice, texts(count), frames), count, limit(size, base, count))
    for version in made:
        for count in slots:
            name = f"Timbre, {version.name}, {count} at once"
            speaking = partial(speak, version.again().voice, texts(count), frames)
            yield Contender(name, speaking, count, limit(size, version, count))


def texts(count: int) -> list[str]:
    return [TEXTS[number % len(TEXTS)] for number in range(count)]


def generate(voice: Csm, sentences: Sequence[str], frames: int) -> Tensor:
    """What a user of transformers would write; codes (sentences, frames, codebooks)."""
    rows = [voice.tokenizer(f"[0]{text}")["input_ids"] for text in sentences]
    size, pad = max(map(len, rows)), voice.base.config.pad_token_id
    ids = torch.tensor([[pad] * (size - len(row)) + row for row in rows], device=voice.device)
    mask = torch.tensor([[0] * (size - len(row)) + [1] * len(row) for row in rows], device=voice.device)
    return generated(voice, frames, input_ids=ids, attention_mask=mask)


def generated(voice: Csm, frames: int, **prompt: Tensor) -> Tensor:
    config = voice.base.config
    no_codes = list(range(config.codec_config.codebook_size, config.vocab_size))  # would crash the codec
    how = {"do_sample": True, "temperature": TEMPERATURE, "top_k": TOP_K, "suppress_tokens": no_codes}
    made: Tensor = voice.base.generate(
        **prompt, **how, **{f"depth_decoder_{name}": value for name, value in how.items()}, max_new_tokens=frames
    )
    assert made.shape[1] == frames, "a random voice does not end"
    return made


def speak(voice: Csm, sentences: Sequence[str], frames: int) -> None:
    requests = [Request(text, (), seed, frames / voice.frame_rate) for seed, text in enumerate(sentences)]
    for spoken in voice.speak_codes(requests, Speaking(TEMPERATURE, TOP_K, len(requests))):
        assert len(spoken.codes) == frames, "a random voice does not end"


def limit(size: Size, version: Version, rows: int) -> float | None:
    """Seconds that reading the weights of a frame takes, or multiplying by them."""
    if size == "tiny":
        return None
    weights, device = weights_of_a_frame(version.voice.base.config), version.voice.device.type
    reading = weights * version.bytes / limits.bandwidth(device)
    return max(reading, 2 * weights * rows / limits.arithmetic(device, version.dtype) if version.dtype else 0)


def weights_of_a_frame(config: Any) -> int:
    """Of the backbone once, and of the depth decoder for each codebook but the first."""
    depth, codebooks = config.depth_decoder_config, config.num_codebooks
    backbone = weights_of_layers(config) + config.hidden_size * config.vocab_size
    other = weights_of_layers(depth) + config.hidden_size * depth.hidden_size + depth.hidden_size * depth.vocab_size
    return backbone + (codebooks - 1) * other


def weights_of_layers(config: Any) -> int:
    heads = 2 * config.num_attention_heads + 2 * config.num_key_value_heads
    each = heads * config.head_dim + 3 * config.intermediate_size
    return int(config.num_hidden_layers * config.hidden_size * each)


def first_sounds(size: Size, made: Sequence[Version], runs: int) -> list[TimedRow]:
    """Seconds until there is any sound, and of all of it; turn by turn."""
    voice = made[0].voice
    sound = np.random.default_rng(0).normal(0, 0.1, int(REFERENCE_SECONDS * voice.sample_rate)).astype(np.float32)
    reference = Turn("It was a long way, and it rained all day.", voice.encode([sound])[0])
    calls: dict[str, Callable[[], object]] = {"generate, decode": partial(whole, voice, reference)}
    calls |= {f"Timbre, {one.name}": partial(first, one.again().voice, reference) for one in made}
    return [TimedRow(name, seconds) for name, seconds in race(calls, runs, f"{size}, first sound").items()]


def whole(voice: Csm, reference: Turn) -> None:
    row = voice._row([reference, Turn(TEXTS[0])])
    parts = (torch.as_tensor(np.asarray(part), device=voice.device)[None] for part in row)
    prompt = voice._embed(*parts)
    codes = generated(voice, math.ceil(SENTENCE_SECONDS * voice.frame_rate), inputs_embeds=prompt)
    voice.decode(codes[0].cpu().numpy())


def first(voice: Csm, reference: Turn) -> None:
    """As long as a frame, so that the sentence is over with its first sound: what follows would count too."""
    request = Request(TEXTS[0], (reference,), 0, 1 / voice.frame_rate)
    assert [len(piece) for piece in voice.stream(request, Speaking(TEMPERATURE, TOP_K, 1))]


if __name__ == "__main__":
    main()
