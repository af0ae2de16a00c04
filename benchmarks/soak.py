"""A server that is used badly for a long time: hang-ups, bad requests and promotions, and what that does to it.

    dvc pull                                       # or `make`: it speaks with the voice of this repository
    python -m benchmarks.soak --minutes 10

`timbre serve --voice champion` runs in a process of its own, in a temporary copy of the repository, over a store of
MLflow with two versions. Callers ask without a pause: most of them listen to the end, some hang up after the first
sound or before it, some send what is wrong. Meanwhile the champion changes to and fro. At the start each sentence was
spoken alone by either version; an answer with other bytes (of Opus: other samples) than those of the version that it
names is counted as mixed, one that does not come to its end as lost. At the end no slot may be taken. The memory is the
resident set of the server, looked at once a second.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import io
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import soundfile

from benchmarks import table
from benchmarks.table import ResultTable, TimedRow

ROOT = Path(__file__).parents[1]
MIXED, LOST = "mixed", "lost"  # how a problem begins that is one of these
LINKED = ("models/tiny", "data/dataset", "data/codes")
COPIED = ("params.yaml", "dvc.yaml", "data/speakers.yaml", "data/sources.yaml")
WORDS = ("harbour", "morning", "ferry", "lantern", "quiet", "train", "green", "coffee", "station", "captain", "bridge")
SENTENCES = 4
FORMATS = ("wav", "mp3", "opus")
PROMOTE = (4.0, 12.0)  # seconds between two promotions
JSON = "application/json"
WRONG = (  # body, content type, status
    (b"{", JSON, 400), (b'{"input": ""}', JSON, 400), (b"x" * 300_000, JSON, 413), (b"input=a", "text/plain", 415),
    (b'{"input": "a", "voice": "../../etc"}', JSON, 400), (b'{"input": "a", "speed": 99}', JSON, 400),
    (b'{"input": "a", "model": "x"}', JSON, 404),
)  # fmt: skip


@dataclass
class SoakTally:
    """What the callers met."""

    done: Counter[str] = field(default_factory=Counter)  # kind of request → how often
    wrong: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # kind → problems
    first: list[float] = field(default_factory=list)  # seconds to the first sound of whole answers
    memory: list[float] = field(default_factory=list)  # MB, once a second
    promotions: int = 0
    busy: float = 0.0  # slots and places to wait that are still taken when all callers have gone
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, kind: str, problem: str = "") -> None:
        with self.lock:
            self.done[kind] += 1
            if problem:
                self.wrong[kind].append(problem)


def main() -> None:
    table.run("soak", __doc__, arguments, measure)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--callers", type=int, default=6)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)


def measure(options: argparse.Namespace) -> Iterator[ResultTable]:
    with tempfile.TemporaryDirectory() as folder, working_in(Path(folder)):
        versions = prepare()
        with serving(options) as (process, port):
            tally = soak(options, process, port, versions)
        log, code = Path("log").read_text(encoding="utf-8"), process.returncode
    title = f"soak of {options.minutes:g} minutes, {options.callers} callers, {tally.promotions} promotions"
    yield ResultTable(title, rows(tally))
    yield ResultTable("what must be 0", found(tally, log))
    yield ResultTable("resident memory of the server", memory(tally.memory))
    told = [f"{kind}: {problem}" for kind, problems in tally.wrong.items() for problem in problems[:3]]
    told += [f"the server ended with {code}"] if code else []
    told += [f"{tally.busy:g} slots are still taken"] if tally.busy else []
    if told:
        raise SystemExit("\n".join(told))


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def prepare() -> list[str]:
    """The repository's voice and a softer one of it as two versions in a store; the ids of their runs."""
    for name in LINKED:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).symlink_to(ROOT / name)
    for name in COPIED:
        shutil.copyfile(ROOT / name, name)
    from safetensors.torch import load_file, save_file

    runs = []
    for number, scale in enumerate((1.0, 0.6)):
        adapter = Path(f"models/version-{number}")
        shutil.copytree(ROOT / "models/adapter", adapter)
        weights = load_file(adapter / "adapter_model.safetensors")
        scaled = {name: value * scale if "lora_B" in name else value for name, value in weights.items()}
        save_file(scaled, adapter / "adapter_model.safetensors", {"format": "pt"})
        runs.append(recorded(adapter))
    promote(runs[0])
    return runs


def recorded(adapter: Path) -> str:
    from timbre import tracking
    from timbre.core import params
    from timbre.tracking import registry

    client = tracking.connect()
    run = client.create_run(tracking.experiment_of(client))
    client.log_artifacts(run.info.run_id, str(adapter), registry.ADAPTER)
    for name, value in params.load()["voice"].items():
        client.log_param(run.info.run_id, f"voice.{name}", value)
    registry.register(client, run.info.run_id, {})
    return str(run.info.run_id)


def promote(run: str) -> None:
    from timbre import tracking
    from timbre.tracking import registry

    registry.point(tracking.connect(), registry.CHAMPION, run)


@contextlib.contextmanager
def serving(options: argparse.Namespace) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-m", "timbre.commands.cli", "serve", "--voice", "champion", "--port", "0"]
    command += ["--slots", str(options.slots), "--waiting", str(4 * options.callers)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with Path("log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        port = next(int(line.rpartition(":")[2]) for line in process.stdout if line.startswith("serving "))
        yield process, port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=180)


def soak(options: argparse.Namespace, process: subprocess.Popen[str], port: int, versions: list[str]) -> SoakTally:
    tally, alone = SoakTally(), answers(port, versions, options)
    end = time.monotonic() + 60 * options.minutes
    threads = [
        threading.Thread(target=caller, args=(port, alone, tally, end, options.seed + number))
        for number in range(options.callers)
    ]
    threads.append(threading.Thread(target=promoting, args=(versions, tally, end, options.seed)))
    for thread in threads:
        thread.start()
    server = psutil.Process(process.pid)
    while time.monotonic() < end:
        tally.memory.append(server.memory_info().rss / 1e6)
        if len(tally.memory) % 60 == 0:
            print(f"minute {len(tally.memory) // 60}: {tally.memory[-1]:.0f} MB, {dict(tally.done)}", file=sys.stderr)
        time.sleep(1)
    for thread in threads:
        thread.join()
    tally.busy = busy(port)
    return tally


def busy(port: int, patience: float = 10.0) -> float:
    """What the server still does for callers who have gone."""
    end, taken = time.monotonic() + patience, 1.0
    while taken and time.monotonic() < end:
        time.sleep(0.5)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        connection.request("GET", "/metrics")
        figures = connection.getresponse().read().decode()
        connection.close()
        taken = sum(float(n) for n in re.findall(r"^timbre_(?:speaking|waiting) (\S+)$", figures, re.MULTILINE))
    return taken


def body(sentence: int, kind: str) -> dict[str, object]:
    chosen = random.Random(sentence)
    text = " ".join(chosen.choice(WORDS) for _ in range(chosen.randint(1, 4)))
    return {"input": f"The {text}.", "voice": "champion", "seed": sentence, "response_format": kind}


def digest(content: bytes, kind: str) -> str:
    """Of the bytes; of Opus, whose stream gets a random number, of the sound."""
    if kind == "opus":
        content = soundfile.read(io.BytesIO(content), dtype="int16")[0].tobytes()
    return hashlib.sha256(content).hexdigest()


def answers(port: int, versions: list[str], options: argparse.Namespace) -> dict[tuple[str, int, str], str]:
    """SHA-256 of each sentence in each format by each version, spoken alone."""
    known: dict[tuple[str, int, str], str] = {}
    for run in versions:  # the first is the champion already
        promote(run)
        named, before = "", next(iter(known), ("", 0, ""))[0]
        while not named or named == before:  # until the server has seen the alias move
            named = ask(port, body(0, "pcm"))[1]
            time.sleep(0.2)
        for sentence in range(SENTENCES):
            for kind in FORMATS:
                status, version, content, _ = ask(port, body(sentence, kind))
                assert (status, version) == (200, named), (status, version, named)
                known[version, sentence, kind] = digest(content, kind)
    return known


def ask(port: int, what: dict[str, object] | bytes, kind: str = JSON, leave: int | None = None) -> tuple[
    int, str, bytes, float
]:  # fmt: skip
    """Status, version, content and seconds to the first sound; with `leave` it hangs up after as many bytes."""
    sent = what if isinstance(what, bytes) else json.dumps(what).encode()
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST", "/v1/audio/speech", sent, {"Content-Type": kind})
        if leave == 0:
            return 0, "", b"", 0.0
        answer = connection.getresponse()
        first = answer.read(leave or 1)
        heard = time.monotonic() - began
        rest = b"" if leave else answer.read()
        return answer.status, answer.getheader("x-timbre-version", ""), first + rest, heard
    finally:
        connection.close()


def caller(port: int, alone: dict[tuple[str, int, str], str], tally: SoakTally, end: float, seed: int) -> None:
    chosen = random.Random(seed)
    while time.monotonic() < end:
        kind = chosen.choices(("whole", "hung up in the middle", "hung up at once", "wrong"), (6, 2, 1, 2))[0]
        try:
            problem = one(port, kind, alone, tally, chosen)
        except Exception as error:
            problem = f"{LOST}: {type(error).__name__}: {error}"
        tally.note(kind, problem)


def one(port: int, kind: str, alone: dict[tuple[str, int, str], str], tally: SoakTally, chosen: random.Random) -> str:
    """What was not as it should be, of one request."""
    if kind == "wrong":
        content, type_, expected = chosen.choice(WRONG)
        status = ask(port, content, type_)[0]
        return "" if status == expected else f"{status} instead of {expected} for {content[:40]!r}"
    sentence, container = chosen.randrange(SENTENCES), chosen.choice(FORMATS)
    if kind != "whole":
        ask(port, body(sentence, container), leave=0 if kind == "hung up at once" else 200)
        return ""
    status, version, content, first = ask(port, body(sentence, container))
    if status != 200:
        return f"{LOST}: status {status}: {content[:200]!r}"
    tally.first.append(first)
    known = alone[version, sentence, container]
    return "" if digest(content, container) == known else f"{MIXED}: sentence {sentence} as {container}"


def promoting(versions: list[str], tally: SoakTally, end: float, seed: int) -> None:
    chosen = random.Random(seed)
    while time.monotonic() < end:
        time.sleep(chosen.uniform(*PROMOTE))
        tally.promotions += 1
        promote(versions[tally.promotions % 2])


def rows(tally: SoakTally) -> list[TimedRow]:
    ordered = sorted(tally.first)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    seen: dict[str, dict[str, float | str]] = {
        kind: {"number": count, "not as it should be": str(len(tally.wrong[kind]))}
        for kind, count in sorted(tally.done.items())
    }
    seen["whole"] |= {"first sound p50, s": statistics.median(ordered), "p95, s": p95}
    return [TimedRow(kind, extra=extra) for kind, extra in seen.items()]


def found(tally: SoakTally, log: str) -> list[TimedRow]:
    problems = tally.wrong["whole"]
    numbers = {
        "answers with other sound than the same request alone": sum(told.startswith(MIXED) for told in problems),
        "answers that did not come to their end": sum(told.startswith(LOST) for told in problems),
        "wrong requests with another status than theirs": len(tally.wrong["wrong"]),
        "slots still taken at the end": tally.busy,
        "tracebacks in the log": log.count("Traceback"),
    }
    return [TimedRow(name, extra={"number": number}) for name, number in numbers.items()]


def memory(seconds: list[float]) -> list[TimedRow]:
    """The highest of each minute, in MB."""
    minutes = [seconds[at : at + 60] for at in range(0, len(seconds), 60)]
    return [TimedRow(f"minute {number}", extra={"MB": max(part)}) for number, part in enumerate(minutes, 1) if part]


if __name__ == "__main__":
    main()
