"""The process from which the stages of one `dvc repro` are forked: it imports libraries.

A fork imports Timbre's code anew, so an edit between two stages is seen. Threads and GPUs do not survive a fork:
if a library leaves any behind, this process forks nothing any more. It listens on an abstract socket, so that no file
is left, answers its own user only, serves one stage at a time, and ends with `dvc repro`.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import ModuleType
from typing import Any, NoReturn

from timbre.mapping.warm import FAMILIES, LEAN, PASSED_ON, PATIENCE, STAGE, surroundings, user

LONGEST = 1 << 20  # bytes of a request
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl


def _serve(listener: socket.socket, dvc: int) -> None:
    own, ended = surroundings(), os.pidfd_open(dvc)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    waited: list[Any] = [listener, ended]
    safe = True
    while ended not in select.select(waited, [], [])[0]:
        connection, _ = listener.accept()
        with connection, suppress(OSError, ValueError):
            if user(connection) != os.getuid():
                continue
            connection.settimeout(PATIENCE)
            content, streams, *_ = socket.recv_fds(connection, LONGEST, 3)
            try:
                request = json.loads(content)
                if request["surroundings"] != own or len(streams) != 3:
                    continue
                if not (safe := safe and _load(request["libraries"], request["transformers"])):
                    continue
                connection.send(b"ready")
                child = connection.recv(8) == b"go" and _forked(listener, connection, before, request, streams)
            finally:
                for stream in streams:
                    os.close(stream)
            if child:
                _follow(child, connection, listener)


def _load(libraries: Sequence[str], transformers: bool) -> bool:
    """Import them; whether a fork is safe afterwards."""
    import gc

    new = [name for name in libraries if name not in sys.modules]
    for name in new:
        with suppress(Exception):  # the stage imports it again, and is told why it cannot
            importlib.import_module(name)
    if transformers and "transformers" not in sys.modules:
        with suppress(Exception):
            _load_transformers()
    elif not new:
        return True
    gc.collect()
    gc.freeze()  # a fork's collections touch none of it, so that no page of it is copied
    if (child := os.fork()) == 0:  # numpy's OpenBLAS ends its threads before a fork, until it is used
        os._exit(0)
    os.waitpid(child, 0)
    return len(os.listdir("/proc/self/task")) == 1 and not any(map(_of_gpu, os.listdir("/proc/self/fd")))


def _load_transformers() -> None:
    """By Timbre's own way, without the package that this is in: that would import more of Timbre."""
    package: Any = ModuleType("timbre.families")
    package.__path__ = [str(FAMILIES)]
    sys.modules["timbre.families"] = package
    importlib.import_module(f"timbre.families.{LEAN[0]}").load()


def _of_gpu(fd: str) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}").startswith(("/dev/nvidia", "/dev/kfd"))
    except OSError:  # the one that listed them
        return False


def _forked(listener: socket.socket, connection: socket.socket, before: Any, request: Any, streams: list[int]) -> int:
    while signal.sigtimedwait(PASSED_ON, 0):  # of the time before
        pass
    parent = os.getpid()
    if child := os.fork():
        return child
    try:
        listener.close()
        connection.close()
        _become(parent, before, request, streams)
    finally:
        os._exit(1)


def _follow(child: int, connection: socket.socket, listener: socket.socket) -> None:
    """Hand on signals, and tell how the fork ends; it is killed if nobody waits for it any more."""
    fork = os.pidfd_open(child)
    waited: list[Any] = [fork, connection, listener]
    try:
        socket.send_fds(connection, [b"begun"], [fork])
        while fork not in (ready := select.select(waited, [], [])[0]):
            if listener in ready:
                listener.accept()[0].close()  # another at the same time runs by itself
            if connection in ready:
                number = int(connection.recv(8))  # ValueError: it was closed
                if not signal.sigtimedwait({number}, 0):  # Ctrl-C is for the whole group: the fork has had its own
                    os.kill(child, number)
    except (OSError, ValueError):
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    os.close(fork)
    connection.send(b"%d" % status)


def _become(parent: int, before: Any, request: Any, streams: list[int]) -> NoReturn:
    """The stage, as Python begins it."""
    import ctypes

    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = sys.__stdin__ = _stream(0, sys.stdin)  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = _stream(1, sys.stdout)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _stream(2, sys.stderr)  # type: ignore[misc]
    os.environ.clear()
    os.environ.update(request["surroundings"][0] | {STAGE: request["stage"]})
    sys.argv = ["-m", *request["words"][1:]]
    for name in [name for name in sys.modules if name.partition(".")[0] in ("timbre", "stages")]:
        del sys.modules[name]
    sys.modules["__main__"] = ModuleType("__main__")
    importlib.invalidate_caches()
    if numbers := sys.modules.get("numpy.random"):
        numbers.seed()  # by the system, as where it is imported
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    code: Any = 0
    try:
        runpy._run_module_as_main(request["words"][0])  # type: ignore[attr-defined]
    except SystemExit as ended:
        code = ended.code
    except BaseException as error:
        error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next  # without this frame
        sys.excepthook(type(error), error, error.__traceback__)
        code = 130 if isinstance(error, KeyboardInterrupt) else 1
    _end(code)


def _stream(number: int, like: Any) -> Any:
    """A standard stream as Python makes it, of what is open there now: it asks once whether it can seek."""
    unbuffered = like.write_through
    binary: Any = open(number, "wb" if number else "rb", 0 if number and unbuffered else -1, closefd=False)  # noqa: SIM115
    raw = getattr(binary, "raw", binary)
    raw.name = like.name
    by_line = not unbuffered and (raw.isatty() or number == 2)
    stream: Any = io.TextIOWrapper(binary, like.encoding, like.errors, "\n", by_line, unbuffered)
    stream.mode = like.mode
    return stream


def _end(code: Any) -> NoReturn:
    """As Python ends, but for taking the libraries apart, which would copy all of their pages."""
    import atexit
    import threading

    if isinstance(code, str):
        print(code, file=sys.stderr)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code & 0xFF if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as given:
        given.set_inheritable(False)
        _serve(given, int(sys.argv[2]))
    os._exit(0)  # at once: Python would take the libraries apart first
