"""Draws docs/pipeline.svg, so that the pages show the pipeline without loading anything from elsewhere.

    python docs/pipeline_picture.py

It shows the same arrows as the mermaid block of README.md; a test compares the two with dvc.yaml.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

PICTURE = Path(__file__).parent / "pipeline.svg"
WIDE, HIGH, GAP, EDGE = 150, 46, 44, 12  # pixels of a box, between boxes, around the picture
PLACES = {  # box: (column, row)
    "sources": (0, 0),
    "fetch": (1, 0),
    "transcribe": (2, 0),
    "segment": (3, 0),
    "people": (4, 0),
    "encode": (2, 1),
    "chunk": (3, 1),
    "check": (4, 1),
    "track": (0, 2),
    "train": (2, 2),
    "dataset": (4, 2),
    "report": (0, 3),
    "evaluate": (1, 3),
    "generate": (2, 3),
    "prompts": (3, 3),
    "listen": (1, 4),
}
LABELS = {  # what is no stage: two lines
    "sources": ("data/sources.yaml", "git"),
    "people": ("you correct", "data/transcripts/*.tsv"),
    "prompts": ("data/prompts.tsv", "git"),
    "track": ("track", "MLflow"),
}
ARROWS = [
    ("sources", "fetch"),
    ("fetch", "transcribe"),
    ("transcribe", "segment"),
    ("people", "segment"),
    ("segment", "chunk"),
    ("chunk", "check"),
    ("check", "dataset"),
    ("dataset", "train"),
    ("train", "generate"),
    ("generate", "evaluate"),
    ("evaluate", "report"),
    ("report", "track"),
    ("chunk", "encode"),
    ("encode", "train"),
    ("generate", "listen"),
    ("listen", "report"),
    ("prompts", "generate"),
]
STYLE = """
  text { font: 14px system-ui, sans-serif; text-anchor: middle; fill: #1b2733 }
  .small { font-size: 11px; fill: #51606e }
  .stage { fill: #e3eefb; stroke: #3b6ea5 }
  .file { fill: #fff8e6; stroke: #b58a1f; stroke-dasharray: 4 3 }
  path { fill: none; stroke: #51606e; stroke-width: 1.5; marker-end: url(#tip) }
"""


def picture() -> str:
    columns, rows = (1 + max(place[axis] for place in PLACES.values()) for axis in (0, 1))
    width = columns * (WIDE + GAP) - GAP + 2 * EDGE
    height = rows * (HIGH + GAP) - GAP + 2 * EDGE
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="The pipeline">',
        f"<style>{STYLE}</style>",
        '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">',
        '<polygon points="0,0 8,4 0,8" fill="#51606e"/></marker>',
        f'<rect width="{width}" height="{height}" rx="8" fill="#fff"/>',
        *(f'<path d="{line(*arrow)}"/>' for arrow in ARROWS),
        *(part for name in PLACES for part in box(name)),
        "</svg>",
        "",
    ])  # fmt: skip


def box(name: str) -> Iterator[str]:
    x, y = middle(name)
    kind = "file" if name in LABELS and name != "track" else "stage"
    yield f'<rect class="{kind}" x="{x - WIDE // 2}" y="{y - HIGH // 2}" width="{WIDE}" height="{HIGH}" rx="6"/>'
    first, *second = LABELS.get(name, (name,))
    yield f'<text x="{x}" y="{y - 2 if second else y + 5}">{first}</text>'
    yield from (f'<text class="small" x="{x}" y="{y + 15}">{text}</text>' for text in second)


def line(start: str, end: str) -> str:
    """Straight where both are in one row or column; else down first from `generate`, and sideways first from others."""
    (x, y), (to_x, to_y) = middle(start), middle(end)
    right, down = (to_x > x) - (to_x < x), (to_y > y) - (to_y < y)
    side, edge = WIDE // 2, HIGH // 2
    if not down:
        return f"M{x + right * side} {y} H{to_x - right * side}"
    if not right:
        return f"M{x} {y + down * edge} V{to_y - down * edge}"
    if down > 0:
        return f"M{x} {y + edge} V{to_y} H{to_x - right * side}"
    return f"M{x + right * side} {y} H{to_x} V{to_y + edge}"


def middle(name: str) -> tuple[int, int]:
    column, row = PLACES[name]
    return EDGE + column * (WIDE + GAP) + WIDE // 2, EDGE + row * (HIGH + GAP) + HIGH // 2


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
