"""How far `timbre estimate` is from what whole stages cost: processes that start, import, load models, work and write.

    python -m benchmarks.whole_stages [--size demo csm-1b] [--minutes 6]

A clone of this repository's last commit, in .timbre/whole_stages, in which nothing is computed. Each stage's command is
run there as DVC runs it, and its CPU seconds are counted with those of its children. Beside it stands what is computed
for one core, where no run has measured anything yet.

`csm-1b` goes on from the demo's dataset with a random voice of that shape, in float32, and with fewer of everything,
which the estimate is told too (`SCALED`). It takes 4 GB on the disk and 14 GB of memory. The random voice never ends a
sentence, so a cap does, after as many seconds as a voice would take. Whisper and the speaker encoder are the tiny ones.

A stage is kept when it is done, and the next call goes on from there. `--minutes` says after how many of them a call
begins no further stage; 0 shows what is there.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import chdir
from functools import partial
from pathlib import Path

from benchmarks.kept import kept
from benchmarks.table import ResultTable, TimedRow, cpu_of_children, run
from timbre.commands.estimate import core_speed
from timbre.commands.stage_costs import estimated
from timbre.core import params
from timbre.core.records import Example, read_jsonl
from timbre.training import cost_estimate

ROOT, FOLDER = Path(__file__).parents[1], Path(".timbre/whole_stages").resolve()
SIZES = ("demo", "csm-1b")
BASE = "models/random/csm-1b"  # in the clone
SCALED = {  # parameters of the csm-1b-shaped run that are not the demo's
    "voice.base": BASE, "train.max_steps": "2", "train.batch": "2",
    "train.points": "2", "generate.true_prompts": "0", "generate.cap_seconds": "0.1",
    "generate.cap_seconds_per_character": "0.06",
}  # fmt: skip
CORE = "operations a second of a core"  # as measured then, beside the stages
HELD_OUT = 4  # clips of that run
VOICED = ("encode", "train", "generate", "listen", "evaluate")  # the others are as for the demo
PROMPTS = ("Music to pier five.", "Music to pier three.")  # of that run


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", choices=SIZES, nargs="+", default=["demo"])
    parser.add_argument("--minutes", type=float, help="begin no stage after so many; call it again to go on")


def measure(options: argparse.Namespace) -> Iterator[ResultTable]:
    begun = time.monotonic()
    for size in options.size:
        folder = demo() if size == "demo" else csm_1b()
        commands, seconds = commands_of(folder), dict[str, float]()
        if size != "demo":
            commands = {stage: commands[stage] for stage in VOICED}
        state = FOLDER / f"{size}.json"
        for stage, command in commands.items():
            late = options.minutes is not None and time.monotonic() - begun >= 60 * options.minutes
            if late and stage not in (json.loads(state.read_text()) if state.exists() else {}):
                print(f"whole_stages: {len(seconds)} of {len(commands)} stages are there; call it again to go on")
                break
            seconds[stage] = float(kept(state, stage, partial(ran, folder, command)))
        if seconds:
            core = float(kept(state, CORE, lambda: round(core_speed())))
            yield ResultTable(f"{size}: the stage", rows_of(folder, seconds, core))


def rows_of(folder: Path, seconds: Mapping[str, float], core: float) -> list[TimedRow]:
    with chdir(folder):
        lines = estimated(params.read(), None, cost_estimate.cpu(1, 0, core), as_here=False).lines
    computed = {line.what: line for line in lines}
    rows = [
        TimedRow(stage, extra=compared(measured, computed[stage].seconds) | {"for": computed[stage].work})
        for stage, measured in seconds.items()
    ]
    together = compared(sum(seconds.values()), sum(computed[stage].seconds for stage in seconds))
    return [*rows, TimedRow("together", extra=together)]


def compared(measured: float, computed: float) -> dict[str, float | str]:
    return {"CPU s": measured, "computed s": computed, "measured / computed": measured / computed}


def demo() -> Path:
    folder = FOLDER / "demo"
    if not folder.exists():
        subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    return folder


def csm_1b() -> Path:
    """The demo as far as its codes, with another voice."""
    folder, made = FOLDER / "csm-1b", FOLDER / "csm-1b.making"
    if folder.exists():
        return folder
    if not (demo() / "data/dataset").exists():
        raise SystemExit("whole_stages: the demo comes first; --size demo csm-1b")
    shutil.rmtree(made, ignore_errors=True)
    left_out = shutil.ignore_patterns(
        "codes", "adapter", "points", "samples", "heard.dvc", "mlruns", "mlflow.db", "*.html"
    )
    shutil.copytree(demo(), made, ignore=left_out)
    text = (made / "params.yaml").read_text()
    for name, value in SCALED.items():
        section, key = name.split(".")
        text, count = re.subn(rf"(?sm)(^{section}:.*?^  {key}:) \S+", rf"\1 {value}", text, count=1)
        assert count, f"params.yaml has no {name}"
    (made / "params.yaml").write_text(text)
    table = made / "data/prompts.tsv"
    rows = [f"short-{number}\tdomain\t{text}\n" for number, text in enumerate(PROMPTS)]
    table.write_text("".join(["id\tkind\ttext\n", *rows]))
    leave_out_clips(made / "data")
    save_random(made / BASE)
    return made.rename(folder)


def leave_out_clips(data: Path) -> None:
    """All but those to learn from and a few held out."""
    held = data / "dataset/eval.jsonl"
    held.write_text("".join(held.read_text().splitlines(keepends=True)[:HELD_OUT]))
    used = {row.id for name in ("train", "eval") for row in read_jsonl(data / f"dataset/{name}.jsonl", Example)}
    for path in (data / "clips").iterdir():
        if path.name.partition(".")[0] not in used:
            path.unlink()


def save_random(folder: Path) -> None:
    """In half precision on the disk; loaded, it is in single precision."""
    import torch

    from benchmarks import shapes

    model = shapes.csm("csm-1b", dtype=torch.bfloat16).model
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(shapes.TINY / name, folder / name)


def commands_of(folder: Path) -> dict[str, str]:
    """Stage → its command, in the order in which they run."""
    script = "from dvc.repo import Repo\nfor stage in Repo().index.stages: print(stage.name, stage.cmd, sep='\\t')"
    listed = subprocess.run([sys.executable, "-c", script], cwd=folder, check=True, capture_output=True, text=True)
    return dict(line.split("\t", 1) for line in listed.stdout.splitlines())


def ran(folder: Path, command: str) -> float:
    """CPU seconds of the stage, from nothing."""
    before = cpu_of_children()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    subprocess.run(
        command, shell=True, cwd=folder, check=True, env=environment | {"PYTHONPATH": str(folder), "TIMBRE_ANEW": "1"}
    )
    return round(cpu_of_children() - before, 2)


def main() -> None:
    run("whole_stages", __doc__, arguments, measure)


if __name__ == "__main__":
    main()
