"""A training while it runs, as lines for a terminal: one per evaluation, and no character that moves the cursor."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from timbre.core.errors import TrackingError
from timbre.core.records import EARLY_TAG
from timbre.core.safe_text import visible
from timbre.tracking.run import STEPS_TAG, LiveTraining

EVERY = 2.0  # seconds between questions
PATIENCE = 5  # questions in a row without an answer
WAITING = "no training runs now; waiting for one (Ctrl-C ends)"


def lines(ask: Callable[[], LiveTraining | None], wait: Callable[[float], None] = time.sleep) -> Iterator[str]:
    """Until the training ends that runs now, or that is the next to begin."""
    followed, step, waiting = "", -1, False
    while True:
        training = _patiently(ask, wait)
        if training and (training.running or training.id == followed):
            if training.id != followed:
                followed, step = training.id, -1
                yield f"training {visible(training.name)}"
            for number in [number for number in sorted(training.losses["eval_loss"]) if number > step]:
                step = number
                yield evaluated(training, number)
            if not training.running:
                yield ended(training)
                return
        elif not waiting:
            waiting = True
            yield WAITING
        wait(EVERY)


def _patiently(ask: Callable[[], LiveTraining | None], wait: Callable[[float], None]) -> LiveTraining | None:
    for _ in range(PATIENCE - 1):
        try:
            return ask()
        except TrackingError:  # a file that is being written, a server that starts
            wait(EVERY)
    return ask()


def evaluated(training: LiveTraining, step: int) -> str:
    evaluation = training.losses["eval_loss"][step]
    best, where = (training.losses.get(name, {}).get(step) for name in ("best_eval_loss", "best_step"))
    learnt = training.losses["train_loss"].get(step)
    parts = [f"step {step:>5} of {visible(training.tags.get(STEPS_TAG, '?'))}"]
    parts += [f"training {learnt:.3f}" if learnt is not None else " " * len("training 0.000")]
    parts += [f"evaluation {evaluation:.3f}"]
    parts += [f"best {best:.3f} at step {where:.0f}"] if best is not None and where is not None else []
    return "  ".join(parts)


def ended(training: LiveTraining) -> str:
    return f"ended: {visible(early)}" if (early := training.tags.get(EARLY_TAG)) else "ended"
