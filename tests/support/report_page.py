"""The report of made-up outs, and what its tests look at in a browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages import report
from tests.support.paths import ROOT

ARGUMENTS = {
    "samples": "reports/samples", "scores": "reports/scores.csv", "metrics": "reports/details.json",
    "training": "models/adapter/training.json", "history": "models/history.csv", "points": "reports/points",
    "dataset": "data/dataset", "clips": "data/clips", "raw": "data/raw", "speech": "data/speech",
    "review": "data/review.json", "sources": "data/sources.yaml", "speakers": "data/speakers.yaml",
    "transcripts": "data/transcripts", "out": "reports/index.html", "markdown": "reports/report.md",
}  # fmt: skip
# Every text that is seen, with the colours it is seen in; `ratio` as WCAG defines contrast.
CONTRAST = """() => {
  const part = (c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const colour = (text) => text.match(/[\\d.]+/g).map(Number);
  const behind = (at) => {
    for (; at; at = at.parentElement) {
      const found = colour(getComputedStyle(at).backgroundColor);
      if (found.length < 4 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const poor = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const at = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || at.closest("script, style, .skip, .unseen") || !at.checkVisibility()) continue;
    const [a, b] = [light(colour(getComputedStyle(at).color)), light(behind(at))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${at.className} ${walk.currentNode.data.trim().slice(0, 30)}`);
  }
  return [...new Set(poor)];
}"""


def make_report(root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(ROOT)
    report.main(**{name: root / path for name, path in ARGUMENTS.items()})
    return (root / "reports/index.html").read_text(encoding="utf-8")
