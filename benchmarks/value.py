"""Whether `timbre value` finds errors that were planted, and whether to mend what it names makes the voice better.

    python -m benchmarks.value [--draws 3] [--steps 110] [--only find]

It takes the outputs of `dvc repro` as they are here, in memory. In each draw a tenth of the training clips gets an
error, in four ways: a wrong word in the text, the text of another clip, the last quarter of the sound cut off, noise
10 dB below the speech. A voice learns from them; then the clips are ranked as `timbre value` does, by each of its
witnesses alone, and by simpler signs. Then what is named first, as many clips as were spoilt, is mended or dropped, and
a voice learns from the rest.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.table import ResultTable, TimedRow, run
from timbre import asr, audio, families
from timbre.asr.alignment import characters
from timbre.commands.value import gradients
from timbre.core import params
from timbre.core.records import Label, read_jsonl
from timbre.core.running import settle
from timbre.core.sections import Settings
from timbre.core.text import words
from timbre.families import Voice
from timbre.project import worth
from timbre.training.batches import Utterance, utterances
from timbre.training.courses import POINTS, learn
from timbre.training.influence import Influence, read_moments

DATASET, CODES, LABELS = Path("data/dataset"), Path("data/codes"), Path("data/labels.jsonl")
KINDS = ("wrong word", "other text", "cut end", "noise")
SHARE = 0.1  # of the clips, that get an error
KEPT = 0.75  # of the sound, before the cut
NOISE = 10 ** (-10 / 20)  # of the sound's own level
Scores = Mapping[str, npt.NDArray[np.float64]]  # sign → a number per clip, the highest first


@dataclass(frozen=True)
class PlantedDraw:
    """Clips of which some were spoilt."""

    true: list[Utterance]
    clips: list[Utterance]
    kinds: list[str]  # of the error; empty where there is none
    labels: dict[str, Label]  # as the check would write them now

    @property
    def planted(self) -> npt.NDArray[np.bool_]:
        return np.array([bool(kind) for kind in self.kinds])


@dataclass(frozen=True)
class TaughtVoice:
    loss: float  # on the held-out clips, at its best
    words: float  # the main decoder's part of it
    influences: list[Influence]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--draws", type=int, default=3, help="of errors, each learnt anew (3)")
    parser.add_argument("--steps", type=int, default=None, help="of each training (as params.yaml has it)")
    parser.add_argument("--only", choices=["find"], help="find: rank only, mend nothing")


def measure(options: argparse.Namespace) -> Iterator[ResultTable]:
    settings = params.read()
    settings = replace(settings, train=replace(settings.train, max_steps=options.steps or settings.train.max_steps))
    draws, scores, learnt = [], [], []
    for number in range(options.draws):
        draws.append(draw := plant(settings, number))
        learnt.append(one := taught(settings, draw.clips, traced=True))
        scores.append(signs(draw, one.influences))
    yield found(draws, scores)
    if options.only != "find":
        yield mended(settings, draws, scores, learnt)


def plant(settings: Settings, number: int) -> PlantedDraw:
    true, _ = utterances(DATASET / "train.jsonl", CODES / settings.voice.family)
    labels = {label.clip: label for label in read_jsonl(LABELS, Label)}
    draw = random.Random(f"errors {number}")
    right = [place for place, clip in enumerate(true) if labels[clip.id].cer == 0]
    count = round(SHARE * len(true) / len(KINDS))
    chosen = draw.sample(right, count * len(KINDS))
    clips, kinds = list(true), ["" for _ in true]
    known = sorted({word for clip in true for word in words(clip.turn.text)})
    voice = families.load_once(settings.voice)
    listener = asr.load(settings.whisper)
    for kind, places in zip(
        KINDS, (chosen[first : first + count] for first in range(0, len(chosen), count)), strict=False
    ):
        for place, other in zip(places, [*places[1:], *places[:1]], strict=True):
            clip, kinds[place] = true[place], kind
            if kind in KINDS[:2]:
                text = with_wrong_word(clip.turn.text, known, draw) if kind == KINDS[0] else true[other].turn.text
                clips[place] = clip._replace(turn=clip.turn._replace(text=text))
                heard = labels[clip.id].heard
            else:
                clips[place], heard = spoilt(clip, kind, voice, listener, draw)
            text = clips[place].turn.text
            labels[clip.id] = replace(
                labels[clip.id], text=text, heard=heard, cer=round(characters(text, heard, "en").rate, 4)
            )
    return PlantedDraw(true, clips, kinds, labels)


def with_wrong_word(text: str, known: Sequence[str], draw: random.Random) -> str:
    parts = text.split()
    place = draw.randrange(len(parts))
    (old,) = words(parts[place])
    new = draw.choice([word for word in known if word != old])
    parts[place] = (new.capitalize() if parts[place][0].isupper() else new) + parts[place][len(old) :]
    return " ".join(parts)


def spoilt(clip: Utterance, kind: str, voice: Voice, listener: Any, draw: random.Random) -> tuple[Utterance, str]:
    """The clip with other sound, and what Whisper hears in it."""
    assert clip.turn.clip, "a clip of the dataset has a file"
    sound, rate = audio.read(clip.turn.clip, voice.hearing_rate)
    if kind == "cut end":
        sound = sound[: int(KEPT * len(sound))]
    else:
        level = NOISE * float(np.sqrt(np.mean(sound**2)))
        noise = np.random.default_rng(draw.getrandbits(32)).normal(0, level, len(sound))
        sound = np.clip(sound + noise, -1, 1).astype(np.float32)
    (codes,) = voice.encode([sound])
    (heard,) = asr.hear(listener, [audio.resample(sound, rate, asr.SAMPLE_RATE)], [clip.turn.language or "en"])
    return clip._replace(seconds=len(sound) / rate, turn=clip.turn._replace(codes=codes)), heard.text


def taught(settings: Settings, clips: Sequence[Utterance], *, traced: bool = False) -> TaughtVoice:
    """A training on these clips, and with `traced` what each does to the held-out ones."""
    held, _ = utterances(DATASET / "eval.jsonl", CODES / settings.voice.family)
    own = getattr(settings, settings.voice.family)
    voice = families.load(settings.voice)
    settle(voice.model)
    with tempfile.TemporaryDirectory(prefix="timbre-value-") as scratch:
        folder = Path(scratch)
        (one,) = learn(voice, clips, held, settings.train, own, folder)
        state = one.state
        row = next(row for row in state.history if row["step"] == state.best_step)
        main = row.get("eval_loss/backbone", state.best_loss)
        if not traced:
            return TaughtVoice(state.best_loss, main, [])
        voice.save_adapter(folder / "adapter")
        (folder / "adapter/training.json").write_text(f'{{"best_step": {state.best_step}}}')
        moments = read_moments(folder / "adapter", folder / POINTS)
        return TaughtVoice(state.best_loss, main, gradients(settings, moments, clips, held))


def signs(draw: PlantedDraw, influences: Sequence[Influence]) -> Scores:
    """What a clip may be ranked by; the first is what `timbre value` does."""
    check = np.array([draw.labels[clip.id].cer for clip in draw.clips])
    losses, norms = (np.array([getattr(row, name) for row in influences]) for name in ("losses", "norms"))
    return {
        "label check and gradients": np.maximum(check / worth.DOUBTFUL, worth.pulls(influences)),
        "label check alone": check,
        "gradients alone": np.array(worth.length_and_direction(influences)),
        "inner product with the held-out gradient": -np.array([row.gains for row in influences]).mean(1),
        "cosine with it": -np.array([row.alignments for row in influences]).mean(1),
        "length of the gradient, as training began": norms[:, 0],
        "the clip's loss, as training began": losses[:, 0],
        "the clip's loss, at the adapter": losses[:, -1],
        "how far its loss fell": losses[:, 0] - losses[:, -1],
    }


def first(scores: npt.NDArray[np.float64], count: int, seed: int) -> npt.NDArray[np.int64]:
    """Indices of the highest; equals in an order drawn by lot, or the table's own would decide."""
    ties = np.random.default_rng(seed).permutation(len(scores))
    return np.lexsort((ties, -scores))[:count]


def found(draws: Sequence[PlantedDraw], scores: Sequence[Scores]) -> ResultTable:
    """Means over the draws; precision and recall are one number where as many are named as were spoilt."""
    rows = []
    for name in scores[0]:
        parts: dict[str, list[float]] = {}
        for number, (draw, own) in enumerate(zip(draws, scores, strict=True)):
            planted, count = draw.planted, int(draw.planted.sum())
            for times, told in ((1, "precision and recall at k"), (2, "recall at 2 k")):
                hits = planted[first(own[name], times * count, number)].sum() / count
                parts.setdefault(told, []).append(float(hits))
            parts.setdefault("area under the curve", []).append(area(own[name][planted], own[name][~planted]))
            for kind in KINDS:
                here = np.array([one == kind for one in draw.kinds])
                named = np.isin(np.flatnonzero(here), first(own[name], 2 * count, number))
                parts.setdefault(f"{kind}, at 2 k", []).append(float(named.mean()))
        rows.append(TimedRow(name, extra={told: f"{np.mean(values):.2f}" for told, values in parts.items()}))
    chance = {
        "precision and recall at k": f"{draws[0].planted.mean():.2f}",
        "recall at 2 k": f"{2 * draws[0].planted.mean():.2f}",
    }
    rows.append(TimedRow("by lot", extra=chance | {"area under the curve": "0.50"}))
    clips, count = len(draws[0].clips), int(draws[0].planted.sum())
    return ResultTable(f"{len(draws)} draws of k = {count} errors among {clips} clips, ranked by", rows)


def area(spoilt: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> float:
    """Under the curve: how often a spoilt clip stands before a right one."""
    return float(np.mean([(one > right).mean() + (one == right).mean() / 2 for one in spoilt]))


def mended(
    settings: Settings, draws: Sequence[PlantedDraw], scores: Sequence[Scores], learnt: Sequence[TaughtVoice]
) -> ResultTable:
    """The held-out loss after what is named first is dropped or mended, against the voice that learnt it as it was."""
    ways = (
        "all errors mended",
        "named mended",
        "named dropped",
        "named by the check dropped",
        "drawn by lot dropped",
        "another seed",
    )
    changes: dict[str, list[tuple[float, float, float]]] = {way: [] for way in ways}
    for number, (draw, own, before) in enumerate(zip(draws, scores, learnt, strict=True)):
        count = int(draw.planted.sum())
        named, checked = (first(own[n], count, number) for n in ("label check and gradients", "label check alone"))
        lot = np.random.default_rng(number).permutation(len(draw.clips))[:count]
        kept = {
            "all errors mended": draw.true,
            "named mended": [draw.true[p] if p in named else clip for p, clip in enumerate(draw.clips)],
            "named dropped": without(draw.clips, named),
            "named by the check dropped": without(draw.clips, checked),
            "drawn by lot dropped": without(draw.clips, lot),
            "another seed": draw.clips,
        }
        for way, clips in kept.items():
            seed = settings.train.seed + (way == "another seed")
            begun = time.perf_counter()
            after = taught(replace(settings, train=replace(settings.train, seed=seed)), clips)
            took = time.perf_counter() - begun
            changes[way].append((after.loss - before.loss, after.words - before.words, took))
    return harm_table(changes, learnt)


def without(clips: Sequence[Utterance], places: Any) -> list[Utterance]:
    return [clip for place, clip in enumerate(clips) if place not in places]


def harm_table(changes: Mapping[str, list[tuple[float, float, float]]], before: Sequence[TaughtVoice]) -> ResultTable:
    rows = [
        TimedRow(
            way,
            [took for *_, took in values],
            extra={
                "held-out loss": spread([one for one, *_ in values]),
                "of it main decoder": spread([one for _, one, _ in values]),
            },
        )
        for way, values in changes.items()
    ]
    loss, main = (float(np.mean([getattr(one, name) for one in before])) for name in ("loss", "words"))
    before_all = f"loss {loss:.4f}, main decoder {main:.4f}; draws: {len(before)}"
    return ResultTable(f"Change against the voice that learnt the errors ({before_all})", rows)


def spread(values: Sequence[float]) -> str:
    """Mean, lowest and highest."""
    return f"{np.mean(values):+.4f} ({min(values):+.4f} to {max(values):+.4f})".replace("-", "−")


def main() -> None:
    run("value", __doc__, arguments, measure)


if __name__ == "__main__":
    main()
