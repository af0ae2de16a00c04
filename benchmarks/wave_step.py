"""GPT-SoVITS' stage 2: a step of generator against discriminators, as upstream takes it and as we do, in one run.

    python -m benchmarks.wave_step                         # 10 minutes of one core, 6 GB
    python -m benchmarks.wave_step --sizes small --runs 1

Weights are random, in single precision on a CPU; counted is the processor's time. `small` has a quarter of v2's widths,
the others have the released sizes. Each step is the released recipe whole: mel, KL divergence, feature matching and
adversarial losses, then both optimisers' steps. Both ways are our own modules, which give upstream's losses and
gradients (tests/models/parity), so recipes are compared, not two implementations. Spectrograms of the clips are made by
both, and not counted.

- Upstream's trainer makes a batch's codes from HuBERT's states in each step. While the generator learns, gradients of
  the discriminators' weights are computed, too, and thrown away.
- Ours has the codes from `encode`, and computes gradients of the generator's weights alone while it learns.

Either way, a step goes through the generator once, and its discriminators learn from the same sound as it does.
`GFLOP` are the operations of a step's products, as torch counts them.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import table
from benchmarks.code_voices import STAGE2, UPSTREAM, once
from benchmarks.table import ResultTable, TimedRow
from timbre.core.sections import SovitsParams
from timbre.families.sovits.courses import BETAS, Stage2Course, WaveBatch, learnt
from timbre.families.sovits.discriminators import (
    PERIODS,
    Discriminators,
    adversarial_loss,
    discriminator_loss,
    feature_loss,
)
from timbre.families.sovits.encoders import Widths
from timbre.families.sovits.spectrogram import BINS, HOP, Spectrograms
from timbre.families.sovits.stage2 import FRAMES, SPEAKER, Stage2, Stage2Batch, mel_distance, prior_divergence
from timbre.families.sovits.text import PHONES
from timbre.training.optimisers import take_step

FRAME_RATE = 50  # Hz
PHONE_RATE = 12  # a second of speech
SEGMENT = 20_480  # samples of a clip that become sound in a step
PRO = {"gin_channels": 1024, "version": "v2Pro"}
SIZES: dict[str, dict[str, Any]] = {
    "small": {
        "inter_channels": 48, "hidden_channels": 48, "filter_channels": 192, "upsample_initial_channel": 128,
        "gin_channels": 512,
    },
    "v2": {},
    "v2Pro": PRO,
    "v2ProPlus": PRO | {
        "version": "v2ProPlus", "upsample_initial_channel": 768, "upsample_kernel_sizes": [20, 16, 8, 2, 2],
    },
}  # fmt: skip
NARROWER = {"small": 4}  # times, of the discriminators
OWN = SovitsParams(
    stage2=True, stage2_learning_rate=1e-4, stage2_epochs=8, text_rate=0.4, mel_weight=45, divergence_weight=1.0
)


def main() -> None:
    table.run("wave_step", __doc__, arguments, measure)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["small", "v2", "v2Pro"])
    parser.add_argument("--runs", type=int, default=3, help="of each, after a warm-up")
    parser.add_argument("--seconds", type=float, default=4.0, help="of a clip")
    parser.add_argument("--batch", type=int, default=1, help="clips of a step")


def measure(options: argparse.Namespace) -> Iterator[ResultTable]:
    torch.set_num_threads(1)  # threads that wait for each other are counted as work
    for size in options.sizes:
        shape = options.batch, options.seconds
        steps = {name: way(*random_step(size, torch.device("cpu"), *shape)) for name, way in WAYS.items()}
        seconds = used_by_turns(steps, options.runs)
        rows = []
        for name, way in WAYS.items():
            counted = {"GFLOP": operations(way, size, *shape) / 1e9}
            rows.append(TimedRow(name, seconds[name], options.batch * options.seconds, extra=counted))
        title = f"GPT-SoVITS {size}, stage 2: a step of {options.batch} clips of {options.seconds:g} s"
        yield ResultTable(title, rows, baseline=UPSTREAM, unit="CPU s", rate="s of clips a second")
        del steps
        gc.collect()


def used_by_turns(steps: Mapping[str, Callable[[], None]], runs: int) -> dict[str, list[float]]:
    """The processor's seconds of each run, after a warm-up; turn by turn, so that a busy minute falls on all alike."""
    rounds = [{name: once(step) for name, step in steps.items()} for _ in range(1 + runs)]
    return {name: [each[name] for each in rounds[1:]] for name in steps}


def random_step(
    size: str, device: torch.device, clips: int = 1, seconds: float = 4.0
) -> tuple[Stage2Course, WaveBatch, Tensor]:
    """A course, a batch of it, and HuBERT's states of its clips."""
    torch.manual_seed(0)
    sizes = STAGE2 | SIZES[size]
    with device:
        stage2 = Stage2({"model": sizes, "train": {"segment_size": SEGMENT}}, PHONES)
        judges = Discriminators(PERIODS["v2Pro" if stage2.pro else "v2"], NARROWER.get(size, 1))
        frames = round(seconds * FRAME_RATE) // FRAMES * FRAMES
        lengths = [torch.full((clips,), count) for count in (frames, round(PHONE_RATE * seconds))]
        batch = Stage2Batch(
            torch.randint(0, 1024, (clips, frames // FRAMES)), torch.rand(clips, BINS, frames), lengths[0],
            torch.randint(0, PHONES, (clips, round(PHONE_RATE * seconds))), lengths[1],
            torch.randn(clips, stage2.latents, frames), [frames // 4] * clips,
            torch.randn(clips, SPEAKER) if stage2.pro else None,
        )  # fmt: skip
        waves = WaveBatch(batch, 0.1 * torch.randn(clips, stage2.segment * HOP), torch.ones(()))
        hubert = torch.randn(clips, Widths().hubert, frames)
    voice: Any = SimpleNamespace(stage2=stage2, device=device, spectrograms=Spectrograms().to(device))
    stage2.requires_grad_(False)
    for weight in learnt(stage2).values():
        weight.requires_grad_(True)
    return Stage2Course(voice, judges, OWN), waves, hubert


def upstream(course: Stage2Course, waves: WaveBatch, hubert: Tensor) -> Callable[[], None]:
    judging, generating = course.objectives
    stage2, judges = course.voice.stage2, course.judges
    optimisers = [optimiser(course, number) for number in (0, 1)]

    def step() -> None:
        batch = waves.batch._replace(codes=stage2.codes(hubert))
        made = stage2.learn(batch)
        recorded = waves.recorded[:, None]
        optimisers[0].zero_grad()
        discriminator_loss(judges(recorded), judges(made.sound.detach()[:, None])).backward()
        take_step(judging, optimisers[0], OWN.stage2_learning_rate, 1.0)
        optimisers[1].zero_grad()
        real, generated = judges(recorded), judges(made.sound[:, None])
        total = OWN.mel_weight * mel_distance(course.spectrograms, made, batch) + prior_divergence(made, batch.frames)
        (total + feature_loss(real, generated) + adversarial_loss(generated)).backward()
        take_step(generating, optimisers[1], OWN.stage2_learning_rate, 1.0)

    return step


def ours(course: Stage2Course, waves: WaveBatch, hubert: Tensor) -> Callable[[], None]:
    pairs = [(objective, optimiser(course, number)) for number, objective in enumerate(course.objectives)]

    def step() -> None:
        for objective, its in pairs:
            its.zero_grad()
            objective.losses(waves).total.backward()
            take_step(objective, its, OWN.stage2_learning_rate, 1.0)

    return step


def optimiser(course: Stage2Course, number: int) -> Any:
    group = {"params": list(course.objectives[number].weights), "share": 1.0}
    return torch.optim.AdamW([group], OWN.stage2_learning_rate, BETAS)


def operations(way: Callable[..., Callable[[], None]], size: str, clips: int, seconds: float) -> int:
    step = way(*random_step(size, torch.device("meta"), clips, seconds))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # others are not counted on a CPU
        step()
    return int(counter.get_total_flops())


WAYS = {UPSTREAM: upstream, "ours": ours}

if __name__ == "__main__":
    main()
