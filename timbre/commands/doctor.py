"""Check what this machine has and lacks, and say what to do about it.

Each line is `ok`, `warn` (works, but you may want more) or `FAIL` (a stage would stop here); the exit code is 1 when
one fails. Nothing is loaded and nothing is changed: packages are asked for their versions, models looked for on disk,
and servers given a few seconds. With --verify, every file in DVC's cache and in the outputs is also read and compared
with its hash, which finds bit rot; a gigabyte takes seconds.
"""

from __future__ import annotations

import argparse
import configparser
import dataclasses
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from timbre import tracking
from timbre.commands import model_checks, project_checks
from timbre.commands.finding import Finding, Findings, known_params
from timbre.commands.options import add_json
from timbre.core.errors import TrackingError
from timbre.core.safe_text import print_json, redacted
from timbre.versions import repair, verify

EXAMPLES = [
    ("timbre doctor", "check Python, device, disk, models, DVC, MLflow"),
    ("timbre doctor --verify", "also read all that DVC keeps, and name damaged files"),
]
PACKAGES = ("torch", "transformers", "peft", "openai-whisper", "dvc", "mlflow")
GIB = 2**30
MOST = 20  # damaged files that are named


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--verify", action="store_true", help="compare the cache and all outputs with their hashes")
    add_json(parser)


def command(args: argparse.Namespace) -> int:
    findings = (finding for check in (*CHECKS, *([whole] if args.verify else [])) for finding in check())
    if args.json:
        listed = list(findings)
        print_json([dataclasses.asdict(finding) for finding in listed])
        return int(any(finding.level == "FAIL" for finding in listed))
    failed = False
    for finding in findings:  # each as it is known: a server may take seconds
        failed |= finding.level == "FAIL"
        print(
            f"{finding.level:4}  {finding.what:12} {finding.text}"
            + (f"\n      → {finding.todo}" if finding.todo else "")
        )
    return int(failed)


def python() -> Findings:
    yield Finding("ok", "Python", f"{platform.python_version()}, {sys.prefix}")


def packages() -> Findings:
    installed, missing = {}, []
    for name in PACKAGES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if installed:
        yield Finding("ok", "packages", ", ".join(f"{name} {version}" for name, version in installed.items()))
    if missing:
        yield Finding("FAIL", "packages", f"not installed: {', '.join(missing)}", "`make` installs them into .venv")


def device() -> Findings:
    gpu = _gpu()
    if not gpu:
        small = Path(str(known_params().get("voice", {}).get("base", ""))).is_dir()
        text = "no NVIDIA GPU; models run on the CPU"
        yield (
            Finding("ok", "device", text)
            if small
            else Finding(
                "warn", "device", text, "the tiny voice is fast enough so; train one of a billion parameters on a GPU"
            )
        )
    elif importlib.metadata.version("torch").endswith("+cpu"):
        yield Finding("warn", "device", f"{gpu}, which this torch cannot use", "install a torch built for CUDA")
    else:
        yield Finding("ok", "device", gpu)


def _gpu() -> str:
    if not shutil.which("nvidia-smi"):
        return ""
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def machine() -> Findings:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    text = f"{cores} cores, {memory:.0f} GiB memory"
    if memory < 3.5:
        yield Finding("warn", "machine", text, "training the tiny voice takes about 3 GiB; close what you can")
    else:
        yield Finding("ok", "machine", text)


def disk() -> Findings:
    free = shutil.disk_usage(".").free / GIB
    text = f"{free:.0f} GiB free here"
    if free < 1:
        yield Finding("FAIL", "disk", text, "the embedded voice needs 1 GiB; make room")
    elif free < 20:
        yield Finding("warn", "disk", text, "enough for the embedded voice; a large model takes 20 GiB and more")
    else:
        yield Finding("ok", "disk", text)


def versions() -> Findings:
    if not Path(".dvc/config").exists():
        yield Finding("FAIL", "DVC", "this is no DVC repository", "run this in the repository's root, or `dvc init`")
        return
    for path in repair.damaged(Path()):
        yield Finding("FAIL", "DVC", f"{path} is damaged; DVC starts no stage", "`timbre repair` makes it whole again")
    if repair.in_conflict(Path()):
        todo = "`timbre resolve`, then `dvc repro`"
        yield Finding("FAIL", "DVC", "dvc.lock is in conflict after a merge; DVC starts no stage", todo)
    config = configparser.ConfigParser()
    config.read([".dvc/config", ".dvc/config.local"])
    remotes = [section for section in config.sections() if section.strip("'").startswith("remote")]
    if not remotes:
        todo = "`dvc remote add -d storage /somewhere/else`, then `dvc push`"
        yield Finding("warn", "DVC", "no remote; audio and adapters are on this machine only", todo)
    else:
        yield Finding("ok", "DVC", redacted(", ".join(config[section].get("url", section) for section in remotes)))


def store() -> Findings:
    uri = tracking.store_uri()
    if not uri.startswith(("http://", "https://")):
        path = Path(uri.removeprefix("sqlite:///"))
        exists = not uri.startswith("sqlite:///") or path.exists()
        yield Finding("ok", "MLflow", redacted(uri) if exists else f"{uri}, made by the first run")
        return
    try:
        tracking.probe(uri)
        yield Finding("ok", "MLflow", f"{redacted(uri)} answers")
    except TrackingError as error:
        yield Finding("FAIL", "MLflow", str(error))


def whole() -> Findings:
    """What `--verify` adds."""
    for what, verified in (("cache", verify.cache(Path())), ("outputs", verify.outputs(Path()))):
        for one in verified.damaged[:MOST]:
            yield Finding("FAIL", what, f"{one.path} {one.what}", one.todo)
        if (more := len(verified.damaged) - MOST) > 0:
            yield Finding("FAIL", what, f"and {more} more", "mend these, then ask again")
        if verified.unread:
            todo = "`dvc fetch` brings the lists of their files"
            yield Finding("warn", what, f"could not be checked: {', '.join(verified.unread)}", todo)
        if not verified.damaged:
            yield Finding("ok", what, f"{verified.files} files are what their hashes say")


CHECKS: tuple[Callable[[], Findings], ...] = (
    python, packages, device, machine, disk, project_checks.settings, project_checks.recordings,
    project_checks.consents, model_checks.voice, model_checks.trained, model_checks.encoder, model_checks.listener,
    project_checks.vocabulary, versions, store,
)  # fmt: skip
