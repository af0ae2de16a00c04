"""List the last runs in MLflow: what changed in data and parameters, and the results.

Each run is a version of the voice that `dvc repro` recorded. The results are those of the tuned voice with a reference
clip; `(+1.2)` is the difference from the run before. `*` after a commit means that some changes were not committed.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from timbre import tracking
from timbre.commands.options import add_count, add_json
from timbre.core.safe_text import print_json, redacted, visible
from timbre.report.columns import columns
from timbre.tracking import offline, watching
from timbre.versions.version_ids import DIGITS

if TYPE_CHECKING:
    from mlflow.entities import Run

EXAMPLES = [
    ("timbre runs", "the last ten"),
    ("timbre runs -n 50 --json", "more, as JSON"),
    ("timbre runs --watch", "the losses of a training while it runs"),
]
SHOWN = 3  # changed parameters named in a line
HEAD = ("run", "version", "day", "commit", "wrong words", "similarity", "gates", "changed")


@dataclass(frozen=True)
class RunRow:
    run: str
    id: str  # MLflow's
    version: str  # the id that other commands take: DVC's hash of the adapter
    day: str
    commit: str
    wer: float | None
    wer_before: float | None
    similarity: float | None
    gates: str
    data: list[str]  # changes since the run before
    params: list[str]
    aliases: list[str]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--watch", action="store_true", help="follow a training while it runs; Ctrl-C ends it")
    add_count(parser, "runs", 10)
    add_json(parser)


def command(args: argparse.Namespace) -> int:
    uri = tracking.store_uri()
    if args.watch:
        with contextlib.suppress(KeyboardInterrupt):
            for line in watching.lines(lambda: offline.live(uri)):
                print(line, flush=True)
        return 0
    rows = last(uri, max(args.n, 0)) if tracking.exists(uri) else []
    if args.json:
        print_json([dataclasses.asdict(row) for row in rows])
    else:
        print("\n".join(table(rows)) if rows else f"no run yet in {redacted(uri)}; `dvc repro` records one")
    return 0


def last(uri: str, most: int) -> list[RunRow]:
    from timbre.tracking import registry

    client = tracking.connect(uri)
    with tracking.explained(uri):
        runs = tracking.finished(client, most + 1)  # one more, to compare the oldest with
        standing = registry.aliases(client)
    return [
        row(run, before, sorted(alias for alias, owner in standing.items() if owner == run.info.run_id))
        for run, before in zip(runs, [*runs, None][1:], strict=True)
    ][:most]


def row(run: Run, before: Run | None, aliases: list[str]) -> RunRow:
    tags, metrics = run.data.tags, run.data.metrics
    return RunRow(
        run=visible(str(run.info.run_name)),
        id=run.info.run_id,
        version=visible(tracking.id_of(run)),
        day=datetime.datetime.fromtimestamp(run.info.start_time / 1000).strftime("%Y-%m-%d"),
        commit=tags.get("git.commit", "")[:8] + ("*" if tags.get("git.dirty") == "true" else ""),
        wer=metrics.get("wer/tuned_clone"),
        wer_before=before.data.metrics.get("wer/tuned_clone") if before else None,
        similarity=metrics.get("similarity/tuned_clone"),
        gates=visible(tags.get("gates", "")),
        data=list(data_changes(before, run)) if before else [],
        params=list(param_changes(before.data.params, run.data.params)) if before else [],
        aliases=aliases,
    )


def data_changes(before: Run, after: Run) -> Iterator[str]:
    old, new = before.data.tags, after.data.tags
    if old.get("base.revision") != new.get("base.revision"):
        yield "another base model"
    if old.get("data.version") == new.get("data.version"):
        return
    more = clips(after) - clips(before)
    if more:
        yield f"{more:+d} clip{'s' if abs(more) > 1 else ''}"
    elif old.get("dvc.data/clips") == new.get("dvc.data/clips"):
        yield "words"
    else:
        yield "clips cut elsewhere"


def clips(run: Run) -> int:
    return sum(json.loads(entry.dataset.profile)["clips"] for entry in run.inputs.dataset_inputs)


def param_changes(old: dict[str, str], new: dict[str, str]) -> Iterator[str]:
    """Values that changed; a key that only one of the two knows belongs to the code."""
    for name in sorted(old.keys() & new.keys()):
        if old[name] != new[name]:
            before, after = (value.removesuffix(".0") for value in (old[name], new[name]))  # 3 and 3.0 are one
            if before != after:
                yield visible(f"{name} {before} → {after}")


def table(rows: Sequence[RunRow]) -> list[str]:
    return columns([HEAD, *map(cells, rows)])


def cells(row: RunRow) -> tuple[str, ...]:
    wer = "" if row.wer is None else f"{row.wer:.1%}"
    if row.wer is not None and row.wer_before is not None and round(row.wer - row.wer_before, 3):
        wer += f" ({100 * (row.wer - row.wer_before):+.1f})"
    similarity = "" if row.similarity is None else f"{row.similarity:.2f}"
    more = len(row.params) - SHOWN
    changed = [*row.data, *row.params[:SHOWN], *([f"{more} more parameters"] if more > 0 else [])]
    name = f"{row.run} [{', '.join(row.aliases)}]" if row.aliases else row.run
    return name, row.version[:DIGITS], row.day, row.commit, wer, similarity, row.gates, ", ".join(changed)
