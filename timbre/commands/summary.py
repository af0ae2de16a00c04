"""Show the four conditions' error rates, and where to look and listen.

Reads reports/metrics.json. These are the lines that `make` ends with.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from timbre.errors import DataError
from timbre.mapping import write_atomic

EXAMPLES = [
    ("timbre summary", "the table, the report, the runs"),
    ("timbre summary --readme", "put the table into README.md, between its marks"),
]
METRICS, REPORT, README = Path("reports/metrics.json"), Path("reports/index.html"), Path("README.md")
BEGIN, END = "<!-- summary -->\n```\n", "\n```\n<!-- /summary -->"
NAMES = {"base": "base", "base_clone": "base, cloning", "tuned": "tuned", "tuned_clone": "tuned, cloning"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--readme", action="store_true", help="write the table into README.md instead")


def command(args: argparse.Namespace) -> int:
    try:
        metrics = json.loads(METRICS.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{METRICS}: there is no voice yet ({error.strerror}); `dvc repro` makes one") from error
    if args.readme:
        text = README.read_text(encoding="utf-8")
        if BEGIN not in text or END not in text:
            raise DataError(f"{README}: has no place for the table; put {BEGIN}{END} where it shall stand")
        write_atomic(README, text[: text.index(BEGIN)] + BEGIN + "\n".join(table(metrics)) + text[text.index(END) :])
        print(f"{README}: holds the rates of {METRICS} now")
    else:
        print("\n".join(["", *table(metrics), "", *places()]))
    return 0


def table(metrics: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield f"{'':16}{'wrong words':>12}{'characters':>12}{'ended itself':>14}"
    for condition, name in NAMES.items():
        rates = metrics[condition]
        yield f"{name:16}{rates['wer']:>12.1%}{rates['cer']:>12.1%}{rates['ended']:>14.0%}"


def places() -> Iterator[str]:
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    yield f"listen    {REPORT}" + ("" if REPORT.exists() else "  (not here; `dvc pull` or `dvc repro` brings it)")
    yield f"runs      {uri}" if uri else "runs      mlflow ui, then http://127.0.0.1:5000"
    yield "edit      data/transcripts, params.yaml or data/sources.yaml, then dvc repro"
