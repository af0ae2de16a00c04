"""A DNSMOS that is no model, in the place of the package `speechmos`."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from timbre.evaluation import mos

Given = list[np.ndarray]


def put_in_place(patch: pytest.MonkeyPatch) -> Given:
    """What it hears from now on. It likes each sound a little better than the one before."""
    heard: Given = []

    def run(sample: np.ndarray, sr: int) -> dict[str, Any]:
        assert sr == 16_000
        assert sample.ndim == 1
        assert np.abs(sample).max() <= 1, "it refuses more"
        heard.append(sample)
        return {"ovrl_mos": np.float64(2 + len(heard) / 8), "sig_mos": 5.0, "bak_mos": 5.0, "p808_mos": np.float32(5)}

    dnsmos, package = ModuleType("speechmos.dnsmos"), ModuleType("speechmos")
    dnsmos.run = package.run = run  # type: ignore[attr-defined]
    package.dnsmos = dnsmos  # type: ignore[attr-defined]
    patch.setitem(sys.modules, "speechmos", package)
    patch.setitem(sys.modules, "speechmos.dnsmos", dnsmos)
    return heard


def judged(samples: Path) -> dict[str, float]:
    path = samples.parent / "mos.json"
    mos.judge(path, sorted(samples.glob("*.flac")))
    return mos.read(path, samples)
