"""What each of the processes of test_distributed.py does: train in several ways; the first writes what came of it.

python -m tests.support.ddp_worker ROOT OUT
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor

from tests.support.training_root import PARAMS, trained
from timbre.core.running import run
from timbre.core.sections import TrainParams
from timbre.training import distributed

# Seven clips and one: of the second batch one process has no row. And the two held-out clips, one each.
UNEVEN = dataclasses.replace(PARAMS, dropout=0.0, batch=7, epochs=2, processes=2)
LONG = dataclasses.replace(PARAMS, epochs=12, processes=2)
RUNS = {"plain": UNEVEN, "shard": dataclasses.replace(UNEVEN, shard=True), "long": LONG}


def main() -> None:
    root, out = map(Path, sys.argv[1:])
    if not distributed.launch(2, "tests.support.ddp_worker"):
        with distributed.joined(2):
            for name, params in RUNS.items():
                learn(root, out / name, params)


def learn(root: Path, out: Path, params: TrainParams) -> None:
    voice, trained_run = trained(root, out / f"process-{distributed.part().number}", params)
    weights = {name: weight.tolist() for name, weight in trained_run.course.weights().items()}
    distributed.agree((weights, trained_run.state.history))
    if distributed.first():
        result = {"weights": weights, "history": trained_run.state.history, "held": held(voice.model)}
        (out / "result.json").write_text(json.dumps(result))


def held(model: torch.nn.Module) -> int:
    """Numbers that this process keeps of the model's weights."""
    own = (weight.to_local() if isinstance(weight, DTensor) else weight for weight in model.parameters())
    return sum(weight.numel() for weight in own)


if __name__ == "__main__":
    run(main)
