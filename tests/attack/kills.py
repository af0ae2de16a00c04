"""Kill every stage, and every command that writes, at random times; run it again, and compare with an undisturbed run.

    python -m tests.attack.kills                  # 300 kills, an hour or two on two cores
    python -m tests.attack.kills --kills 9 --only train --only add

A subject is one stage (`dvc repro -s`) or command in a copy of a small repository. SIGKILL goes to it and to all its
children, once to four times in a row; then the same command runs to its end, as a person would type it again, with
`timbre repair` before a stage, as `make` does. A hand was needed where that fails, or leaves other files than an
undisturbed run left.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import soundfile
from ruamel.yaml import YAML

from tests.attack.harness import root as project
from tests.support.build import build_repository
from tests.support.loopback_hub import Hub

PATIENCE = 900.0  # seconds for a run that nobody kills
EARLIEST, LATEST = 0.1, 1.05  # of an undisturbed run's time, between which a kill falls
OWNED = ("data/sources.yaml", "data/speakers.yaml", "data/transcripts", "data/recordings", "params.yaml")
STORE = "mlflow.db"
HUB = "harbour"  # a dataset on the hub of this machine
TEST = "0123456789ab"  # id of a listening test


@dataclass(frozen=True)
class Subject:
    name: str
    command: tuple[str, ...]
    outs: tuple[str, ...]  # files and folders that are compared
    prepare: Callable[[Path], None]  # makes a copy of the template one in which the command has all its work to do
    before: tuple[str, ...] = ()  # what runs before the command that is to finish
    stage: str = ""  # whose entry in dvc.lock is compared; what a cut lock has lost of others, `dvc repro` finds again
    drawn: bool = False  # its files are of random numbers, and only their names are compared


@dataclass(frozen=True)
class Left:
    """What a run left behind."""

    code: int
    output: str
    files: dict[str, str]  # path → SHA-256, or what the store holds


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attack.kills", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=300, help="at least so many (300)")
    parser.add_argument("--seed", type=int, default=1, help="of the times (1)")
    parser.add_argument("--only", action="append", default=[], help="name of a stage or command; can be repeated")
    parser.add_argument("--template", type=Path, help="a finished repository to copy, instead of making one")
    args = parser.parse_args()
    rng, kills, hands = random.Random(args.seed), 0, 0
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        template = args.template or build(Path(folder) / "template")
        chosen = [one for one in subjects(template) if not args.only or one.name in args.only]
        for number, subject in enumerate(chosen):
            share = -(-(args.kills - kills) // (len(chosen) - number))
            own, bad = killed(subject, template, Path(folder) / "work", share, rng)
            kills, hands = kills + own, hands + len(bad)
            print(f"{subject.name:12} {own:3} kills, {len(bad)} needed a hand", flush=True)
            for line in bad:
                print(f"    {line}", flush=True)
    print(f"{kills} kills over {len(chosen)} stages and commands, {hands} needed a hand")
    return 1 if hands else 0


def build(root: Path) -> Path:
    """The repository of the pipeline's tests, after its first run."""
    build_repository(root, project())
    shutil.copytree(project() / "presets", root / "presets")  # for `timbre init`
    for command in (
        ("git", "init", "-q", "-b", "main"),
        ("git", "config", "user.email", "ann@example.org"),
        ("git", "config", "user.name", "Ann"),
        ("dvc", "init", "-q"),
        ("dvc", "repro", "-q"),
        ("git", "add", "-A"),
        ("git", "commit", "-qm", "First voice"),
    ):
        done = run(command, root)
        assert done.code == 0, f"{command}\n{done.output}"
    return root


def subjects(template: Path) -> Iterator[Subject]:
    for name, outs in stages(template):
        yield Subject(
            name, ("dvc", "repro", "-s", name), (*outs, "dvc.lock"), without(*outs), ("timbre", "repair"), name
        )
    about = ("--speaker", "ann", "--language", "en", "--licence", "CC0-1.0", "--consent", "Ann, 2026-03-01")
    yield Subject("add", ("timbre", "add", "new.flac", *about), OWNED, _with_sound)
    yield Subject("import", ("timbre", "import", "dataset", "--name", "new", *about), OWNED, _with_dataset)
    yield Subject("accept", ("timbre", "accept", "--all"), OWNED, without("data/transcripts"))
    yield Subject("replace", ("timbre", "replace", "sentence", "line", "--write"), OWNED, without())
    yield Subject("remove", ("timbre", "remove", "alpha", "--write"), OWNED, without())
    yield Subject("repair", ("timbre", "repair"), ("dvc.lock", ".dvc/tmp/rwlock"), _with_empty_lock)
    yield Subject("hooks", ("timbre", "hooks"), (".git/hooks",), without())
    yield Subject("resolve", ("timbre", "resolve"), ("dvc.lock", "reports/metrics.json"), _in_conflict)
    yield Subject("export", ("timbre", "export", "ljspeech", "exported"), ("exported",), without())
    yield Subject("init", ("timbre", "init", "made"), ("made",), without())
    yield Subject("say", ("timbre", "say", "The ferry waits.", "--out", "said.flac"), ("said.flac",), without())
    yield Subject("say-lines", ("timbre", "say", "--lines", "lines.txt", "--out", "said"), ("said",), _with_lines)
    yield Subject("release", ("timbre", "release", "--out", "released"), ("released",), _with_consent)
    test = ("timbre", "compare", "--export", "test.html", "-n", "2", "--seed", "1")
    yield Subject("compare-export", test, ("test.html",), without(), drawn=True)  # by a test's name
    take = ("timbre", "compare", "--take", "answers.tsv", "--listener", "bea")
    yield Subject("compare-take", take, ("data/opinions",), lambda root: _with_answers(root, test))
    yield Subject("coverage", ("timbre", "coverage", "--out", "next.txt"), ("next.txt",), without())
    yield Subject("value", ("timbre", "value"), ("reports/value.json",), without())
    yield Subject("voices", ("timbre", "voices", "--samples", "bank"), ("bank",), without())
    yield Subject("report-copy", ("timbre", "report", "HEAD"), ("reports/report.html",), without())
    yield Subject("diff", ("timbre", "diff", "HEAD", "--full", "diff.html"), ("diff.html",), without())
    yield Subject("log", ("timbre", "log", "--plot"), ("reports/log.html",), without())
    yield Subject("promote", ("timbre", "promote", "--force", "a try"), (STORE,), without())
    round_trip = (sys.executable, "-m", "tests.attack.serve_round", "said.pcm")
    yield Subject("serve", round_trip, ("said.pcm",), lambda root: _with_consent(root, "serve"))
    push = ("timbre", "push", "dataset", f"ann/{HUB}")
    yield Subject("push", push, (HUB,), _with_nothing_published)
    yield Subject("keys", ("timbre", "keys", "--name", "Ann"), (".timbre/keys",), without(), drawn=True)


def stages(template: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every stage of dvc.yaml with its outs."""
    locked = YAML(typ="safe").load(template / "dvc.lock")["stages"]
    for name in YAML(typ="safe").load(template / "dvc.yaml")["stages"]:
        yield name, tuple(out["path"] for out in locked[name].get("outs", ())) or (STORE,)


def without(*paths: str) -> Callable[[Path], None]:
    """Take these away, and DVC's cache, out of which the stage would bring them back."""

    def prepare(root: Path) -> None:
        for path in (*paths, *((".dvc/cache", "mlruns") if paths else ())):
            shutil.rmtree(root / path) if (root / path).is_dir() else (root / path).unlink(missing_ok=True)
        if "data/transcripts" in paths:
            (root / "data/transcripts").mkdir()

    return prepare


def _with_sound(root: Path) -> None:
    shutil.copy(root / "data/recordings/alpha.flac", root / "new.flac")
    with (root / "new.flac").open("ab") as stream:
        stream.write(b"\0")  # another file than the one that is declared


def _with_dataset(root: Path) -> None:
    """Of LJSpeech's layout."""
    clips = sorted((root / "data/clips").glob("*.flac"))[:8]
    (root / "dataset/wavs").mkdir(parents=True)
    for number, clip in enumerate(clips):
        soundfile.write(root / f"dataset/wavs/{number}.wav", *soundfile.read(clip))
    rows = (f"{number}|The ferry number {number} waits.\n" for number in range(len(clips)))
    (root / "dataset/metadata.csv").write_text("".join(rows))


def _with_lines(root: Path) -> None:
    rows = [f"The ferry number {number} waits.\n" for number in ("one", "two", "three", "four", "five", "six")]
    (root / "lines.txt").write_text("".join(rows))


def _with_consent(root: Path, use: str = "publish") -> None:
    path = root / "data/speakers.yaml"
    path.write_text(path.read_text().replace("for: tests", f"for: 'tests, {use}'"))


def _with_nothing_published(root: Path) -> None:
    _with_consent(root)
    hub().repos.clear()


@functools.cache
def hub() -> Hub:
    """Where `push` publishes."""
    return Hub()


def _with_answers(root: Path, test: tuple[str, ...]) -> None:
    run(test, root)
    (drawn,) = (root / "data/opinions/tests").glob("*.json")
    plan = json.loads(drawn.read_text()) | {"id": TEST}
    drawn.unlink()
    drawn.with_stem(TEST).write_text(json.dumps(plan))
    rows = [f"{number}\tfirst\t4.2" for number in range(1, len(plan["screens"]) + 1)]
    head = (f"# timbre answers {TEST} bea", "trial\tanswer\tseconds")
    (root / "answers.tsv").write_text("\n".join([*head, *rows, ""]))


def _with_empty_lock(root: Path) -> None:
    (root / "dvc.lock").write_text("")
    (root / ".dvc/tmp/rwlock").write_text("{")


def _in_conflict(root: Path) -> None:
    """Two branches with another line in dvc.lock and in the metrics."""
    for branch, value in (("theirs", "0.25"), ("main", "0.75")):
        run(("git", "checkout", "-q", *(["-b"] if branch == "theirs" else []), branch), root)
        for path in ("dvc.lock", "reports/metrics.json"):
            text = (root / path).read_text()
            first = re.sub(r"(md5: )\w{4}", rf"\g<1>{value[2:]}00", text, count=1)
            (root / path).write_text(first if first != text else re.sub(r"(: )[\d.]+", rf"\g<1>{value}", text, count=1))
        run(("git", "commit", "-qam", branch), root)
    run(("git", "merge", "-q", "theirs"), root)


def killed(subject: Subject, template: Path, work: Path, kills: int, rng: random.Random) -> tuple[int, list[str]]:
    """How many kills it were, and what each hand would have had to mend."""
    fresh(template, work)
    subject.prepare(work)
    began = time.monotonic()
    expected = left(subject, work)
    seconds = time.monotonic() - began
    if expected.code:
        return 0, [f"fails undisturbed: {expected.output[-500:]}"]
    done, bad = 0, []
    while done < kills:
        fresh(template, work)
        subject.prepare(work)
        row: list[float] = []
        for _ in range(rng.randint(1, 4)):
            after = seconds * rng.uniform(EARLIEST, LATEST)
            if kill(subject.command, work, after):
                row.append(after)
        done += len(row)
        if row and (wrong := difference(subject, expected, work)):
            bad.append(f"after {', '.join(f'{after:.2f}' for after in row)} of {seconds:.2f} s: {wrong}")
    return done, bad


def fresh(template: Path, work: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(template, work, symlinks=True)


def difference(subject: Subject, expected: Left, work: Path) -> str:
    """What another run does not make right; that a command refuses what was finished before is right."""
    if subject.before:
        run(subject.before, work)
    found = left(subject, work)
    if found.files == expected.files:
        return ""
    names = sorted(name for name in found.files | expected.files if found.files.get(name) != expected.files.get(name))
    return f"{', '.join(names[:4])} differ, exit code {found.code}: {found.output[-500:]}"


def left(subject: Subject, root: Path) -> Left:
    done = run(subject.command, root)
    files = {name: digest for path in subject.outs for name, digest in contents(root, path, subject.stage)}
    if subject.drawn:
        files = dict.fromkeys(files, "")
    return Left(done.code, done.output, files)


def contents(root: Path, path: str, stage: str = "") -> Iterator[tuple[str, str]]:
    if path == STORE:
        yield path, _recorded(root / path)
        return
    if path == HUB:
        published = hub().repos.get(f"ann/{HUB}", {})
        yield from ((name, hashlib.sha256(content).hexdigest()) for name, content in sorted(published.items()))
        return
    place = root / path
    for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
        if ".git" in file.relative_to(place).parts:  # whose index holds times
            continue
        if file.name == "dvc.lock":  # of which DVC keeps no order
            locked = YAML(typ="safe").load(file)["stages"]
            yield path, str(locked.get(stage) if stage else sorted(locked.items()))
        elif file.is_file():
            yield file.relative_to(root).as_posix(), hashlib.sha256(file.read_bytes()).hexdigest()


def _recorded(store: Path) -> str:
    """How many runs are in it, how many are complete, and which versions have a name."""
    with sqlite3.connect(store) as database:
        runs = database.execute("select count(*) from runs where lifecycle_stage = 'active'").fetchone()[0]
        complete = database.execute("select count(*) from tags where key = 'timbre.complete'").fetchone()[0]
        names = database.execute("select alias, version from registered_model_aliases order by alias").fetchall()
    return f"{runs} runs, {complete} complete, {names}"


def kill(command: tuple[str, ...], root: Path, after: float) -> bool:
    """Whether the command still ran by then."""
    process = start(command, root)
    try:
        process.communicate(timeout=after)
        return False
    except subprocess.TimeoutExpired:
        return True
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def run(command: tuple[str, ...], root: Path) -> Left:
    process = start(command, root)
    try:
        output = process.communicate(timeout=PATIENCE)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output = process.communicate()[0] + f"\ndid not end within {PATIENCE:g} s"
    return Left(process.returncode, output, {})


def start(command: tuple[str, ...], root: Path) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DVC_", "GIT_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    env = kept | {"PATH": path, "PYTHONPATH": str(project()), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    if HUB in " ".join(command):
        env |= {"HF_ENDPOINT": hub().url, "HF_TOKEN": hub().token, "HF_HOME": str(root / "hf"), "HF_HUB_OFFLINE": "0"}
        env["HF_HUB_DISABLE_XET"] = "1"
    return subprocess.Popen(
        command, cwd=root, env=env, text=True, start_new_session=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
