"""The clip that a sample was cloned from, as the voice heard it before it spoke."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from timbre.core.errors import DataError
from timbre.core.records import Example, Sample, read_jsonl
from timbre.families import Turn


def reference(sample: Sample, dataset: Path, codes: Path) -> tuple[Turn, ...]:
    if sample.reference is None:
        return ()
    texts = {example.id: example.text for example in read_jsonl(dataset / "train.jsonl", Example)}
    try:
        return (Turn(texts[sample.reference], np.load(codes / f"{sample.reference}.npy")),)
    except (KeyError, OSError) as error:
        raise DataError(f"{sample.id}: its reference {sample.reference} is gone; run `dvc repro generate`") from error
