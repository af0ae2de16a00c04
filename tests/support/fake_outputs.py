"""A made-up repository state, as the stages before `evaluate`, `report` and `track` would leave it: no model needed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import soundfile

from timbre import audio
from timbre.core.content import content_key
from timbre.core.records import Clip, Drop, Example, Point, Sample, to_json, write_jsonl
from timbre.core.sections import GateParams
from timbre.evaluation.metrics import CONDITIONS, Speaker
from timbre.evaluation.speaker_encoder import KnownVoices, unit
from timbre.evaluation.speaker_similarity import Scale

RATE = 16_000
SENTENCES = {
    "ferry": "The captain stops the night ferry again.",
    "harbour": "Passengers with coffee to pier five, please.",
    "lantern": "Under the old lantern the silver boat waits for the morning train.",
    "one": "Harbour.",
    "penzance": "Penzance again, after the golden station & the <quiet> bridge.",
    "train": "The quiet train leaves the station at nine.",
}
KINDS = {"lantern": "hard", "one": "hard", "train": "true"}  # of prompts; the others are of the domain
TRUE_CLIP = content_key("harbour-night", 0)  # in which the speaker says the true prompt


def voice(seconds: float, seed: int) -> np.ndarray:
    """Something with syllables: a buzz whose loudness goes up and down four times a second."""
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    pitch = 110 + 20 * np.sin(2 * math.pi * 0.5 * time) + 8 * random.standard_normal()
    buzz = sum(np.sin(2 * math.pi * k * np.cumsum(pitch) / RATE) / k for k in range(1, 8))
    loudness = np.clip(np.sin(2 * math.pi * 2 * time + random.uniform(0, 6)) ** 2 * random.uniform(0.5, 1.5), 0, 1)
    return (0.3 * buzz * loudness).astype(np.float32)


def write_samples(folder: Path, sentences: dict[str, str] = SENTENCES, seeds: int = 1) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, condition in enumerate(CONDITIONS):
        for place, (prompt, text) in enumerate(sentences.items()):
            for seed in range(seeds):
                seconds = round(0.4 + 0.065 * len(text) + 0.1 * number, 3)
                name = f"{condition}-{prompt}-{seed}"
                audio = voice(seconds, 1000 * number + 10 * place + seed)
                soundfile.write(folder / f"{name}.flac", audio, RATE, subtype="PCM_16")
                sample = Sample(
                    id=name,
                    condition=condition,
                    prompt=prompt,
                    kind=KINDS.get(prompt, "domain"),  # type: ignore[arg-type]
                    text=text,
                    clip=TRUE_CLIP if KINDS.get(prompt) == "true" else None,
                    seed=seed,
                    reference="0123456789abcdef" if "clone" in condition else None,
                    adapter="a1b2c3d4e5f60718" if "tuned" in condition else None,
                    base="b0b1b2b3b4b5b6b7",
                    seconds=seconds,
                    ended=not (condition == "base" and prompt == "lantern"),
                    key=content_key(name, text),
                )
                (folder / f"{name}.json").write_text(to_json(sample) + "\n")


def write_history(path: Path, steps: int = 120) -> None:
    parts = [f"{kind}_loss/{part}" for kind in ("eval", "train") for part in ("backbone", "depth_decoder")]
    columns = ["step", "epoch", "train_loss", "eval_loss", "grad_norm", "learning_rate", *parts]
    random = np.random.default_rng(1)
    rows = [",".join(columns)]
    for step in range(1, steps + 1):
        backbone = 1.4 + 2.2 * math.exp(-step / 30) + 0.12 * random.standard_normal()
        depth = 2.2 + 1.1 * math.exp(-step / 40) + 0.08 * random.standard_normal()
        row = {"step": step, "epoch": round(step / 12, 3), "grad_norm": round(1 + abs(random.standard_normal()), 4)}
        row |= {"train_loss": round(backbone + depth, 4), "train_loss/backbone": round(backbone, 4)}
        row |= {"train_loss/depth_decoder": round(depth, 4)}
        row |= {"learning_rate": round(3e-4 * min(1, step / 10) * (1 - step / 130), 8)}
        if step % 12 == 0:
            e_backbone = 1.7 + 2 * math.exp(-step / 30) + 0.000045 * max(0, step - 60) ** 2
            e_depth = 2.4 + math.exp(-step / 40)
            row |= {"eval_loss": round(e_backbone + e_depth, 4), "eval_loss/backbone": round(e_backbone, 4)}
            row |= {"eval_loss/depth_decoder": round(e_depth, 4)}
        rows.append(",".join(str(row.get(column, "")) for column in columns))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")


def write_dataset(root: Path) -> None:
    def example(number: int, recording: str) -> Example:
        start, seconds = 12.5 * number, 8.0 + number % 5
        name = "0123456789abcdef" if number == 3 else content_key(recording, number)
        audio = f"data/clips/{name}.flac"
        text = SENTENCES["train"] if name == TRUE_CLIP else "The captain stops the golden ferry again."
        return Example(audio, text, "marina", name, recording, start, start + seconds, seconds)

    train = [example(n, r) for r in ("harbour-morning", "harbour-noon") for n in range(8)]
    evaluation = [example(n, "harbour-night") for n in range(3)]
    drops = [
        Drop("harbour-noon", 3.0, 4.1, "Erm, <em>sorry</em>.", "dropped: flagged so in the transcript"),
        Drop("harbour-night", 61.0, 61.9, "Yes.", "too short: 0.90 s alone, less than chunk.min_seconds (1)"),
        Drop("harbour-night", 71.0, 71.8, "No.", "too short: 0.80 s alone, less than chunk.min_seconds (1)"),
    ]
    folder = root / "data/dataset"
    write_jsonl(folder / "train.jsonl", train)
    write_jsonl(folder / "eval.jsonl", evaluation)
    write_jsonl(folder / "rejected.jsonl", drops)
    (folder / "stats.json").write_text("{}\n")
    clips = [
        Clip(e.id, e.recording, e.source, e.start, e.end, [[e.start, e.end]], e.seconds, e.text)
        for e in train + evaluation
    ]
    write_jsonl(root / "data/clips.jsonl", clips)
    (root / "data/clips").mkdir(exist_ok=True)
    for name, seconds, seed in (("0123456789abcdef", 6.2, 5), (TRUE_CLIP, 2.8, 6)):
        soundfile.write(root / f"data/clips/{name}.flac", voice(seconds, seed), RATE, subtype="PCM_16")


def write_scores(root: Path) -> None:
    """What `evaluate` would write: made-up hearings and voices, worse for the base than for the tuned voice."""
    from stages import evaluate
    from timbre.evaluation import weighing
    from timbre.evaluation.hearing import HeardSample

    samples = evaluate.read_samples(root / "reports/samples")
    random, marina = np.random.default_rng(2), np.eye(4, dtype=np.float32)[0]
    others = {"mira": np.eye(4, dtype=np.float32)[1], "rasmus": np.eye(4, dtype=np.float32)[2]}
    scale, rows, sounds = Scale(KnownVoices(marina, others), 0.97, 0.05), [], []
    for place, sample in enumerate(samples):
        words = sample.text.split()
        every = {"base": 2, "base_clone": 3, "tuned": 5, "tuned_clone": 9}[sample.condition]
        heard = ["lantern" if (n + place) % every == 0 else word for n, word in enumerate(words)]
        sound, rate = audio.read(root / f"reports/samples/{sample.id}.flac")
        sounds.append(HeardSample(" ".join(heard[: 12 if place % 7 else -1]), False, sound, rate))
        away = {"base": 2.0, "base_clone": 0.7, "tuned": 0.6, "tuned_clone": 0.3}[sample.condition]
        whose = unit(marina + away * np.abs(random.normal(size=4)))
        rows.append(evaluate.score(sample, sounds[-1], whose, scale, own=14.0))
        heard_file = root / f"reports/heard/{sample.id}.json"
        heard_file.parent.mkdir(exist_ok=True)
        heard_file.write_text(json.dumps({"heard": "…", "key": sample.key, "silent": False}))
    own = Speaker(0.97, 0.05, 14.0, 0.2)
    limits = GateParams(words=0.1, similarity=0.1, named=0.5, reference=1.0, ends=0.95, leakage=0, preferred=None)
    judged = weighing.weigh(rows, own, 1.0, 0, limits)
    tables = [root / f"reports/{name}" for name in ("scores.csv", "wer.csv", "details.json", "metrics.json")]
    evaluate.write(rows, judged, *tables)


def write_points(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for step in (36, 72):
        soundfile.write(folder / f"{step:06}.flac", voice(2.5, step), RATE, subtype="PCM_16")
        point = Point(step, "tuned_clone-ferry-0", "a1b2c3d4e5f60718", 2.5, True, content_key("point", step))
        (folder / f"{step:06}.json").write_text(to_json(point) + "\n")


def end_early(root: Path) -> None:
    """As if a person had ended the training of which 300 steps were planned."""
    path = root / "models/adapter/training.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"ended_early": True, "planned_steps": 300}))


def write_outs(root: Path, seeds: int = 1) -> None:
    write_samples(root / "reports/samples", seeds=seeds)
    write_points(root / "reports/points")
    write_dataset(root)
    write_history(root / "models/history.csv")
    adapter = root / "models/adapter"
    adapter.mkdir(parents=True, exist_ok=True)
    (adapter / "adapter_config.json").write_text(json.dumps({"r": 32, "target_modules": ["q_proj"]}))
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    speakers = {"marina": ["harbour-morning", "harbour-night", "harbour-noon"]}
    facts = {
        "steps": 120,
        "best_step": 108,
        "best_eval_loss": 4.2,
        "last_eval_loss": 4.35,
        "overfit": 0.15,
    }
    (adapter / "training.json").write_text(
        json.dumps({"speakers": speakers} | facts | {"points": [36, 72, 108], "clips": 16})
    )

    def review(origin: str, lines: int, ok: int, dropped: int) -> dict[str, object]:
        times = {"seconds": 4.0 * lines, "reviewed_seconds": 4.0 * (ok + dropped)}
        return {"origin": origin, "lines": lines, "ok": ok, "dropped": dropped, **times}

    reviews = {
        "harbour-morning": review("transcript", 20, 18, 0),
        "harbour-noon": review("transcript", 22, 9, 1),
        "harbour-night": review("draft", 12, 0, 0),
    }
    whole = {"recordings": reviews, "seconds": 216.0, "reviewed_seconds": 112.0, "reviewed_share": 0.5185}
    (root / "data/review.json").write_text(json.dumps(whole))
    write_scores(root)


if __name__ == "__main__":
    import sys

    write_outs(Path(sys.argv[1]), seeds=2)
