"""Show how good the voice is: verdict, results of the four conditions, gates.

Reads reports/details.json, like the report, and reports/mos.json where DNSMOS judged the samples. These are the lines
that `make` ends with.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from timbre import tracking
from timbre.commands.options import add_json
from timbre.core.content import write_atomic
from timbre.core.errors import DataError
from timbre.core.safe_text import print_json, redacted
from timbre.evaluation import metrics, mos
from timbre.evaluation.metrics import Evidence
from timbre.project import sources
from timbre.report import tables
from timbre.report.verdict import NAMES, verdict
from timbre.tracking import offline
from timbre.tracking.stores import HTTP
from timbre.versions import dvc_lock

EXAMPLES = [
    ("timbre summary", "verdict, table, gates, and where to listen"),
    ("timbre summary --json | jq .passed", "the same for a program"),
    ("timbre summary --readme", "update the table in README.md"),
]
CONFLICT = re.compile(rb"^<<<<<<< ", re.MULTILINE)
DETAILS, REPORT, README = Path("reports/details.json"), Path("reports/index.html"), Path("README.md")
METRICS = Path("reports/metrics.json")  # held all of it in versions of before
MOS, SAMPLES = Path("reports/mos.json"), Path("reports/samples")
BEGIN, END = "<!-- summary -->\n```\n", "\n```\n<!-- /summary -->"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--readme", action="store_true", help="update the table in README.md instead")
    add_json(parser)


def command(args: argparse.Namespace) -> int:
    path = measured()
    if not path.exists():
        if sources.PATH.exists():
            sources.read(sources.PATH)  # which says so where there is no recording yet
        raise DataError(f"{path}: there is no voice yet; `dvc repro` makes one")
    if CONFLICT.search(path.read_bytes()):
        raise DataError(f"{path}: is in conflict after a merge; `timbre resolve`, then `dvc repro`")
    evidence = metrics.read(path)
    if args.json:
        print_json(as_dict(evidence))
    elif args.readme:
        text = README.read_text(encoding="utf-8")
        if BEGIN not in text or END not in text:
            raise DataError(f"{README}: has no place for the table; put {BEGIN}{END} where it shall stand")
        write_atomic(README, text[: text.index(BEGIN)] + BEGIN + "\n".join(table(evidence)) + text[text.index(END) :])
        print(f"{README}: holds the rates of {path} now")
    else:
        print("\n".join(["", *lines(evidence), *places()]))
    return 0


def measured() -> Path:
    """The file that holds what was measured of the work tree's voice."""
    return METRICS if METRICS.exists() and not DETAILS.exists() else DETAILS


def as_dict(evidence: Evidence) -> dict[str, Any]:
    """What reports/details.json holds, and in words how good that is."""
    summary = dataclasses.asdict(verdict(evidence)) if evidence.differences else None
    return {"verdict": summary, **metrics.to_dict(evidence), "passed": evidence.passed, "failed": evidence.failed}


def lines(evidence: Evidence) -> Iterator[str]:
    if evidence.differences:
        judged = verdict(evidence)
        yield from [f"{judged.headline}.", *judged.sure, ""]
    yield from [*table(evidence), *tables.preferences(evidence), *opinions(), ""]
    if evidence.gates:
        yield from [*tables.gates(evidence), ""]
    if evidence.second:
        yield from [*tables.second_opinions(evidence), ""]


def table(evidence: Evidence) -> list[str]:
    return list(tables.terminal(evidence))


def opinions() -> Iterator[str]:
    if means := mos.read(MOS, SAMPLES):
        named = (
            f"{name.lower()} {means[condition]:.2f}" for condition, (name, _) in NAMES.items() if condition in means
        )
        yield f"opinion of 1 to 5 that DNSMOS predicts: {'; '.join(named)}"


def places() -> Iterator[str]:
    yield f"listen    {REPORT}" + ("" if REPORT.exists() else f"  (not here; {dvc_lock.way_to(REPORT)})")
    yield f"runs      {runs(tracking.store_uri())}"
    yield "edit      data/transcripts, params.yaml or data/sources.yaml, then dvc repro"


def runs(uri: str) -> str:
    """Where the runs are seen; `mlflow ui` itself opens a page that shows none."""
    if not (page := offline.page(uri)):
        return f"none to show in {redacted(uri)}; `dvc repro` records one"
    return page if uri.startswith(HTTP) else f"mlflow ui, then {page}"
