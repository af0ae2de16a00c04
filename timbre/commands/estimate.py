"""Estimate how long each stage takes on a device, and how much memory training needs.

The minutes of audio are those of data/dataset, or of `--minutes`. Times that this machine measured in its last run of
the same voice (models/speed.json, reports/speed.json) are used as they are. All others are computed from the model's
shape and the device's speed, and are marked so. Training is counted with all its epochs; it may stop earlier.

With --prompts it says instead how many sentences the report needs for intervals of a wished width, from the variance of
this voice's samples (reports/scores.csv).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import shutil
import statistics
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from timbre.commands.options import add_json
from timbre.core import params
from timbre.core.errors import DataError
from timbre.core.records import Example, read_jsonl
from timbre.core.sections import GenerateParams, Settings, TrainParams, VoiceParams
from timbre.evaluation import score_rows
from timbre.evaluation.measures import BY_NAME
from timbre.evaluation.sentences_needed import NeededSentences, needed
from timbre.families import family
from timbre.families.shape import Shape, WaveShape
from timbre.project import prompts
from timbre.report.columns import columns
from timbre.report.numbers import plural
from timbre.training import cost_estimate, timing
from timbre.training.batches import epoch_clips
from timbre.training.cost_estimate import DEVICES, BatchShape, Device
from timbre.training.schedule import evaluation_steps

EXAMPLES = [
    ("timbre estimate", "the voice of params.yaml on this machine"),
    ("timbre estimate --minutes 60 --model csm-1b --device h200", "an hour of audio, CSM-1B, a GPU"),
    ("timbre estimate --prompts 2", "how many sentences tell wrong words to ±2 of 100"),
]
PRESETS, TINY = Path("presets"), VoiceParams("csm", "models/tiny/csm", None)
DATASET, SCORES = Path("data/dataset"), Path("reports/scores.csv")
POINTS = 3.0  # of 100: half of the interval that is wished
TRAINED, SPOKEN, ADAPTER = Path("models/speed.json"), Path("reports/speed.json"), Path("models/adapter")
CHARACTERS = 15  # a second of speech
TOKEN = 4  # characters of text
FILLED = 0.7  # of chunk.max_seconds, that a clip is long on the average
PADDED = 1.05  # clips of a batch are of like length
CONDITIONS = 4  # that `generate` speaks each prompt in
MEASURED, COMPUTED = "measured in the last run", "computed"


class CostLine(NamedTuple):
    what: str  # the stage
    seconds: float
    work: str
    source: str


@dataclasses.dataclass(frozen=True)
class CostEstimate:
    voice: str
    data: str
    device: str
    lines: list[CostLine]
    memory: dict[str, float]  # bytes, by what they are for
    available: float  # bytes
    advice: list[str]  # where the memory does not suffice
    basis: str  # of what is computed: what its speeds are taken from

    @property
    def needed(self) -> float:
        return sum(self.memory.values())


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, metavar="M", help="minutes of audio in the dataset (what is there)")
    parser.add_argument("--model", metavar="NAME", help="a file of presets/, or tiny (the model in params.yaml)")
    parser.add_argument("--device", choices=["cpu", *DEVICES], help="device (that of this machine)")
    parser.add_argument(
        "--prompts", type=float, nargs="?", const=POINTS, metavar="POINTS",
        help=f"instead, how many sentences give intervals of ±POINTS of 100 ({POINTS:g})",
    )  # fmt: skip
    add_json(parser)


def command(args: argparse.Namespace) -> int:
    if args.prompts is not None:
        return sentences(args)
    if args.minutes is not None and not args.minutes > 0:
        raise DataError(f"--minutes {args.minutes}: is not above 0")
    costs = estimate(settings_of(args.model), args)
    print(json.dumps(as_dict(costs), indent=1, sort_keys=True) if args.json else "\n".join(shown(costs)))
    return 0


def sentences(args: argparse.Namespace) -> int:
    if not args.prompts > 0:
        raise DataError(f"--prompts {args.prompts:g}: is not above 0")
    if not SCORES.is_file():
        raise DataError(f"{SCORES}: is missing; `dvc repro` makes it, `dvc pull` brings it")
    try:
        rows = needed(score_rows.read(SCORES.read_bytes()), args.prompts / 100)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{SCORES}: is no table of scores; `dvc repro evaluate` makes it again") from error
    if args.json:
        print(json.dumps([dataclasses.asdict(row) for row in rows], indent=1, sort_keys=True))
    else:
        print("\n".join(told(rows, args.prompts)))
    return 0


def told(rows: Sequence[NeededSentences], points: float) -> Iterator[str]:
    if not rows:
        yield f"{SCORES} has fewer than two sentences of tuned + cloning; write more into {prompts.PATH}"
        return
    yield f"sentences for intervals of ±{points:g} of 100, from those of {SCORES}"
    table = [("", "now", "with", f"for ±{points:g}")]
    for row in rows:
        against = f", against {row.other.replace('_', ' + ')}" if row.other else ""
        measure = BY_NAME[row.measure].title
        table.append((measure + against, f"±{100 * row.half:.1f}", str(row.sentences), str(row.needed)))
    yield from columns(table)
    yield f"\nwrite them into {prompts.PATH}; more takes of the same sentences (generate.seeds) tell less"


def settings_of(model: str | None) -> Settings:
    if model is None:
        return params.read()
    if model == "tiny":
        return dataclasses.replace(params.read(), voice=TINY)
    if not (preset := PRESETS / f"{model}.yaml").is_file():
        names = ", ".join(["tiny", *sorted(path.stem for path in PRESETS.glob("*.yaml"))])
        raise DataError(f"--model {model}: there is no such model; there are {names}")
    return params.read(preset)


def estimate(settings: Settings, args: argparse.Namespace) -> CostEstimate:
    base = settings.voice.base
    shape, here = cost_estimate.read_shape(settings.voice.family, base), this_machine()
    if not settings.sovits.stage2:
        shape = shape._replace(waves=None)
    device = here if args.device is None else _cpu() if args.device == "cpu" else DEVICES[args.device]
    train, held = clips(settings, args.minutes)
    as_here = device == here and base == params.read().voice.base
    batch = mean_batch(shape, settings, train)
    talks = clips_of_an_epoch(settings.train, len(train), args.minutes)
    lines = list(_lines(settings, shape, device, train, held, batch, talks, as_here))
    memory = _memory(shape, batch, settings.train, device)
    return CostEstimate(
        voice=f"{base}, {shape.weights / 1e6:,.0f} million weights",
        data=f"{sum(c for c, _ in train + held) / 60:.1f} minutes in {len(train + held)} clips, "
        f"{len(held)} of them held out",
        device=device.name,
        lines=lines,
        memory=memory,
        available=device.memory,
        advice=list(_advice(shape, batch, settings.train, device)),
        basis=device.basis,
    )


Clips = list[tuple[float, int]]
"""Seconds and characters of each."""


def clips(settings: Settings, minutes: float | None) -> tuple[Clips, Clips]:
    """To learn from and held out; of the dataset, or as many of usual length as make up the minutes."""
    if minutes is None:
        tables = [DATASET / "train.jsonl", DATASET / "eval.jsonl"]
        if not all(table.is_file() for table in tables):
            raise DataError(f"{DATASET}: there is no dataset yet; `dvc repro dataset` makes it, or say --minutes")
        train, held = ([(row.seconds, len(row.text)) for row in read_jsonl(table, Example)] for table in tables)
        return train, held
    seconds = min(FILLED * settings.chunk.max_seconds, minutes * 60)
    count = max(2, round(minutes * 60 / seconds))
    aside = max(1, round(count * settings.dataset.eval_share))
    every = [(minutes * 60 / count, round(CHARACTERS * seconds))] * count
    return every[aside:], every[:aside]


def clips_of_an_epoch(section: TrainParams, clips: int, minutes: float | None) -> int:
    """With minutes alone, nobody knows how they are shared among speakers."""
    if minutes is not None or section.speakers == "recorded":
        return clips
    return epoch_clips([row.source for row in read_jsonl(DATASET / "train.jsonl", Example)], equal=True)


def mean_batch(shape: Shape, settings: Settings, rows: Clips) -> BatchShape:
    train = settings.train
    count = min(train.batch, len(rows))
    frames, positions = _means(shape, rows)
    longest = train.context_seconds * shape.frame_rate
    before = [row for row in rows if row[0] * shape.frame_rate <= longest]
    context = train.context_share * _means(shape, before)[1] if before else 0
    share = family(settings.voice.family).whole_frames(getattr(settings, settings.voice.family))
    whole = min(frames, frames * share + 1)  # the last frame, the end, is always among them
    return BatchShape(count, PADDED * (positions + context), count * frames, count * whole)


def _means(shape: Shape, rows: Clips) -> tuple[float, float]:
    """Frames, and positions with the text, of a clip."""
    frames = statistics.fmean(seconds * shape.frame_rate + 1 for seconds, _ in rows)
    return frames, frames + statistics.fmean(characters / TOKEN + 4 for _, characters in rows)


def _lines(
    settings: Settings, shape: Shape, device: Device, train: Clips, held: Clips, batch: BatchShape, talks: int,
    here: bool,
) -> Iterator[CostLine]:  # fmt: skip
    whisper = cost_estimate.listener(settings.whisper.model)
    pace = device.pace(whisper.weights)
    every = train + held
    seconds = sum(length for length, _ in every)
    windows = math.ceil(seconds / 30)
    yield CostLine(
        "transcribe", windows * cost_estimate.hearing_window(whisper, 30) / pace, f"{windows} windows", COMPUTED
    )
    hearing = sum(cost_estimate.hearing_window(whisper, length) for length, _ in every)
    yield CostLine("check", hearing / pace, f"{len(every)} clips", COMPUTED)
    encoding = seconds * shape.codec.encoding
    codec = device.pace(shape.codec.weights, half=False)
    yield CostLine("encode", encoding / codec, f"{seconds / 60:.1f} minutes", COMPUTED)
    yield _training(settings.train, shape, device, talks, held, batch, here)
    if shape.waves:
        yield _waves(settings, shape.waves, device, train, talks)
    texts = _prompts(settings.generate, held)
    yield _generation(settings.generate, shape, device, texts, here)
    spoken = [0.06 * length for length in texts]
    listening = sum(cost_estimate.hearing_window(whisper, length) for length in spoken)
    yield CostLine("evaluate", listening / pace, f"{len(texts)} samples heard", COMPUTED)


def _training(
    section: TrainParams, shape: Shape, device: Device, talks: int, held: Clips, batch: BatchShape, here: bool
) -> CostLine:
    pace = device.pace(shape.weights)
    steps = math.ceil(section.epochs * math.ceil(talks / section.batch) / section.accumulation)
    steps = min(steps, section.max_steps or steps)
    work = cost_estimate.learning_step(shape, batch, section.rank, section.gradient_checkpointing)
    step, source = section.accumulation * work / pace, COMPUTED
    if here and (rows := timing.read(TRAINED, ADAPTER)):
        step, source = statistics.median(row["seconds"] for row in rows), _measured(len(rows), "step")
    frames, positions = _means(shape, held)
    clips = min(len(held), section.eval_clips)
    whole = BatchShape(clips, PADDED * positions, clips * frames, clips * frames)
    exam = cost_estimate.hearing_step(shape, whole, section.rank)
    every = evaluation_steps(section.eval_every, exam, section.accumulation * work, section.eval_cost)
    looks = math.ceil(steps / every) + 1 + (len(held) / clips if len(held) > clips else 0)  # all of them, once
    evaluation = looks * exam / pace
    said = f"{steps} steps at most, {_duration(step)} each, and {math.ceil(looks)} evaluations"
    return CostLine("train", steps * step + evaluation, said, source)


def _waves(settings: Settings, waves: WaveShape, device: Device, train: Clips, talks: int) -> CostLine:
    section, batch = settings.train, min(settings.train.batch, len(train))
    steps = math.ceil(settings.sovits.stage2_epochs * math.ceil(talks / section.batch) / section.accumulation)
    steps = min(steps, section.max_steps or steps)
    seconds = statistics.fmean(length for length, _ in train)
    work = section.accumulation * batch * (waves.segment + waves.second * seconds)
    step = work / device.pace(waves.weights)
    return CostLine("train stage 2", steps * step, f"{steps} steps at most, {_duration(step)} each", COMPUTED)


def _generation(section: GenerateParams, shape: Shape, device: Device, texts: Sequence[int], here: bool) -> CostLine:
    speech = sum(0.06 * length for length in texts)
    slots = min(section.batch, len(texts))
    frame, source = cost_estimate.speaking_frame(shape, slots, device), COMPUTED
    factor = frame * shape.frame_rate / slots
    if here and (measured := _real_time_factor()):
        factor, source = measured[0], _measured(measured[1], "sample")
    work = f"{len(texts)} samples, {speech / 60:.1f} minutes at {1 / factor:,.3g}× real time"
    return CostLine("generate", speech * factor, work, source)


def _prompts(section: GenerateParams, held: Clips) -> list[int]:
    """Characters of every sample."""
    table = prompts.PATH
    texts = [len(prompt.text) for prompt in prompts.read_prompts(table)] if table.is_file() else [60] * 12
    texts += [characters for _, characters in held[: section.true_prompts]]
    return [length for length in texts for _ in range(CONDITIONS * len(section.seeds))]


def _real_time_factor() -> tuple[float, int] | None:
    """And of how many samples."""
    try:
        speed = json.loads(SPOKEN.read_bytes())
        return float(speed["real_time_factor"]), int(speed.get("samples", 0))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _memory(shape: Shape, batch: BatchShape, section: TrainParams, device: Device) -> dict[str, float]:
    """Of the training that needs most."""
    half = device.half if section.precision == "auto" else section.precision == "bf16"
    small = section.optimiser == "adamw_8bit"
    first = cost_estimate.learning_memory(
        shape, batch, section.rank, half=half, checkpointing=section.gradient_checkpointing, small_optimiser=small
    )
    if shape.waves is None:
        return first
    second = cost_estimate.wave_memory(shape, shape.waves, batch.clips, half=half, small_optimiser=small)
    return max(first, second, key=lambda parts: sum(parts.values()))


def _advice(shape: Shape, batch: BatchShape, section: TrainParams, device: Device) -> Iterator[str]:
    """Changes, the cheapest first, until it fits."""
    tried = section
    if sum(_memory(shape, batch, tried, device).values()) <= device.memory:
        return
    changes: tuple[tuple[str, Any], ...] = (("gradient_checkpointing", True), ("optimiser", "adamw_8bit"))
    for key, value in changes:
        if getattr(tried, key) != value and (key != "optimiser" or device.half):
            tried = dataclasses.replace(tried, **{key: value})
            yield f"train.{key}: {json.dumps(value)}"
            if sum(_memory(shape, batch, tried, device).values()) <= device.memory:
                return
    count = batch.clips
    while count > 1:
        count //= 2
        part = count / batch.clips
        smaller = BatchShape(count, batch.positions, batch.frames * part, batch.whole_frames * part)
        if sum(_memory(shape, smaller, tried, device).values()) <= device.memory:
            yield f"train.batch: {count}, with train.accumulation: {math.ceil(batch.clips / count)}"
            return
    yield "a device with more memory; even one clip at a time does not fit"


def this_machine() -> Device:
    """A GPU of the table by its name, else the cores."""
    name = ""
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        name = subprocess.run(query, capture_output=True, text=True, check=False).stdout.lower()
    return next((device for key, device in DEVICES.items() if key in name), _cpu())


def _cpu() -> Device:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return cost_estimate.cpu(os.cpu_count() or 1, memory)


def shown(costs: CostEstimate) -> Iterator[str]:
    yield from columns([(name, getattr(costs, name)) for name in ("voice", "data", "device")])
    yield ""
    stages = [(line.what, _duration(line.seconds), f"{line.work} ({_source(line.source)})") for line in costs.lines]
    yield from columns([*stages, ("together", _duration(sum(line.seconds for line in costs.lines)), "")])
    parts = ", ".join(f"{name} {size / cost_estimate.GB:.1f}" for name, size in costs.memory.items())
    needed, available = costs.needed / cost_estimate.GB, costs.available / cost_estimate.GB
    yield f"\nmemory  {needed:.1f} of {available:.0f} GB: {parts} ({_source(COMPUTED)})"
    yield f"basis   {costs.basis}"
    if costs.advice:
        yield "does not fit; change " + ", then ".join(costs.advice)


def _measured(count: int, noun: str) -> str:
    """A few samples are no rate: whoever plans by it knows of how many it is."""
    return f"{MEASURED}, over {plural(count, noun)}" if count else MEASURED


def _source(source: str) -> str:
    return f"{source}, not measured" if source == COMPUTED else source


def as_dict(costs: CostEstimate) -> dict[str, Any]:
    lines = {line.what: line._asdict() | {"seconds": round(line.seconds, 3)} for line in costs.lines}
    memory = {name: round(size / cost_estimate.GB, 3) for name, size in costs.memory.items()}
    return {
        "voice": costs.voice, "data": costs.data, "device": costs.device, "basis": costs.basis, "stages": lines,
        "memory_gb": memory,
        "available_gb": round(costs.available / cost_estimate.GB, 1), "advice": costs.advice,
    }  # fmt: skip


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.2g} s" if seconds >= 0.1 else f"{seconds * 1e3:.2g} ms"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
