"""What a benchmark found, as JSON that stays and as a Markdown table: the one form that all of them share.

    python -m benchmarks.table              # writes the tables of benchmarks/results into benchmarks/README.md

A benchmark's `measure(options)` yields a `ResultTable` as soon as it is done; its `main` hands them to `record`:

    rows = [TimedRow("all", [1.9, 2.1, 2.0]), TimedRow("no data", [1.4, 1.5, 1.4])]
    yield ResultTable("`timbre diff`", rows, baseline="all")

A row holds the seconds of each run. Shown are their median and, as spread, the lowest and the highest; what is made a
second; how that compares with the baseline; and the share of the physical limit that was reached, where one is known.
Standard library alone, and torch where the benchmark has loaded it: tables are made on bare machines too.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.metadata
import json
import os
import platform
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

ADOPT = 36  # PR_SET_CHILD_SUBREAPER of prctl
WARM = "timbre.mapping.warm_process"
RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent / "README.md"


class TimedRow(NamedTuple):
    name: str
    seconds: Sequence[float] = ()  # of each run; none where it could not be measured
    amount: float = 0  # what a run makes, so that amount / seconds is the table's `rate`
    limit: float | None = None  # seconds that the hardware needs at least
    extra: Mapping[str, float | str] = {}  # further columns
    skipped: str = ""  # why there are no seconds


class ResultTable(NamedTuple):
    title: str
    rows: list[TimedRow]
    baseline: str = ""  # the row that the others are compared with: what one would do instead
    compares: Literal["speed", "time"] = "speed"  # by how much is made a second, or by the seconds
    unit: str = "s"  # what the seconds are, such as `CPU s`
    rate: str = ""  # what amount a second is called, such as `× real time`


def cpu_of_children() -> float:
    """CPU seconds of all processes that were started here and have ended, with those that they started.

    The process from which `dvc repro` forks its stages ends a moment after it, and is waited for: from the first call
    on, whoever outlives its parent is this process's child. No other process may be at work meanwhile.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(ADOPT, 1)
        for child in (
            pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()
        ):
            if _outlives(Path("/proc", child)):
                os.waitpid(int(child), 0)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _outlives(process: Path) -> bool:
    """A process that is ending has no words any more, some time before it has ended."""
    words = (process / "cmdline").read_text().split("\0")
    return WARM in words or not any(words)


def median(row: TimedRow) -> float:
    return statistics.median(row.seconds)


def ratio(row: TimedRow, table: ResultTable) -> float | None:
    """How many times as fast as the baseline; or, where the table compares times, as long."""
    base = next((r for r in table.rows if r.name == table.baseline), None)
    if base is None or not base.seconds or not row.seconds:
        return None
    per_row, per_base = (median(r) / (r.amount or 1) for r in (row, base))
    return per_base / per_row if table.compares == "speed" else per_row / per_base


def race(calls: Mapping[str, Callable[[], object]], runs: int, warmup: int = 1) -> dict[str, list[float]]:
    """Seconds of each run of each call, turn by turn, so that a busy minute of the machine falls on all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(-warmup, runs):
        for name, call in calls.items():
            _wait()
            begun = time.perf_counter()
            call()
            _wait()
            if number >= 0:
                seconds[name].append(time.perf_counter() - begun)
    return seconds


def _wait() -> None:
    """Until the GPU has done what it was told; without one, nothing."""
    if (torch := sys.modules.get("torch")) and torch.cuda.is_available():
        torch.cuda.synchronize()


def machine() -> dict[str, Any]:
    """What the figures depend on, with nothing that tells whose machine it is; the load is that of this moment.

    Where torch is not loaded it is left out: it has no part in the figures, and loading it here would add to the memory
    that is counted against a child process.
    """
    facts: dict[str, Any] = {
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "system": f"{platform.system()} {platform.release().partition('.')[0]}",
        "load": round(os.getloadavg()[0], 1),
        "python": ".".join(platform.python_version_tuple()[:2]),
    }
    if torch := sys.modules.get("torch"):
        facts |= {name: importlib.metadata.version(name).partition("+")[0] for name in ("torch", "transformers")}
        facts["threads"] = torch.get_num_threads()
        facts |= {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    return facts


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:  # not Linux
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def run(
    name: str,
    doc: str | None,
    arguments: Callable[[argparse.ArgumentParser], None],
    measure: Callable[[argparse.Namespace], Iterable[ResultTable]],
) -> None:
    """A benchmark from its command line to its results: `arguments` adds its options, `measure` makes its tables."""
    options = parse(doc, arguments)
    record(name, measure(options), options.out)


def parse(doc: str | None, arguments: Callable[[argparse.ArgumentParser], None]) -> argparse.Namespace:
    """For a benchmark that writes several results, or calls itself."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", type=Path, default=RESULTS, help="folder for the JSON file")
    arguments(made)
    return made.parse_args()


def add_device(parser: argparse.ArgumentParser, runs: int) -> None:
    """Where models run, and how often each is measured."""
    import torch

    here = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=["cpu", "cuda"], default=here, help="the GPU where there is one")
    parser.add_argument("--runs", type=int, default=runs, help="of each, after a warm-up")


def record(name: str, tables: Iterable[ResultTable], folder: Path) -> None:
    """Print each table as it comes, and write all that there are to the folder's NAME.json.

    A name such as learning-loss is of a part of a benchmark, which keeps a file of its own.
    """
    command = ["python -m", f"benchmarks.{name.partition('-')[0]}", *_said(sys.argv[1:])]
    begun = {"load": machine()["load"], "command": " ".join(command)}
    done: list[ResultTable] = []
    facts: dict[str, Any] = {}
    for table in tables:
        done.append(table)
        facts = machine() | begun  # anew: a package may be loaded by now
        write(folder / f"{name}.json", facts, done)
        print(markdown(read(folder / f"{name}.json")[1][-1]), flush=True)  # as it is written: rounded
    print(describe(facts) if facts else "nothing was measured", flush=True)


def _said(arguments: Sequence[str]) -> list[str]:
    """What the figures depend on: not where they went to."""
    return [
        a for a, before in zip(arguments, ["", *arguments], strict=False) if "--out" not in (before, a.split("=")[0])
    ]


def write(path: Path, facts: Mapping[str, Any], tables: Iterable[ResultTable]) -> None:
    content = {"machine": dict(facts), "tables": [_to_json(table) for table in tables]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _to_json(table: ResultTable) -> dict[str, Any]:
    rows = []
    for row in table.rows:
        content: dict[str, Any] = {k: v for k, v in row._asdict().items() if v}
        if row.seconds:  # what follows from the runs, for whoever reads the file without this module
            content |= {"median": median(row), "ratio": ratio(row, table)}
            content |= {"rate": row.amount / median(row)} if row.amount else {}
            content |= {"share_of_limit": row.limit / median(row)} if row.limit else {}
        rows.append(_rounded(content))
    return table._asdict() | {"rows": rows}


def read(path: Path) -> tuple[dict[str, Any], list[ResultTable]]:
    content = json.loads(path.read_text(encoding="utf-8"))
    tables = [
        ResultTable(
            **part
            | {"rows": [TimedRow(**{k: v for k, v in row.items() if k in TimedRow._fields}) for row in part["rows"]]}
        )
        for part in content["tables"]
    ]
    return content["machine"], tables


def _rounded(value: Any) -> Any:
    """To four digits that count: what follows them is noise."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def markdown(table: ResultTable) -> str:
    """Columns that no row has are left out."""
    scale, unit = (1e3, table.unit.replace("s", "ms")) if _is_short(table) and table.unit == "s" else (1, table.unit)
    named = list(dict.fromkeys(name for row in table.rows for name in row.extra))
    cells = [_cells(row, table, scale, unit, named) for row in table.rows]
    columns = [name for name in cells[0] if any(row[name] for row in cells)]
    columns = columns if len(columns) > 1 else [*columns, *list(cells[0])[1:2]]
    lines = [columns, ["---"] * len(columns), *([row[name] for name in columns] for row in cells)]
    reasons: dict[str, list[str]] = {}
    for row in table.rows:
        if row.skipped:
            reasons.setdefault(row.skipped, []).append(row.name)
    notes = [f"\nNot measured: {', '.join(names)}; {reason}." for reason, names in reasons.items()]
    return "\n".join(["| " + " | ".join(line) + " |" for line in lines] + notes) + "\n"


def _cells(row: TimedRow, table: ResultTable, scale: float, unit: str, named: Iterable[str]) -> dict[str, str]:
    times = [second * scale for second in row.seconds]
    against = ratio(row, table)
    spread = f" ({plain(min(times))}–{plain(max(times))})" if len(times) > 1 else ""
    compared = f"{'speed' if table.compares == 'speed' else 'time'} against {table.baseline}"
    return {
        table.title: row.name,
        f"{unit}, median (lowest–highest)" if any(len(r.seconds) > 1 for r in table.rows) else unit: (
            f"{plain(statistics.median(times))}{spread}" if times else "–" if any(r.seconds for r in table.rows) else ""
        ),
        table.rate or "rate": plain(row.amount / median(row)) if times and row.amount else "",
        compared: f"{plain(against)}×" if against is not None else "",
        **{name: _shown(row.extra.get(name, "")) for name in named},
        f"limit, {unit}": plain(row.limit * scale) if row.limit else "",
        "of the limit": f"{row.limit / median(row):.0%}" if row.limit and times else "",
    }


def _is_short(table: ResultTable) -> bool:
    return max((median(row) for row in table.rows if row.seconds), default=1) < 0.1


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else plain(value)


def plain(number: float) -> str:
    """Three digits that count, and no exponent."""
    return f"{float(f'{number:.3g}'):,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def describe(facts: Mapping[str, Any]) -> str:
    """One line: the command and the machine."""
    named = {"python": "Python", "torch": "torch", "transformers": "transformers", "threads": "threads"}
    parts = [f"{facts['cores']} cores of {facts['cpu']}", *([facts["gpu"]] if "gpu" in facts else [])]
    parts += [f"{facts['memory_gb']} GB", facts["system"]]
    parts += [f"{said} {facts[name]}" for name, said in named.items() if name in facts]
    parts.append(f"load average {facts['load']} at the start")
    return f"`{facts['command']}` on " + ", ".join(parts) + "."


def section(path: Path) -> str:
    """A result's tables and the machine that they are of, as the README shows them."""
    facts, tables = read(path)
    return "\n".join([*(markdown(table) for table in tables), describe(facts)])


def fill(text: str, folder: Path = RESULTS) -> str:
    """The README with every result between its two markers, `<!-- results NAME -->` and `<!-- /results -->`."""

    def filled(found: re.Match[str]) -> str:
        path = folder / f"{found[1]}.json"
        unknown = f"Not measured yet: `python -m benchmarks.{found[1].partition('-')[0]}`."
        shown = section(path) if path.is_file() else unknown
        return f"<!-- results {found[1]} -->\n{shown}\n<!-- /results -->"

    return re.sub(r"<!-- results ([\w-]+) -->\n.*?<!-- /results -->", filled, text, flags=re.DOTALL)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    README.write_text(fill(README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
