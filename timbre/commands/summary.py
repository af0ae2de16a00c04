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

EXAMPLES = [("timbre summary", "the table, the report, the runs")]
METRICS, REPORT = Path("reports/metrics.json"), Path("reports/index.html")
NAMES = {"base": "base", "base_clone": "base, cloning", "tuned": "tuned", "tuned_clone": "tuned, cloning"}


def arguments(parser: argparse.ArgumentParser) -> None:
    pass


def command(args: argparse.Namespace) -> int:
    try:
        metrics = json.loads(METRICS.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{METRICS}: there is no voice yet ({error.strerror}); `dvc repro` makes one") from error
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
