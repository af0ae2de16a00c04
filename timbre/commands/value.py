"""Show which clips and lines likely harm the voice, which help it, and what to do about each.

Compares, for each training clip, what it teaches with what the held-out sentences need, by the gradients of the adapter
at a few steps of its training, and what Whisper hears with what is written. Nothing is trained. The result is kept in
reports/value.json, which `timbre review` sorts lines by and `timbre report` shows; it is computed again when the clips,
the texts or the adapter are others.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from timbre import families
from timbre.commands.options import add_count, add_json
from timbre.core.content import content_key, file_sha256
from timbre.core.errors import DataError
from timbre.core.params import read
from timbre.core.records import ADAPTER_WEIGHTS, Example, Label, read_jsonl
from timbre.core.safe_text import print_json, visible
from timbre.core.sections import Settings
from timbre.project import worth as clip_worth
from timbre.project.worth import DOUBTFUL, PATH, Worth, WorthRow
from timbre.report.columns import columns
from timbre.training.batches import Utterance, check_lengths, utterances
from timbre.training.influence import Influence, Moment, influences, read_moments
from timbre.training.schedule import asked
from timbre.versions import dvc_lock, lenient_rows

EXAMPLES = [
    ("timbre value", "the ten most harmful clips, and what to do"),
    ("timbre value -n 30", "more of them"),
    ("timbre value --json | jq '.rows[0]'", "all clips, for a program"),
]
VERSION = 1  # raise when the code gives another worth for the same input
DATASET, CODES, LABELS = Path("data/dataset"), Path("data/codes"), Path("data/labels.jsonl")
ADAPTER, POINTS = Path("models/adapter"), Path("models/points")
HELPFUL = 3  # shown


def arguments(parser: argparse.ArgumentParser) -> None:
    add_count(parser, "clips", 10)
    add_json(parser)


def command(args: argparse.Namespace) -> int:
    worth = computed(read())
    if args.json:
        print_json(as_dict(worth))
    else:
        print("\n".join(lines(worth, args.n)))
    return 0


def computed(settings: Settings) -> Worth:
    """As it was kept where nothing has changed since."""
    for name in ("train", "eval"):
        if not (path := DATASET / f"{name}.jsonl").exists():
            raise DataError(f"{path}: is missing; {dvc_lock.way_to(path)}")
    codes = CODES / settings.voice.family
    clips, keys = utterances(DATASET / "train.jsonl", codes)
    held, held_keys = utterances(DATASET / "eval.jsonl", codes)
    moments = read_moments(ADAPTER, POINTS)
    labels = {row.clip: row for row in read_jsonl(LABELS, Label)} if LABELS.exists() else {}
    learnt = [(clip.id, clip.speaker, clip.turn.text) for clip in [*clips, *held]]
    heard = [(clip.id, labels[clip.id].heard) for clip in clips if clip.id in labels]
    weights = [(moment.step, file_sha256(moment.file) if moment.file else "") for moment in moments]
    own = dataclasses.asdict(getattr(settings, settings.voice.family))
    doubtful = settings.dataset.doubtful_cer or DOUBTFUL
    given = [asked(settings.train), own, learnt, keys, held_keys, heard, weights, doubtful]
    key = content_key(VERSION, families.fingerprint(settings.voice), *given)
    if (kept := clip_worth.read(PATH)) and kept.key == key:
        return kept
    examples = {row.id: row for row in read_jsonl(DATASET / "train.jsonl", Example)}
    rows = clip_worth.judged(gradients(settings, moments, clips, held), examples, labels, doubtful)
    worth = Worth(key, file_sha256(ADAPTER / ADAPTER_WEIGHTS), [moment.step for moment in moments], rows)
    clip_worth.write(PATH, worth)
    return worth


def gradients(
    settings: Settings, moments: Sequence[Moment], clips: Sequence[Utterance], held: Sequence[Utterance]
) -> list[Influence]:
    import torch

    from timbre.core.running import settle
    from timbre.training.loop import autocast

    params = settings.train
    voice = families.load(settings.voice, precision=params.precision)
    settle(voice.model)
    check_lengths(voice, [*clips, *held])
    lora = families.Lora(params.rank, params.alpha, params.rslora, params.dropout)
    course = voice.courses(lora, getattr(settings, settings.voice.family))[0]
    torch.manual_seed(params.seed)
    course.meet([clip.turn for clip in clips])
    course.begin()
    return influences(course, moments, clips, held, precision=autocast(params), told=told)


def told(clips: Iterable[Utterance], step: int) -> Iterable[Utterance]:
    from tqdm import tqdm

    bar: Iterable[Utterance] = tqdm(clips, desc=f"value: at step {step}", unit="clip", dynamic_ncols=True)
    return bar


def lines(worth: Worth, count: int) -> Iterator[str]:
    doubtful = len(worth.doubtful)
    yield f"clips to listen to (harm of 1 or more): {doubtful} of {len(worth.rows)}; the most harmful come first"
    for row in worth.rows[:count]:
        yield f"\n{row.harm:.2f}  {row.advice}: {visible(row.why)}"
        yield from (f"     {place}" for place in columns(places(row)))
    if doubtful > count:
        yield f"\n{doubtful - count} more to listen to: timbre value -n {doubtful}"
    if best := worth.helpful[:HELPFUL]:
        yield "\nhelp most; record more like them (`timbre coverage` proposes sentences):"
        yield from (f"     {place}" for place in columns([places(row)[0] for row in best]))


def places(row: WorthRow) -> list[tuple[str, str, str]]:
    """File and number of each line in the clip, its time, its words; the clip's own where no transcript has it."""
    path = f"{lenient_rows.FOLDER}/{row.recording}.tsv"
    lines = lenient_rows.parse(Path(path).read_bytes(), path).rows if Path(path).exists() else ()
    inside = [lines[place] for place in clip_worth.lines_in(row, lines)]
    if not inside:
        return [(row.recording, span(row.start, row.end), visible(row.text))]
    return [(f"{path}:{line.number}", span(line.start, line.end), visible(line.text)) for line in inside]


def span(start: float, end: float) -> str:
    return f"{start:.2f}–{end:.2f}"


def as_dict(worth: Worth) -> dict[str, Any]:
    rows = [dataclasses.asdict(row) | {"harm": row.harm, "lines": places(row)} for row in worth.rows]
    return {"steps": worth.steps, "adapter": worth.adapter, "rows": rows}
