"""`timbre estimate --prompts`: how many sentences the report needs for intervals of a wished width."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from timbre.core.errors import DataError
from timbre.core.safe_text import print_json
from timbre.evaluation import score_rows
from timbre.evaluation.measures import BY_NAME
from timbre.evaluation.sentences_needed import NeededSentences, needed
from timbre.project import prompts
from timbre.report.columns import columns
from timbre.versions.dvc_lock import way_to

SCORES = Path("reports/scores.csv")


def sentences(args: argparse.Namespace) -> int:
    if not args.prompts > 0:
        raise DataError(f"--prompts {args.prompts:g}: is not above 0")
    if not SCORES.is_file():
        raise DataError(f"{SCORES}: is missing; {way_to(SCORES)}")
    try:
        rows = needed(score_rows.read(SCORES.read_bytes()), args.prompts / 100)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{SCORES}: is no table of scores; `dvc repro evaluate` makes it again") from error
    if args.json:
        print_json([dataclasses.asdict(row) for row in rows])
    else:
        print("\n".join(told(rows, args.prompts)))
    return 0


def told(rows: Sequence[NeededSentences], points: float) -> Iterator[str]:
    if not rows:
        yield f"{SCORES} has fewer than two sentences of tuned + cloning; write more into {prompts.PATH}"
        return
    yield f"sentences for intervals of ±{points:g} of 100, from those of {SCORES}"
    table = [("", "now", "with", f"for ±{points:g}")]
    for row in rows:
        against = f", against {row.other.replace('_', ' + ')}" if row.other else ""
        measure = BY_NAME[row.measure].title
        table.append((measure + against, f"±{100 * row.half:.1f}", str(row.sentences), str(row.needed)))
    yield from columns(table)
    yield f"\nwrite them into {prompts.PATH}; more takes of the same sentences (generate.seeds) tell less"
