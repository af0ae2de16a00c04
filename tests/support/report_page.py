"""The report of made-up outs, and what its tests look at in a browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages import report

ROOT = Path(__file__).parents[2]
FLAGS = (
    "--samples {0}/reports/samples --scores {0}/reports/scores.csv --metrics {0}/reports/metrics.json"
    " --history {0}/models/history.csv --points {0}/reports/points --dataset {0}/data/dataset --clips {0}/data/clips"
    " --raw {0}/data/raw --review {0}/data/review.json --out {0}/reports/index.html --markdown {0}/reports/report.md"
)
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
    monkeypatch.setattr("sys.argv", ["report", *FLAGS.format(root).split()])
    report.main()
    return (root / "reports/index.html").read_text(encoding="utf-8")
