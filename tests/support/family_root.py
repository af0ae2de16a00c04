"""A root to take a family through the stages that know it: clips of noise, tables, prompts, params."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from tests.support.consent import write_consent
from tests.support.paths import ROOT
from tests.support.tiny_models import WORDS, random_whisper
from timbre import audio
from timbre.core import params
from timbre.core.content import content_key, write_atomic
from timbre.core.records import Example, write_jsonl

RATE = 24_000  # Hz, which neither family hears at
TRAIN = {
    "rank": 2, "epochs": 1, "batch": 2, "eval_every": 1, "eval_cost": 10.0, "points": 1, "warmup": 1,
    "learning_rate": 0.01, "patience": 0,
    "context_share": 0.0,
}  # fmt: skip
GENERATE = {
    "seeds": [0], "true_prompts": 0, "batch": 2, "cap_seconds": 0.6, "cap_seconds_per_character": 0.0,
    "top_k": 15, "repetition_penalty": 1.35, "temperature": 1.0,
}  # fmt: skip


def family_root(root: Path, family: str, seconds: float, changes: dict[str, Any]) -> None:
    """`models/base` is made by the caller; `changes` are of the family's own section."""
    write_examples(root, seconds)
    write_consent(root)
    (root / "data/prompts.tsv").write_text("id\tkind\ttext\nferry\tdomain\tThe ferry waits.\n")
    document = params.load(ROOT / "params.yaml")
    document["voice"] = {"family": family, "base": "models/base", "revision": None}
    document["train"] |= TRAIN
    document["generate"] |= GENERATE
    document[family] |= changes
    with (root / "params.yaml").open("w") as stream:
        YAML().dump(document, stream)


def write_examples(root: Path, seconds: float) -> None:
    examples = []
    for number in range(5):
        random = np.random.default_rng(number)
        length = seconds + 0.2 * number
        time = np.arange(int(length * RATE)) / RATE
        sound = 0.2 * random.normal(size=len(time)) * np.sin(2 * np.pi * 2 * time) ** 2
        name = content_key("family clip", number)
        path = f"data/clips/{name}.flac"
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(root / path, audio.flac_bytes(sound.astype(np.float32), RATE))
        text = " ".join(random.choice(WORDS, 7)).capitalize() + "."
        start = 10.0 * number
        examples.append(Example(path, text, "ann", name, "talk", start, start + length, length, language="en"))
    write_jsonl(root / "data/dataset/train.jsonl", examples[1:])
    write_jsonl(root / "data/dataset/eval.jsonl", examples[:1])


def write_papers(root: Path) -> None:
    """What stages after the training ask for, beside what came before it: words, and what hears and compares."""
    for name in ("timbre", "stages"):
        (root / name).symlink_to(ROOT / name)
    (root / "data/transcripts").mkdir()
    (root / "data/transcripts/talk.tsv").write_text("start\tend\tspeaker\tflag\ttext\n0.00\t60.00\tann\tok\tTalk.\n")
    (root / "data/raw").mkdir()
    heard = {"seconds": 60.0, "reviewed_seconds": 60.0}
    lines = {"origin": "transcript", "lines": 1, "ok": 1, "dropped": 0}
    share = {**heard, "reviewed_share": 1.0, "recordings": {"talk": {**heard, **lines}}}
    (root / "data/review.json").write_text(json.dumps(share))
    (root / "data/dataset/rejected.jsonl").write_text("")
    random_whisper(root / "models/whisper.pt")
    document = params.load(root / "params.yaml")
    document["whisper"]["model"] = "models/whisper.pt"
    document["speaker"] |= {"model": str(ROOT / "models/tiny/speaker"), "revision": None}
    document["evaluate"]["others"] = str(ROOT / "models/tiny/voices")
    with (root / "params.yaml").open("w") as stream:
        YAML().dump(document, stream)
