"""Which step of a training to keep: words and similarity of the voice at the steps that different losses choose.

    python -m benchmarks.step_choice [--seeds 3] [--curve]

It takes the outputs of `dvc repro` as they are here, in memory. Each seed is one training, with every evaluation's
adapter kept. The adapters at the steps that are compared speak the sentences of benchmarks/development.txt, which
neither a clip nor a prompt holds, with and without a reference clip. Intervals are over the seeds, by Student's
distribution: they say what another training would give. A training takes four CPU minutes with its judgement; what is
done is kept in .timbre/step_choice.json, and the next call goes on from there. `--curve` judges steps between as well.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.kept import kept
from benchmarks.table import ResultTable, TimedRow, run
from timbre import asr, audio, families
from timbre.core import params
from timbre.core.records import Example, read_jsonl
from timbre.core.running import settle
from timbre.core.sections import Settings
from timbre.evaluation import speaker_encoder, word_errors
from timbre.families import Course, Voice
from timbre.synthesis import sentence
from timbre.synthesis.reference import choose_reference
from timbre.training.batches import utterances
from timbre.training.courses import learn

DATASET, CODES, CLIPS = Path("data/dataset"), Path("data/codes"), Path("data/clips")
SENTENCES = Path(__file__).with_name("development.txt")
STATE = Path(".timbre/step_choice.json")
ON_THE_WAY = (0.2, 0.5, 0.75)  # of all steps, at which the voice is heard too
STUDENT = {  # 95 %, by the number of seeds
    2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262,
}  # fmt: skip


class JudgedStep(NamedTuple):
    """What the development sentences say of an adapter; alone, and with a reference clip."""

    words: tuple[float, float]  # wrong words per word
    similarity: tuple[float, float]


class OneTraining(NamedTuple):
    chosen: dict[str, int]  # what chose → step
    judged: dict[int, JudgedStep]  # by step


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=3, help="trainings (3)")
    parser.add_argument("--curve", action="store_true", help="judge steps on the way, too")


def measure(options: argparse.Namespace) -> Iterator[ResultTable]:
    settings = params.read()
    trainings = [trained(settings, seed, options.curve) for seed in range(options.seeds)]
    names = [name for name in trainings[0].chosen if all(name in one.chosen for one in trainings)]
    rows = [row(name, [(one.chosen[name], one.judged[one.chosen[name]]) for one in trainings]) for name in names]
    yield ResultTable(f"Voice at the step chosen by ({len(trainings)} trainings)", rows)
    first, second = names[:2]
    pairs = [(one.judged[one.chosen[first]], one.judged[one.chosen[second]]) for one in trainings]
    yield ResultTable("Difference of the two choices", [difference(f"{first} − {second}", pairs)])


def row(name: str, steps: Sequence[tuple[int, JudgedStep]]) -> TimedRow:
    chosen = sorted(step for step, _ in steps)
    return TimedRow(name, extra={"steps": ", ".join(map(str, chosen))} | values([judged for _, judged in steps]))


def values(judged: Sequence[JudgedStep]) -> dict[str, str]:
    shown = {}
    for place, kind in enumerate(("tuned", "tuned + cloning")):
        shown[f"WER, {kind}"] = mean_and_interval([100 * one.words[place] for one in judged], 1, " %")
        shown[f"similarity, {kind}"] = mean_and_interval([one.similarity[place] for one in judged], 4)
    return shown


def difference(name: str, pairs: Sequence[tuple[JudgedStep, JudgedStep]]) -> TimedRow:
    paired = [
        JudgedStep(
            tuple(a - b for a, b in zip(one.words, other.words, strict=True)),  # type: ignore[arg-type]
            tuple(a - b for a, b in zip(one.similarity, other.similarity, strict=True)),  # type: ignore[arg-type]
        )
        for one, other in pairs
    ]
    return TimedRow(name, extra=values(paired))


def mean_and_interval(numbers: Sequence[float], digits: int, unit: str = "", sign: str = "") -> str:
    """`sign`: + also shows the sign of what is above 0."""
    mean = f"{statistics.fmean(numbers):{sign}.{digits}f}{unit}"
    if len(numbers) not in STUDENT:
        return mean.replace("-", "−")
    half = STUDENT[len(numbers)] * statistics.stdev(numbers) / len(numbers) ** 0.5
    return f"{mean} ± {half:.{digits}f}".replace("-", "−")


def trained(settings: Settings, seed: int, curve: bool) -> OneTraining:
    def train() -> dict[str, Any]:
        chosen, judged = one_training(settings, seed, curve)
        return {"chosen": chosen, "judged": judged}

    known = kept(STATE, f"{seed}{' curve' if curve else ''}", train)
    steps = {int(step): JudgedStep(*map(tuple, values)) for step, values in known["judged"].items()}
    return OneTraining(known["chosen"], steps)


def one_training(settings: Settings, seed: int, curve: bool) -> OneTraining:
    voice = families.load(settings.voice)
    settle(voice.model)
    codes = CODES / settings.voice.family
    clips, _ = utterances(DATASET / "train.jsonl", codes, settings.train.context_seconds)
    held, _ = utterances(DATASET / "eval.jsonl", codes)
    # as many points as evaluations: the adapter of each is kept
    wanted = replace(settings.train, seed=seed, patience=0, points=1000, eval_cost=1.0)
    with tempfile.TemporaryDirectory(prefix="timbre-steps-") as scratch:
        own = getattr(settings, settings.voice.family)
        (done,) = learn(voice, clips, held, wanted, own, Path(scratch))
        history = {int(r["step"]): r for r in done.state.history if "eval_loss" in r and r["step"]}
        chosen = {
            "the backbone's loss": min(history, key=lambda step: history[step]["eval_loss/backbone"]),
            "the sum of the losses": min(history, key=lambda step: history[step]["eval_loss"]),
            **{f"{share:.0%} of the steps": nearest(history, share * max(history)) for share in ON_THE_WAY if curve},
            "the last step": max(history),
        }
        files = {step: Path(scratch) / done.course.name / f"point-{step}.pt" for step in set(chosen.values())}
        judged = {step: judge(settings, done.course, voice, file, Path(scratch)) for step, file in files.items()}
    return OneTraining(chosen, judged)


def nearest(steps: Iterable[int], wanted: float) -> int:
    return min(steps, key=lambda step: abs(step - wanted))


def judge(settings: Settings, course: Course, voice: Voice, weights: Path, folder: Path) -> JudgedStep:
    import torch

    course.set_weights(torch.load(weights, map_location="cpu", weights_only=True))
    voice.save_adapter(folder / "adapter")
    tuned = families.load(settings.voice, folder / "adapter", settings.generate.precision)
    settle(tuned.model)
    with_clip, without = (said(settings, tuned, cloned=cloned) for cloned in (True, False))
    return JudgedStep((without[0], with_clip[0]), (without[1], with_clip[1]))


def said(settings: Settings, voice: Voice, *, cloned: bool) -> tuple[float, float]:
    """Wrong words per word, and mean similarity to the speaker's held-out clips."""
    cloning = families.family(settings.voice.family).cloning
    train = read_jsonl(DATASET / "train.jsonl", Example)
    reference = choose_reference(train, CLIPS, CODES / settings.voice.family, cloning)
    texts = [line for line in SENTENCES.read_text().splitlines() if not line.startswith("#")]
    context = (reference.turn,) if cloned else ()
    requests = [
        sentence.request(
            text, settings.generate, seed=sentence.prompt_seed(0, text), context=context, like=reference.turn
        )
        for text in texts
    ]
    how = sentence.speaking(settings.generate, slots=settings.generate.batch)
    sounds = [spoken.sound for spoken in voice.speak(requests, how)]
    heard = [audio.resample(sound, voice.sample_rate, asr.SAMPLE_RATE) for sound in sounds]
    loud = [number for number, sound in enumerate(heard) if len(sound) and not audio.is_silent(sound)]
    understood = dict(zip(loud, asr.texts(settings.whisper, [heard[number] for number in loud]), strict=True))
    readings = [word_errors.compare(text, understood.get(number, "")) for number, text in enumerate(texts)]
    encoder = speaker_encoder.load(settings.speaker)
    held = read_jsonl(DATASET / "eval.jsonl", Example)
    own = [encoder.embed(audio.read(CLIPS / f"{row.id}.flac", speaker_encoder.SAMPLE_RATE)[0]) for row in held]
    target = speaker_encoder.centre(own)
    alike = [float(encoder.embed(heard[number]) @ target) if number in loud else 0.0 for number in range(len(texts))]
    return sum(r.errors for r in readings) / sum(r.words for r in readings), float(np.mean(alike))


def main() -> None:
    run("step_choice", __doc__, arguments, measure)


if __name__ == "__main__":
    main()
