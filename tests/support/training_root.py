"""A repository's root to train in: clips, tables, codes, a random base model, and params; and a training there."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from stages.encode import encode_all
from tests.support.paths import ROOT
from tests.support.tiny_models import CSM, random_csm, write_clips
from timbre import families
from timbre.core import params
from timbre.core.sections import EncodeParams, TrainParams, VoiceParams
from timbre.training.batches import utterances
from timbre.training.courses import Run, learn

PARAMS = TrainParams(
    rank=4, alpha=8, rslora=True, dropout=0.1, learning_rate=0.02, warmup=2, epochs=3, max_steps=None, batch=3,
    accumulation=1, weight_decay=0.01, max_grad_norm=1.0, context_share=0.5, context_seconds=10.0, speakers="recorded",
    eval_every=2, eval_clips=50, eval_cost=1.0, patience=0, points=3, optimiser="adamw", precision="auto",
    gradient_checkpointing=False, processes=1, shard=False, warm_start="none", seed=0,
)  # fmt: skip


def training_root(root: Path) -> Path:
    random_csm(root / "models/base")
    write_clips(root, 10)
    encode_all(root / "data/clips", root / "data/codes", EncodeParams(1), base_of(root))
    (root / "stages").mkdir()
    for name in ("encode", "train", "generate"):
        (root / f"stages/{name}.py").symlink_to(ROOT / f"stages/{name}.py")
    (root / "timbre").symlink_to(ROOT / "timbre")
    write_params(root, PARAMS)
    return root


def base_of(root: Path) -> VoiceParams:
    return VoiceParams("csm", str(root / "models/base"), None)


def write_params(root: Path, changed: TrainParams) -> None:
    document = params.load(ROOT / "params.yaml")
    document["voice"]["base"] = "models/base"
    document["train"], document["csm"] = dataclasses.asdict(changed), dataclasses.asdict(CSM)
    with (root / "params.yaml").open("w") as stream:
        YAML().dump(document, stream)


def arguments(out: str) -> dict[str, Path]:
    """Of the stage `train`."""
    tables = {"dataset": "data/dataset", "codes": "data/codes"}
    outs = {"out": f"{out}/adapter", "points": f"{out}/points", "history": f"{out}/history.csv"}
    return {name: Path(path) for name, path in {**tables, **outs, "speed": f"speed-{out}.json"}.items()}


def flags(out: str) -> list[str]:
    return [word for name, path in arguments(out).items() for word in (f"--{name}", str(path))]


def trained(root: Path, tmp_path: Path, changed: TrainParams = PARAMS) -> tuple[Any, Run]:
    clips, _ = utterances(root / "data/dataset/train.jsonl", root / "data/codes")
    held, _ = utterances(root / "data/dataset/eval.jsonl", root / "data/codes")
    voice: Any = families.load(base_of(root))
    (run,) = learn(voice, clips, held, changed, CSM, tmp_path / "scratch")
    return voice, run
