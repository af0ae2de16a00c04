"""Rows of text in columns, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence


def columns(rows: Sequence[Sequence[str]], numbers: bool = False, widest: int | None = None) -> list[str]:
    """A line per row; a column in which every cell is empty is left out.

    With `numbers`, all columns but the first are aligned to the right. A cell of more than `widest` characters does not
    widen its column: it moves the rest of its own line.
    """
    filled = [cells for cells in zip(*rows, strict=True) if any(cells)]
    padded = [_padded(cells, numbers and place > 0, widest) for place, cells in enumerate(filled)]
    return ["  ".join(row).rstrip() for row in zip(*padded, strict=True)]


def _padded(cells: Sequence[str], right: bool, widest: int | None) -> list[str]:
    width = max((len(cell) for cell in cells if widest is None or len(cell) <= widest), default=0)
    return [cell.rjust(width) if right else cell.ljust(width) for cell in cells]
