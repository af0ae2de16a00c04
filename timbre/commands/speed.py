"""Measure how fast two versions speak on this machine, each with its own code.

Both speak the same sentences of data/prompts.tsv in turn, without a clip to clone, each in a process of its own that
runs the library of its commit. What is compared is the computing for a second of speech: CPU seconds, or seconds of the
clock where there is a GPU. Other work on the machine blurs the clock, hardly the CPU seconds. The file is for
`timbre diff --speed`, which checks it against a margin; seconds of two machines are never compared.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timbre.commands.place import given_path
from timbre.core.errors import DataError, ModelError
from timbre.diff import regression, speed
from timbre.diff.speed import SpeedComparison, SpokenTime, TimedSentence
from timbre.versions.snapshot import Snapshot, fork_point, open_snapshot

if TYPE_CHECKING:
    from timbre.exchange.voice_versions import VoiceVersion

EXAMPLES = [
    ("timbre speed", "your work tree against where its branch left main"),
    ("timbre speed v1 v2", "two versions, each with the code of its commit"),
    ("timbre speed main HEAD --out speed.json", "for `timbre diff main HEAD --speed speed.json --check`"),
]
FILE = Path(".timbre/speed.json")
SPEAKER = Path(__file__).with_name("timed_voice.py")
WORDS = 3  # a shorter sentence is mostly what every sentence costs


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("old", nargs="?", help="a commit, branch or tag (where this branch left main)")
    parser.add_argument("new", nargs="?", help="a commit, branch or tag (the work tree)")
    parser.add_argument("-n", type=int, default=30, metavar="N", help="sentences to speak (30)")
    parser.add_argument("--minutes", type=float, default=5, metavar="M", help="begin no sentence after M minutes (5)")
    parser.add_argument("--out", type=given_path, default=FILE, metavar="FILE", help=f"file to write ({FILE})")


def command(args: argparse.Namespace) -> int:
    root = Path.cwd()
    texts = sentences(args.n)
    with ExitStack() as stack:
        sides = [stack.enter_context(open_snapshot(root, name)) for name in (args.old or fork_point(root), args.new)]
        voices = [stack.enter_context(speaking(root, side)) for side in sides]
        unit = "clock" if all(voice.gpu for voice in voices) else "cpu"
        timed = list(in_turn(voices, texts, unit, args.minutes * 60))
    old, new = (side.commit for side in sides)
    compared = SpeedComparison(old, new, unit, timed)
    speed.write(args.out, compared)
    print(told(sides, compared))
    print(f"written to {args.out}; `timbre diff --speed {args.out}` shows it beside the rest")
    return 0


def sentences(count: int) -> list[str]:
    """Of the report's prompts, evenly spread over them; and one before, to warm up."""
    from timbre.project.prompts import PATH, read_prompts

    if count < 1:
        raise DataError(f"-n {count}: at least one sentence")
    texts = [prompt.text for prompt in read_prompts(PATH) if len(prompt.text.split()) >= WORDS and not prompt.language]
    if not texts:
        raise DataError(f"{PATH}: no sentence of {WORDS} words or more in the recordings' own language")
    wanted = min(count, len(texts))
    chosen = [texts[number * len(texts) // wanted] for number in range(wanted)]
    return [chosen[-1], *chosen]


class TimedVoice:
    """A process that speaks with one version and says what it took."""

    def __init__(self, process: subprocess.Popen[str], name: str) -> None:
        self._process, self.name = process, name
        self.gpu = bool(self._answer()["gpu"])

    def say(self, text: str) -> dict[str, float]:
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps({"text": text}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the next line says so
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise ModelError(f"{self.name}: its code could not speak, as it says above; nothing was measured")
        return dict(json.loads(line))


@contextmanager
def speaking(root: Path, version: Snapshot) -> Iterator[TimedVoice]:
    with tempfile.TemporaryDirectory(prefix="timbre-speed-") as scratch, ExitStack() as stack:
        voice = allowed_voice(version)
        assert voice.adapter
        home = root if version.commit is None else unpacked(root, version.commit, voice, Path(scratch))
        command = [sys.executable, "-P", str(SPEAKER), str(voice.adapter.resolve())]
        environment, pipe = {**os.environ, "PYTHONPATH": str(home)}, subprocess.PIPE
        process = stack.enter_context(
            subprocess.Popen(command, cwd=home, env=environment, stdin=pipe, stdout=pipe, encoding="utf-8")
        )
        stack.callback(process.kill)
        yield TimedVoice(process, version.name)


def allowed_voice(version: Snapshot) -> VoiceVersion:
    """By what data/speakers.yaml says today, whatever that commit's says."""
    from timbre.exchange import voice_versions
    from timbre.project.permissions import Permissions
    from timbre.versions.tables import ADAPTER

    voice = voice_versions.find(version.commit or ADAPTER)
    Permissions().check_learnt(voice.speakers, version.name)
    return voice


def unpacked(root: Path, commit: str, voice: VoiceVersion, folder: Path) -> Path:
    """The commit's files, without touching the work tree; and its base model, where git does not have it."""
    with subprocess.Popen(["git", "archive", "--format=tar", commit], cwd=root, stdout=subprocess.PIPE) as archive:
        done = subprocess.run(["tar", "-xf", "-", "-C", str(folder)], stdin=archive.stdout, check=False)
    if done.returncode or archive.returncode:
        raise DataError(f"{commit[:8]}: git could not write its files, as it says above")
    base = Path(voice.voice.base)
    if not base.is_absolute() and base.is_dir() and not (folder / base).exists():
        (folder / base).parent.mkdir(parents=True, exist_ok=True)
        (folder / base).symlink_to(base.resolve())
    return folder


def in_turn(voices: Sequence[TimedVoice], texts: Sequence[str], unit: str, most: float) -> Iterator[TimedSentence]:
    """Each sentence by both, now one first and now the other; the first sentence only warms both up."""
    ends = time.monotonic() + most
    for number, text in enumerate(texts):
        if number > 1 and time.monotonic() > ends:
            return
        took = [SpokenTime(0, 0)] * 2
        for side in (0, 1) if number % 2 else (1, 0):
            answer = voices[side].say(text)
            took[side] = SpokenTime(answer[unit], answer["sound"])
        if number and all(one.sound > 0 and one.computing > 0 for one in took):
            yield TimedSentence(text, *took)


def told(sides: Sequence[Snapshot], compared: SpeedComparison) -> str:
    kind = "CPU seconds" if compared.unit == "cpu" else "seconds"
    change = regression.speed_change(compared)
    if change is None:
        return "nothing was measured: no sentence had a sound in both versions"
    totals = [
        (sum(one.computing for one in side), sum(one.sound for one in side))
        for side in ([row.old for row in compared.sentences], [row.new for row in compared.sentences])
    ]
    rates = ", ".join(
        f"{side.name} {computing / sound:.3f}" for side, (computing, sound) in zip(sides, totals, strict=True)
    )
    return f"{kind} for a second of speech: {rates}; {regression.shown(change)} over {change.compared} sentences"
