"""What each stage costs on a device, and how much memory its training needs, as `timbre estimate` tells.

costs = estimated(params.read(), None, cost_estimate.DEVICES["h200"], as_here=False)
"""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from timbre.core.errors import DataError
from timbre.core.records import Example, read_jsonl
from timbre.core.sections import GenerateParams, Settings, TrainParams
from timbre.evaluation.speaker_similarity import SUFFIXES
from timbre.families import family
from timbre.families.shape import Shape, WaveShape
from timbre.project import prompts
from timbre.report.numbers import plural
from timbre.training import cost_estimate, timing
from timbre.training.batches import epoch_clips
from timbre.training.cost_estimate import START, BatchShape, Device
from timbre.training.schedule import evaluation_steps

DATASET = Path("data/dataset")
TRAINED, SPOKEN, ADAPTER = Path("models/speed.json"), Path("reports/speed.json"), Path("models/adapter")
CHARACTERS = 15  # a second of speech
TOKEN = 4  # characters of text
FILLED = 0.7  # of chunk.max_seconds, that a clip is long on the average
PADDED = 1.05  # clips of a batch are of like length
STAGE2 = "train stage 2"  # in the same process as the first
CONDITIONS = 4  # that `generate` speaks each prompt in
WINDOW = 30  # seconds that Whisper hears at once
WORD_TIMES = 1.1  # of the time without: the decoder reads all of its tokens once more, and is asked where it looked
ENCODED, WRITTEN = 0.04, 0.01  # seconds of a CPU for a clip's codes or a sample, beside what grows with its length
RECORDED = 1.2  # seconds of a recording for each of its clips: pauses, and what is left out
REFERENCE = 8  # seconds of a clip that a sample clones
OTHER_ADAPTER = 0.15  # seconds of a CPU until a small model has another adapter, and has heard its reference
TEXT = 60  # characters of a prompt where there is no table
SPOKEN_SECONDS = 0.06  # that speech takes for a character
# Seconds of a CPU for a second of sound: to bring it, to find speech with silero, to cut and measure it, and to make
# the picture and the MP3 of the report. Measured of the demo.
FETCHED, SILERO, CUT, PICTURED = 0.001, 0.0025, 0.004, 0.011
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


def estimated(settings: Settings, minutes: float | None, device: Device, *, as_here: bool) -> CostEstimate:
    """`as_here`: what this machine measured of this voice counts."""
    base = settings.voice.base
    shape = cost_estimate.read_shape(settings.voice.family, base)
    if not settings.sovits.stage2:
        shape = shape._replace(waves=None)
    train, held = clips(settings, minutes)
    batch = mean_batch(shape, settings, train)
    talks = clips_of_an_epoch(settings.train, len(train), minutes)
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
    every = train + held
    lengths = [length for length, _ in every]
    seconds = sum(lengths)
    recorded = RECORDED * seconds
    minutes = f"{recorded / 60:.1f} minutes"
    hashed = cost_estimate.hashing(settings.voice.base)
    loaded = hashed + cost_estimate.loading(shape, device)
    alone = family(settings.voice.family).load_codec is not None
    codec = hashed + cost_estimate.loading_codec(shape, device) if alone else loaded
    yield _computed("fetch", "plain", FETCHED * recorded, minutes)
    yield _transcription(settings, device, recorded)
    yield _computed("segment", "plain", 0, f"{len(every)} clips")
    vad = settings.chunk.vad == "silero"
    yield _computed("chunk", "plain", recorded * (CUT + SILERO * vad), minutes)
    ear = cost_estimate.EARS.get(settings.speaker.model, cost_estimate.WAVLM)
    whisper = cost_estimate.listener(settings.whisper.model)
    heard = cost_estimate.hearing(whisper, lengths, settings.check.batch, device)
    heard += cost_estimate.embedding(ear, lengths, device)
    yield _computed("check", "torch", heard, f"{len(every)} clips heard")
    yield _computed("dataset", "plain", 0, f"{len(every)} clips")
    encoded = seconds * shape.codec.encoding / device.hearing_pace(shape.codec) + ENCODED * len(every)
    yield _computed("encode", "voice", codec + encoded, f"{len(every)} clips")
    yield _started(_training(settings.train, shape, device, talks, held, batch, here), "voice", loaded)
    if shape.waves:
        yield _waves(settings, shape.waves, device, train, talks)
    texts = _prompts(settings.generate, held)
    speaks = cost_estimate.loading(shape, device, speaks=True)
    tuned = speaks + cost_estimate.adding(shape, device)
    yield _started(_generation(settings.generate, shape, device, texts, here), "voice", hashed + speaks + tuned)
    yield _points(settings, shape, device, hashed, tuned)
    spoken = [SPOKEN_SECONDS * length for length in texts]
    judged = cost_estimate.hearing(whisper, spoken, settings.evaluate.batch, device)
    # The clips that were held back are judged as they are and as the codec says them again, between other voices.
    true = [length for length, _ in held]
    strange = [statistics.fmean(true)] * _sounds_in(Path(settings.evaluate.others))
    judged += cost_estimate.embedding(ear, [*spoken, *true, *true, *strange], device) + sum(true) * _sound(
        shape, device
    )
    yield _computed("evaluate", "judge", codec + judged, f"{len(texts)} samples heard")
    yield _computed("report", "plain", PICTURED * sum(spoken), f"{len(texts)} samples shown")
    yield _computed("track", "mlflow", 0, "one run")


def _sounds_in(folder: Path) -> int:
    return sum(path.suffix in SUFFIXES for path in folder.rglob("*"))


def _computed(what: str, start: str, seconds: float, work: str) -> CostLine:
    return CostLine(what, START[start] + seconds, work, COMPUTED)


def _started(line: CostLine, start: str, loaded: float) -> CostLine:
    return line._replace(seconds=START[start] + loaded + line.seconds)


def _transcription(settings: Settings, device: Device, seconds: float) -> CostLine:
    """Windows one after the other, each with the times of its words."""
    windows = math.ceil(seconds / WINDOW)
    whisper = cost_estimate.listener(settings.whisper.model)
    heard = WORD_TIMES * cost_estimate.hearing(whisper, [seconds / windows] * windows, 1, device)
    aligned = SILERO * seconds if settings.transcribe.align else 0
    return _computed("transcribe", "torch", heard + aligned, f"{windows} windows")


def _points(settings: Settings, shape: Shape, device: Device, hashed: float, tuned: float) -> CostLine:
    """A sentence by each adapter on the way, one at a time; the best has spoken it already. `tuned`: seconds until the
    model with another adapter is there."""
    points = settings.train.points - 1
    table = prompts.PATH
    text = len(prompts.read_prompts(table)[0].text) if table.is_file() else TEXT
    spoken = SPOKEN_SECONDS * text
    factor = cost_estimate.speaking_frame(shape, 1, device) * shape.frame_rate + _sound(shape, device)
    read = cost_estimate.reading(shape, [REFERENCE * shape.frame_rate, text / TOKEN + 4], device)
    each = tuned + OTHER_ADAPTER + read + spoken * factor
    start = START["voice"] + hashed if points else START["plain"]
    return CostLine("listen", start + points * each, f"{points} points", COMPUTED)


def _sound(shape: Shape, device: Device) -> float:
    """Seconds that the codec takes for one of sound."""
    return shape.codec.decoding / device.pace(shape.codec.weights, half=False)


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
    said = f"{steps} steps at most, {duration(step)} each, and {math.ceil(looks)} evaluations"
    return CostLine("train", steps * step + evaluation, said, source)


def _waves(settings: Settings, waves: WaveShape, device: Device, train: Clips, talks: int) -> CostLine:
    section, batch = settings.train, min(settings.train.batch, len(train))
    steps = math.ceil(settings.sovits.stage2_epochs * math.ceil(talks / section.batch) / section.accumulation)
    steps = min(steps, section.max_steps or steps)
    seconds = statistics.fmean(length for length, _ in train)
    work = section.accumulation * batch * (waves.segment + waves.second * seconds)
    step = work / device.pace(waves.weights)
    return CostLine(STAGE2, steps * step, f"{steps} steps at most, {duration(step)} each", COMPUTED)


def _generation(section: GenerateParams, shape: Shape, device: Device, texts: Sequence[int], here: bool) -> CostLine:
    speech = sum(SPOKEN_SECONDS * length for length in texts)
    # The base's sentences, then those of the tuned voice; a slot without a sentence computes too.
    slots = min(section.batch, len(texts) // 2)
    frame, source = cost_estimate.speaking_frame(shape, section.batch, device), COMPUTED
    factor = frame * shape.frame_rate / slots + _sound(shape, device)
    if here and (measured := _real_time_factor()):
        factor, source = measured[0], _measured(measured[1], "sample")
    work = f"{len(texts)} samples, {speech / 60:.1f} minutes at {1 / factor:,.3g}× real time"
    if source != COMPUTED:
        return CostLine("generate", speech * factor, work, source)
    # Each text is read alone, and the clip that is cloned once by each of the two voices.
    before = [*2 * [REFERENCE * shape.frame_rate], *(length / TOKEN + 4 for length in texts)]
    read = cost_estimate.reading(shape, before, device)
    return CostLine("generate", speech * factor + read + WRITTEN * len(texts), work, source)


def _prompts(section: GenerateParams, held: Clips) -> list[int]:
    """Characters of every sample."""
    table = prompts.PATH
    texts = [len(prompt.text) for prompt in prompts.read_prompts(table)] if table.is_file() else [TEXT] * 12
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


def _measured(count: int, noun: str) -> str:
    """A few samples are no rate: whoever plans by it knows of how many it is."""
    return f"{MEASURED}, over {plural(count, noun)}" if count else MEASURED


def duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.2g} s" if seconds >= 0.1 else f"{seconds * 1e3:.2g} ms"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
