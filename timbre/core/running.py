"""How a stage or a command runs on this machine: its errors and time, and the threads that a model gets.

`run` is the entry point of every command, and of every stage by `run_stage` (timbre/mapping/stage.py). What it says on
stderr of an error, be it a message or the traceback of a bug, has no password of an address in it. The number of
threads depends on the model's size and the machine, never on the number of workers: with other threads, sums come in
another order and their last digits differ, and so would the outputs.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from timbre.core import safe_text
from timbre.core.errors import TimbreError

TIMES = Path(".timbre/times.json")  # stage → seconds of its last run here that computed; git and DVC know nothing of it
SMALL = 30e6  # parameters, below which a second thread costs more than it brings; on a busy machine, many times more
COMPUTED: list[int] = []  # entries that each map of this stage computed; empty where a stage maps nothing
OURS: list[bool] = []  # filled where this process runs a stage or a command, and not a program that uses this library
MOST = 8  # threads, beyond which they bring a larger model little; another worker brings more
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # of glibc's mallopt
LARGE, SPARE = 32 << 20, 1 << 30  # bytes: from here on an array has pages of its own, glibc's most; what may lie free

PIPE_CLOSED = 141  # what a shell reports of a program that SIGPIPE ended, as of `git log | head`
REMEDIES = {
    errno.ENOSPC: "make room on the disk, then run again",
    errno.EDQUOT: "your quota is used up; make room, then run again",
    errno.EROFS: "the disk is mounted read-only; mount it writable, or work on a copy",
    errno.EACCES: "you have no permission; `ls -l` shows whose it is",
    errno.EPERM: "you have no permission; `ls -l` shows whose it is",
    errno.EMFILE: "too many files are open; `ulimit -n 4096` allows more",
    errno.EIO: "the disk does not answer; see whether it is damaged",
    errno.EISDIR: "move the folder away; a file belongs there",
    errno.ENOTDIR: "move the file away; a folder belongs there",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ELOOP: "a link leads to itself; remove it",
}
# What libraries raise where a file cannot be read or written, without being an OSError
FILE_ERRORS = ("LibsndfileError", "SafetensorError", "ArrowInvalid")
TORCH_WRITER = "PytorchStreamWriter failed"


def run(main: Callable[[], int | None]) -> None:
    """Run a stage or command: a mistake, or a disk or reader that fails, ends in one line on stderr and exit code 1."""
    OURS.append(True)
    safe_text.guard()
    if not safe_text.capable():
        os.environ.setdefault("TQDM_DISABLE", "1")  # a bar goes back to the line's beginning
    begun, sys.excepthook = time.monotonic(), _traceback
    try:
        try:
            code = main() or 0
        finally:
            if sys.stdout:  # there is none after `>&-`
                sys.stdout.flush()  # now, where a full disk or a closed pipe can still be told
        if not code:
            remember(time.monotonic() - begun)
        sys.exit(code)
    except KeyboardInterrupt:
        print("stopped; what is finished is kept, the next run goes on from there", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # `… | head` has read enough
        _forget_output()
        sys.exit(PIPE_CLOSED)
    except Exception as error:
        if not (message := explained(error)) or os.environ.get("TIMBRE_TRACEBACK"):
            raise
        _forget_output()
        tell(message)
        sys.exit(1)


def is_ours() -> bool:
    """Whether this process runs a stage or a command of Timbre's, and nothing of anybody else."""
    return bool(OURS)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """The garbage collector is off: while torch or MLflow is imported, it takes a tenth of the time and finds none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def keep_memory() -> None:
    """What an array leaves is for the next: glibc would give it back, and the system clears each page that it gives.

    So `generate` of the demo asks for a third of the pages, and takes a second less. What goes on for long, such as a
    server, should rather give back.
    """
    import ctypes

    with contextlib.suppress(OSError, AttributeError, TypeError):  # another libc
        libc = ctypes.CDLL(None)
        libc.mallopt(MMAP_THRESHOLD, LARGE)
        libc.mallopt(TRIM_THRESHOLD, SPARE)


def explained(error: Exception) -> str:
    """What a person can do about it; empty of a bug, whose traceback is to be seen."""
    if isinstance(error, TimbreError):
        return str(error)
    if isinstance(error, OSError):
        return _of_system(error)
    if isinstance(error, UnicodeError):
        return f"a text is not UTF-8 ({error}); save the file as UTF-8, or give another name"
    if isinstance(error, MemoryError):
        return "there is not enough memory; close other programs, or lower the batch in params.yaml"
    if isinstance(error, RecursionError):
        return "a file nests too deeply to be read; `git diff` shows what changed in it"
    if type(error).__name__ in FILE_ERRORS or TORCH_WRITER in str(error):
        return f"{' '.join(str(error).split())}; is the disk full, or the file damaged?"
    return ""


def _of_system(error: OSError) -> str:
    name = next((os.fspath(name) for name in (error.filename2, error.filename) if isinstance(name, (str, bytes))), "")
    where = f"{os.fsdecode(name)}: " if name else ""
    reason = error.strerror or str(error) or type(error).__name__
    remedy = REMEDIES.get(error.errno or 0, "")
    return f"{where}{reason}" + (f"; {remedy}" if remedy else "")


def tell(message: str) -> None:
    """An error on stderr, a line each, without passwords, control characters or endless values."""
    for line in message.splitlines() or [""]:
        safe_text.warn(f"error: {line}")


def _forget_output() -> None:
    """What cannot be written is not tried again when Python ends, which would complain once more."""
    if sys.stdout is None or not isinstance(sys.stdout, safe_text.GuardedOutput):
        return
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        return
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _traceback(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
    """As Python shows it; the library that failed may have put an address with its password into its message."""
    sys.stderr.write(safe_text.harmless(safe_text.redacted("".join(traceback.format_exception(kind, error, at)))))


def remember(seconds: float) -> None:
    """What a stage took, so that `timbre diff` can say what a change will cost; of a command nobody asks it.

    A run that found all of its entries again says nothing about what computing them costs.
    """
    package, _, stage = getattr(getattr(sys.modules["__main__"], "__spec__", None), "name", "").rpartition(".")
    if package == "stages" and (any(COMPUTED) or not COMPUTED):
        with contextlib.suppress(OSError):  # a stage that did its work does not fail for a note about it
            write_times({**times(), stage: round(seconds, 1)})


def times(path: Path = TIMES) -> dict[str, float]:
    """Stage → seconds; empty where none ran here yet."""
    try:
        seconds_of: Any = json.loads(path.read_bytes())
        return {str(stage): float(seconds) for stage, seconds in seconds_of.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def write_times(seconds: dict[str, float], path: Path = TIMES) -> None:
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")  # stages may run side by side
    temporary.write_text(json.dumps(seconds, indent=1, sort_keys=True) + "\n")
    temporary.replace(path)


def cores() -> int:
    """That this process may use: in a container or under `taskset`, fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads(parameters: float) -> int:
    return 1 if parameters < SMALL else min(MOST, cores())


@contextlib.contextmanager
def loading(base: Path) -> Iterator[None]:
    """The threads that a model of a folder is loaded with: of a small one, each step waits for a second thread."""
    import torch

    before = torch.get_num_threads()
    if base.is_dir():
        size = sum(path.stat().st_size for path in base.rglob("*") if path.is_file())
        torch.set_num_threads(min(before, threads(size / 2)))  # two bytes a parameter, or more
    try:
        yield
    finally:
        torch.set_num_threads(before)


def settle(model: Any) -> None:
    """Give a torch module its threads; whatever ran before in this process may have asked for others."""
    import torch

    unread = getattr(model, "unread", 0)  # parameters of a model that was loaded only in part
    torch.set_num_threads(threads(unread + sum(weight.numel() for weight in model.parameters())))
