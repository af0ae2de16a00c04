"""Whether `timbre value` finds errors that were planted, and whether to mend what it names makes the voice better.

    python -m benchmarks.value [--share 0.1] [--draws 3] [--steps 110] [--only find]

It takes the outputs of `dvc repro` as they are here, in memory. In each draw a share of the training clips gets an
error, in four ways: a wrong word in the text, the text of another clip, the last quarter of the sound cut off, noise
10 dB below the speech. A voice learns from them; then the clips are ranked as `timbre value` does, by each of its
witnesses alone, and by simpler signs. Then what is named first, as many clips as were spoilt, is mended or dropped, and
a voice learns from the rest, from the same seed. Each draw has errors and a seed of its own; intervals are over draws,
by Student's distribution. What is done is kept in .timbre/value.json, and the next call goes on from there.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.kept import kept
from benchmarks.step_choice import mean_and_interval
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
STATE = Path(".timbre/value.json")
KINDS = ("wrong word", "other text", "cut end", "noise")
KEPT = 0.75  # of the sound, before the cut
NOISE = 10 ** (-10 / 20)  # of the sound's own level
Scores = Mapping[str, npt.NDArray[np.float64]]  # sign → a number per clip, the highest first
Change = tuple[float, float, float]  # of the held-out loss, of the main decoder's part of it, seconds of training


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


@dataclass(frozen=True)
class RankedDraw:
    name: str
    settings: Settings  # with the seed of this draw
    draw: PlantedDraw
    learnt: TaughtVoice  # from the clips with their errors

    @property
    def signs(self) -> Scores:
        return signs(self.draw, self.learnt.influences)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--share", type=float, default=0.1, help="of the training clips that get an error (0.1)")
    parser.add_argument("--draws", type=int, default=3, help="of errors, each learnt anew (3)")
    parser.add_argument("--steps", type=int, default=None, help="of each training (as params.yaml has it)")
    parser.add_argument("--only", choices=["find"], help="find: rank only, mend nothing")


def measure(options: argparse.Namespace) -> Iterator[ResultTable]:
    settings = params.read()
    settings = replace(settings, train=replace(settings.train, max_steps=options.steps or settings.train.max_steps))
    draws = []
    for number in range(options.draws):
        own = replace(settings, train=replace(settings.train, seed=settings.train.seed + number))
        name = f"share {options.share:g}, steps {own.train.max_steps}, draw {number}"
        draws.append(RankedDraw(name, own, draw := plant(own, number, options.share), ranked(name, own, draw)))
    yield found(draws)
    if options.only != "find":
        yield mended(draws)


def ranked(name: str, settings: Settings, draw: PlantedDraw) -> TaughtVoice:
    one = kept(STATE, f"{name}, as planted", lambda: asdict(taught(settings, draw.clips, traced=True)))
    return TaughtVoice(**{**one, "influences": [Influence(**row) for row in one["influences"]]})


def plant(settings: Settings, number: int, share: float) -> PlantedDraw:
    true, _ = utterances(DATASET / "train.jsonl", CODES / settings.voice.family)
    labels = {label.clip: label for label in read_jsonl(LABELS, Label)}
    draw = random.Random(f"errors {number}")
    right = [place for place, clip in enumerate(true) if labels[clip.id].cer == 0]
    count = round(share * len(true) / len(KINDS))
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


def found(draws: Sequence[RankedDraw]) -> ResultTable:
    """Means over the draws; precision and recall are one number where as many are named as were spoilt.

    Of one kind, the clips with another kind of error are left out, and as many are named as have this one.
    """
    rows = []
    for name in draws[0].signs:
        parts: dict[str, list[float]] = {}
        for number, one in enumerate(draws):
            scores, planted, count = one.signs[name], one.draw.planted, int(one.draw.planted.sum())
            for times, told in ((1, "precision and recall at k"), (2, "recall at 2 k")):
                hits = planted[first(scores, times * count, number)].sum() / count
                parts.setdefault(told, []).append(float(hits))
            parts.setdefault("area under the curve", []).append(area(scores[planted], scores[~planted]))
            for kind in KINDS:
                here = np.array([this == kind for this in one.draw.kinds])
                asked = here | ~planted
                named = here[asked][first(scores[asked], int(here.sum()), number)]
                parts.setdefault(f"{kind}, at its k", []).append(float(named.mean()))
        rows.append(TimedRow(name, extra={told: f"{np.mean(values):.2f}" for told, values in parts.items()}))
    planted, clips = draws[0].draw.planted, len(draws[0].draw.clips)
    count = int(planted.sum())
    chance = {
        "precision and recall at k": f"{count / clips:.2f}",
        "recall at 2 k": f"{min(1, 2 * count / clips):.2f}",
        **{f"{kind}, at its k": f"{count / 4 / (clips - count * 3 / 4):.2f}" for kind in KINDS},
    }
    rows.append(TimedRow("by lot", extra=chance | {"area under the curve": "0.50"}))
    return ResultTable(f"{len(draws)} draws of k = {count} errors among {clips} clips, ranked by", rows)


def area(spoilt: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> float:
    """Under the curve: how often a spoilt clip stands before a right one."""
    return float(np.mean([(one > right).mean() + (one == right).mean() / 2 for one in spoilt]))


def mended(draws: Sequence[RankedDraw]) -> ResultTable:
    """The held-out loss after what is named first is dropped or mended, against the voice that learnt it as it was."""
    changes: dict[str, list[Change]] = {}
    clean = []
    for number, one in enumerate(draws):
        after = {way: relearnt(one, way, clips) for way, clips in ways(one, number).items()}
        for way, (loss, main, took) in after.items():
            changes.setdefault(way, []).append((loss - one.learnt.loss, main - one.learnt.words, took))
        clean.append(after["all errors mended"][0])
        for way in ("named mended", "named dropped"):
            (loss, main, took), lot = after[way], after["drawn by lot dropped"]
            changes.setdefault(f"{way} − drawn by lot dropped", []).append((loss - lot[0], main - lot[1], took))
    return harm_table(changes, [one.learnt for one in draws], clean)


def ways(one: RankedDraw, number: int) -> dict[str, list[Utterance]]:
    """What a voice learns from, after something was done about the errors."""
    draw, count = one.draw, int(one.draw.planted.sum())
    named = first(one.signs["label check and gradients"], count, number)
    lot = np.random.default_rng(number).permutation(len(draw.clips))[:count]
    return {
        "all errors mended": draw.true,
        "named mended": [draw.true[place] if place in named else clip for place, clip in enumerate(draw.clips)],
        "named dropped": without(draw.clips, named),
        "drawn by lot dropped": without(draw.clips, lot),
    }


def relearnt(one: RankedDraw, way: str, clips: Sequence[Utterance]) -> Change:
    """Loss, the main decoder's part of it, seconds."""

    def learn_again() -> Change:
        begun = time.perf_counter()
        after = taught(one.settings, clips)
        return after.loss, after.words, time.perf_counter() - begun

    loss, main, took = kept(STATE, f"{one.name}, {way}", learn_again)
    return loss, main, took


def without(clips: Sequence[Utterance], places: Any) -> list[Utterance]:
    return [clip for place, clip in enumerate(clips) if place not in places]


def harm_table(
    changes: Mapping[str, Sequence[Change]], before: Sequence[TaughtVoice], clean: Sequence[float]
) -> ResultTable:
    rows = [
        TimedRow(
            way,
            [took for *_, took in values],
            extra={
                "held-out loss": mean_and_interval([one for one, *_ in values], 4, sign="+"),
                "of it main decoder": mean_and_interval([one for _, one, _ in values], 4, sign="+"),
            },
        )
        for way, values in changes.items()
    ]
    loss, main = (float(np.mean([getattr(one, name) for one in before])) for name in ("loss", "words"))
    seeds = f"; over seeds, the loss without errors varies by {statistics.stdev(clean):.4f}" if len(clean) > 1 else ""
    learnt = f"loss {loss:.4f}, main decoder {main:.4f}; draws: {len(before)}{seeds}"
    return ResultTable(f"Change against the voice that learnt the errors ({learnt})", rows)


def main() -> None:
    run("value", __doc__, arguments, measure)


if __name__ == "__main__":
    main()
