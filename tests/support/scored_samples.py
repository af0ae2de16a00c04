"""Samples and their scores, made up: two voices whose embeddings are told apart at a glance."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from stages import evaluate
from tests.support.fake_outputs import RATE, voice
from timbre.core.records import Sample
from timbre.core.sections import GateParams
from timbre.evaluation.hearing import HeardSample
from timbre.evaluation.scores import Score
from timbre.evaluation.speaker_encoder import KnownVoices
from timbre.evaluation.speaker_similarity import Scale

MARINA, MIRA = np.eye(2, dtype=np.float32)
SCALE = Scale(KnownVoices(MARINA, {"mira": MIRA}), 0.99, 0.0)
LIMITS = GateParams(words=0.1, similarity=0.1, named=0.5, reference=1.0, ends=0.95, leakage=0, preferred=None)


def sample(text: str, **changes: Any) -> Sample:
    made = Sample("base-p-0", "base", "p", "domain", text, None, 0, None, None, "b", 2.0, True, "k")
    return replace(made, **changes)


def scored(text: str, heard: str, silent: bool = False, **changes: Any) -> Score:
    sound = np.zeros(RATE, np.float32) if silent else voice(2.0, 1)
    return evaluate.score(sample(text, **changes), HeardSample(heard, silent, sound, RATE), MARINA, SCALE, own=10.0)
