"""Many callers of one voice: our engine beside a server that calls `generate` for each request, one after the other.

    python -m benchmarks.serving                               # tiny, 1 to 16 callers
    python -m benchmarks.serving --size csm-1b --device cuda   # the same on a GPU
    python -m benchmarks.serving --size csm-1b --int8 --seconds 1.6 --callers 1 4 --requests 1 --name serving-long
    python -m benchmarks.serving --parts slots                 # the slots alone: a frame waited for, and one ahead

Callers ask for unique texts. Each asks again at random times after its answer (exponential waits, of `--pause` seconds
on average: short ones, so that the server and not the callers decide how much is spoken). The voices are random and of
true shape (benchmarks/shapes.py): every sentence is as long as its cap. They speak with an adapter of the rank that
params.yaml has: `generate` with one that is merged, the engine with one that may be exchanged. First sound is measured
from asking; a player that begins with the first sound runs dry where it has waited more than 0.1 s at once. `generate`
gives no sound before its end. Sound a CPU second is what a machine that others use can tell of speed; on a GPU it says
nothing.
"""

from __future__ import annotations

import argparse
import os
import queue
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from benchmarks import table
from benchmarks.shapes import SIZES, SPREAD, csm
from benchmarks.table import ResultTable, TimedRow
from timbre.core.params import read
from timbre.core.running import settle
from timbre.families import Lora, Request, compiling
from timbre.families.csm.eight_bits import shrink
from timbre.families.csm.model import Csm
from timbre.families.csm.slots import CsmSlots
from timbre.families.slots import Drawing, Slots, open_slots
from timbre.synthesis.engine import Ask, Engine, OneSentence, SpokenPart
from timbre.web.serve.figures import DEFICIT, Playback

WORDS = ("harbour", "morning", "silver", "lantern", "quiet", "train", "green", "coffee", "signal", "winter", "paper")
TEMPERATURE = 0.8
ADAPTER = "tuned"
A_CPU_SECOND = "s of sound a CPU second"
SLOTS, WAITED = 8, "each frame waited for"
WARMING = 0.16  # seconds of the first sentence of each server, which nobody measures
Served = Callable[[Request], Iterator[float]]  # of a request: seconds of each piece of sound, when it is there


@dataclass
class CallTally:
    """What the callers heard."""

    first: list[float] = field(default_factory=list)  # seconds
    deficits: list[float] = field(default_factory=list)  # seconds
    sound: float = 0.0  # seconds
    lock: threading.Lock = field(default_factory=threading.Lock)


def main() -> None:
    options = table.parse(__doc__, arguments)
    name = "serving" if options.size == "tiny" else f"serving-{options.size}"
    table.record(options.name or name, measure(options), options.out)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", choices=SIZES, default="tiny")
    table.add_device(parser, runs=1)
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--requests", type=int, default=6, help="of each caller; at the end some are gone")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each sentence")
    parser.add_argument("--pause", type=float, default=0.25, help="seconds between an answer and the next request")
    parser.add_argument("--name", help="of the table in benchmarks/README.md; one for each size if not given")
    parser.add_argument("--parts", choices=["callers", "slots"], nargs="+", default=["callers"])
    parser.add_argument("--int8", action="store_true", help="Timbre in 8 bits and generate in bf16, on a CPU")


def measure(options: argparse.Namespace) -> Iterator[ResultTable]:
    for part in options.parts:
        yield {"callers": many_callers, "slots": slots_alone}[part](options)


def slots_alone(options: argparse.Namespace) -> ResultTable:
    """Full slots without callers: each frame waited for, as on a CPU, and the next begun before the last is read.

    Layers are not compiled, which would take a GPU longer than all of this.
    """
    os.environ[compiling.SWITCH] = "0"
    voice = csm(options.size, options.device, torch.bfloat16 if options.device == "cuda" else torch.float32)
    settle(voice.base)

    def filled(ahead: bool) -> Callable[[], None]:
        slots = CsmSlots(voice, SLOTS, {})
        slots.decoder.ahead = ahead

        def spoken() -> None:
            for slot in range(SLOTS):
                slots.admit(slot, request(slot, 0, options), Drawing(TEMPERATURE), None)
            while slots.sentences:
                for _ in slots.step():
                    pass

        return spoken

    seconds = table.race({WAITED: filled(False), "a frame ahead": filled(True)}, options.runs)
    rows = [TimedRow(name, each, SLOTS * options.seconds) for name, each in seconds.items()]
    title = f"{SLOTS} slots of {options.size} on {options.device}, sentences of {options.seconds:g} s"
    return ResultTable(title, rows, baseline=WAITED, rate="s of sound a second")


def many_callers(options: argparse.Namespace) -> ResultTable:
    dtype = torch.bfloat16 if options.device == "cuda" else torch.float32
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        adapter = random_adapter(options, Path(folder) / ADAPTER)
        voice = ours = csm(options.size, options.device, dtype)
        if options.int8:  # which transformers' own `generate` can't speak with
            shrink(ours.base)
            voice = csm(options.size, options.device, torch.bfloat16)
        settle(voice.base)
        for callers in tqdm(options.callers, unit="callers", leave=False, disable=None):
            theirs = by_generate(voice, callers, options)
            rows += [theirs, compared(by_engine(ours, adapter, callers, options), theirs)]
    at = next((row.name for row in rows if row.name.startswith("generate, 8")), rows[0].name)
    kind = f"{options.size} (Timbre in 8 bits, generate in bf16)" if options.int8 else options.size
    title = f"{kind} on {options.device}, sentences of {options.seconds:g} s"
    return ResultTable(title, rows, baseline=at, rate="s of sound a second")


def compared(ours: TimedRow, theirs: TimedRow) -> TimedRow:
    clock = ours.amount / ours.seconds[0] / (theirs.amount / theirs.seconds[0])
    computed = float(ours.extra[A_CPU_SECOND]) / float(theirs.extra[A_CPU_SECOND])
    against = {"as many callers: by the clock": f"{clock:.1f}×", "by CPU seconds": f"{computed:.1f}×"}
    return ours._replace(extra={**ours.extra, **against})


def by_generate(voice: Csm, callers: int, options: argparse.Namespace) -> TimedRow:
    lock = threading.Lock()  # one after the other

    def served(request: Request) -> Iterator[float]:
        with lock:
            yield generated(voice, request)

    list(served(request(0, 0, options)._replace(seconds=WARMING)))
    return row(f"generate, {callers} callers", served, callers, options)


def generated(voice: Csm, request: Request) -> float:
    frames = round(request.seconds * voice.frame_rate)
    ids = torch.tensor([voice.tokenizer(f"[0]{request.text}")["input_ids"]], device=voice.device)
    torch.manual_seed(request.seed)
    how = {"do_sample": True, "temperature": TEMPERATURE, "depth_decoder_do_sample": True}
    with torch.inference_mode():
        made = voice.base.generate(input_ids=ids, max_new_tokens=frames, min_new_tokens=frames, use_cache=True, **how)
        voice.base.codec_model.decode(made[0].T[None].clamp(0, voice.base.config.codec_config.codebook_size - 1))
    return len(made[0]) / voice.frame_rate


def by_engine(voice: Csm, adapter: Path, callers: int, options: argparse.Namespace) -> TimedRow:
    engine = Engine(lambda: prepared(voice, adapter, max(callers, 8)), waiting=callers)

    def served(request: Request) -> Iterator[float]:
        told: queue.Queue[SpokenPart] = queue.Queue()
        engine.submit(OneSentence(Ask(request, Drawing(TEMPERATURE), ADAPTER)), told.put)
        while not (heard := told.get()).over:
            yield len(heard.sound) / voice.sample_rate

    engine.wait_until_ready()
    list(served(request(0, 0, options)._replace(seconds=WARMING)))
    made = row(f"Timbre, {callers} callers", served, callers, options)
    engine.close()
    return made


def prepared(voice: Csm, adapter: Path, slots: int) -> Slots:
    settle(voice.base)  # in the engine's own thread
    return open_slots(voice, slots, {ADAPTER: adapter})


def random_adapter(options: argparse.Namespace, folder: Path) -> Path:
    """As `train` saves one, for another copy of the same base; merging it changes no cost of `generate`."""
    torch.manual_seed(0)
    other = csm(options.size, options.device, torch.bfloat16 if options.size == "csm-1b" else torch.float32)
    how = read().train
    other.adapt(Lora(how.rank, how.alpha, how.rslora, 0.0))
    for name, weight in other.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=SPREAD)
    other.save_adapter(folder)
    return folder


def request(caller: int, number: int, options: argparse.Namespace) -> Request:
    random = np.random.default_rng((caller, number))
    return Request(" ".join(random.choice(WORDS, 6)), (), 1000 * caller + number, options.seconds)


def row(name: str, served: Served, callers: int, options: argparse.Namespace) -> TimedRow:
    tally = CallTally()
    threads = [threading.Thread(target=call, args=(caller, served, tally, options)) for caller in range(callers)]
    began, before = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took, computed = time.perf_counter() - began, time.process_time() - before
    ordered = sorted(tally.first)
    extra: dict[str, float | str] = {
        "first sound p50, s": statistics.median(ordered),
        "p95, s": ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))],
        A_CPU_SECOND: tally.sound / computed,
        "ran dry": f"{sum(deficit > DEFICIT for deficit in tally.deficits)} of {len(ordered)}",
    }
    return TimedRow(name, [took], amount=tally.sound, extra=extra)


def call(caller: int, served: Served, tally: CallTally, options: argparse.Namespace) -> None:
    random = np.random.default_rng(caller)
    for number in range(options.requests):
        time.sleep(float(random.exponential(options.pause)))
        asked, playback, first = time.monotonic(), Playback(), 0.0
        for seconds in served(request(caller, number, options)):
            first = first or time.monotonic() - asked
            playback.sound(time.monotonic(), seconds)
        with tally.lock:
            tally.first.append(first)
            tally.deficits.append(playback.deficit)
            tally.sound += playback.sent


if __name__ == "__main__":
    main()
