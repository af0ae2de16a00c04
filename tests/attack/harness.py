"""Runs hostile inputs in this process, and says what no input may do.

    traceback  an error that is none of ours and of no system call
    hang       more than SECONDS of this process's time
    raw        a control character on the terminal

An input is its entrance and its seed: `python -m tests.attack --entrance params --seed 4711 --inputs 1` repeats one.
"""

from __future__ import annotations

import contextlib
import io
import random
import re
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from tests.attack.hostile import Hostile
from timbre.core import running
from timbre.core.safe_text import GuardedOutput

SECONDS = 2.0  # of the process, so that a busy machine makes no hang
RAW = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]")
Attack = Callable[[Hostile], None]


@dataclass(frozen=True)
class Entrance:
    name: str
    attack: Attack
    share: int = 1  # of the inputs, beside the other entrances


@dataclass(frozen=True)
class Finding:
    entrance: str
    seed: int
    kind: str
    about: str


class Hang(BaseException):
    pass


def _alarm(number: int, frame: FrameType | None) -> None:
    raise Hang


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    before = signal.signal(signal.SIGPROF, _alarm)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def plan(entrances: Sequence[Entrance], inputs: int, seed: int) -> list[tuple[Entrance, int]]:
    """Each entrance by its share, one after the other, so that a short run meets them all."""
    order = [
        entrance
        for number in range(max(e.share for e in entrances))
        for entrance in entrances
        if number < entrance.share
    ]
    return [(order[number % len(order)], seed + number) for number in range(inputs)]


def attempt(entrance: Entrance, seed: int, seconds: float = SECONDS) -> Finding | None:
    """Run one input; None where it ended as it should."""
    out = GuardedOutput(io.BytesIO(), "utf-8", "backslashreplace")
    err = io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace")
    kind = about = ""
    began = time.process_time()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            with limited(seconds):
                entrance.attack(Hostile(random.Random(f"{entrance.name} {seed}")))
        except SystemExit:
            pass  # argparse said what is wrong
        except Hang:
            kind, about = "hang", traceback.format_exc()
        except Exception as error:
            if message := running.explained(error):
                running.tell(message)
            else:
                kind, about = "traceback", traceback.format_exc()
    if not kind and time.process_time() - began > seconds:
        kind, about = "hang", f"{time.process_time() - began:.1f} s"
    if not kind:
        kind, about = _raw(out, err)
    return Finding(entrance.name, seed, kind, about) if kind else None


def _raw(*streams: io.TextIOWrapper) -> tuple[str, str]:
    for stream in streams:
        stream.flush()
        shown = stream.buffer.getvalue().decode()  # type: ignore[attr-defined]
        if match := RAW.search(shown):
            return "raw", repr(shown[max(0, match.start() - 100) : match.end() + 100])
        if "Traceback (most recent call last)" in shown:
            return "traceback", shown[-2000:]
    return "", ""


def run(
    entrances: Sequence[Entrance],
    inputs: int,
    seed: int,
    each: Callable[[int, Finding | None], None],
    seconds: float = SECONDS,
) -> list[Finding]:
    for entrance in entrances:  # libraries are imported and tables made before anything is timed
        nowhere = io.StringIO()
        with (
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
            contextlib.suppress(Exception, SystemExit),
        ):
            entrance.attack(Hostile(random.Random(0)))
    findings = []
    for number, (entrance, own) in enumerate(plan(entrances, inputs, seed), 1):
        finding = attempt(entrance, own, seconds)
        findings += [finding] if finding else []
        each(number, finding)
    return findings


def described(findings: Sequence[Finding]) -> str:
    return "\n\n".join(
        f"{f.kind}: python -m tests.attack --entrance {f.entrance} --seed {f.seed} --inputs 1\n{f.about}"
        for f in findings
    )


def root() -> Path:
    return Path(__file__).parents[2]
