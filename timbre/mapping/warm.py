"""A stage's own process: where it can, it has the work done by a fork of one that has imported the libraries.

Importing takes each stage a quarter of a second, and some seconds where a model runs. So the first stage that DVC
starts starts a warm process beside itself (timbre/mapping/warm_process.py). A stage's own process then only asks it for
a fork, lends that its standard streams, passes signals on and ends as the fork ends; if it is killed, so is the fork.

A stage runs in its own process where something is not as the warm one has it (folder, Python, variables, limits,
process group …), where anything fails here, where something looks into it (a debugger, coverage), and with
TIMBRE_WARM=0. Linux only: elsewhere a fork is not safe once torch is imported. Standard library alone, and little of
it, because each stage imports this first.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

SWITCH = "TIMBRE_WARM"  # 0: each stage runs in its own process
MODULE = "timbre.mapping.warm_process"
STAGE = "DVC_STAGE"  # the one variable that DVC gives each stage anew
SHELLS = {"sh", "bash", "dash", "zsh", "fish", "ksh"}
PATIENCE = 120.0  # seconds; imports from a slow disk take long
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
# Where a variable's name begins so, something looks into this process, or has started several of them
APART = ("COVERAGE_", "PYDEVD", "PYTHONINSPECT", "PYTHONPROFILE", "PYTHONTRACE", "RAY_", "TORCHELASTIC_", "WORLD_SIZE")
STATUS = ("Umask", "Uid", "Gid", "Groups", "SigBlk", "SigIgn", "Cap", "NoNewPrivs", "Seccomp", "Cpus_", "Mems_")
FAMILIES = Path(__file__).parents[1] / "families"
LEAN = ("lean_transformers", "lean_torch")  # import libraries without what no voice needs
# Once one of these is edited, no warm process that began before is used
CODE = (Path(__file__), Path(__file__).with_name("warm_process.py"), *(FAMILIES / f"{name}.py" for name in LEAN))


def begin(libraries: Sequence[str], transformers: bool, start: bool) -> None:
    """A stage's process ends here as its fork does, or goes on by itself.

    Before the fork `libraries` are imported, and if asked `transformers` as it is for a training. Without `start` a
    warm process is used, but none is started.
    """
    status = None
    if wanted():
        with suppress(OSError, ValueError, IndexError):
            status = _asked({"libraries": list(libraries), "transformers": transformers}, start)
    if status is not None:
        _end_as(status)


def wanted() -> bool:
    """Whether this process is plainly `python -m stages.…` of DVC, and nothing looks into it."""
    flag, module = [*sys.orig_argv, "", ""][1:3]
    return (
        sys.platform == "linux"
        and os.environ.get(SWITCH) != "0"
        and STAGE in os.environ
        and bool(sys.stdin and sys.stdout and sys.stderr)  # none is closed
        and (flag, module.partition(".")[0]) == ("-m", "stages")
        and not (sys.gettrace() or sys.getprofile() or "coverage" in sys.modules)
        and not any(name.startswith(APART) for name in os.environ)
    )


def dvc_of_fork() -> int | None:
    """The process of `dvc repro` that a forked stage works for; its own parents are others."""
    return int(sys.orig_argv[4]) if sys.orig_argv[1:3] == ["-m", MODULE] else None


def _asked(request: dict[str, Any], start: bool) -> int | None:
    if not (dvc := _dvc()):
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.settimeout(PATIENCE)
        _connect(server, dvc, start)
        request |= {"words": sys.orig_argv[2:], "stage": os.environ[STAGE], "surroundings": surroundings()}
        if user(server) != os.getuid():
            return None
        socket.send_fds(server, [json.dumps(request).encode()], [0, 1, 2])
        return _followed(server) if server.recv(8) == b"ready" else None


def _connect(server: socket.socket, dvc: int, start: bool) -> None:
    """To this `dvc repro`'s warm process; one that is started here listens before it runs."""
    address = f"\0timbre-{os.getuid()}-{dvc}-{_stat(dvc)[19]}"  # with the time at which that began
    try:
        server.connect(address)
    except ConnectionRefusedError:
        if not start:
            raise
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(address)
            listener.listen()
            if os.fork() == 0:
                try:
                    nowhere = os.open(os.devnull, os.O_RDWR)
                    for number in range(3):
                        os.dup2(nowhere, number)
                    listener.set_inheritable(True)
                    os.execv(sys.executable, [sys.executable, "-m", MODULE, str(listener.fileno()), str(dvc)])
                finally:
                    os._exit(1)
        server.connect(address)


def _followed(server: socket.socket) -> int | None:
    """The status with which the fork ended; None if the warm process was lost, and the fork is dead."""
    news = signal.SIGIO  # of the socket, so that one call waits for that and for other signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*PASSED_ON, news})
    server.setblocking(False)
    fcntl.fcntl(server, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(server, fcntl.F_SETFL, fcntl.fcntl(server, fcntl.F_GETFL) | os.O_ASYNC)
    fork = passed = 0
    with suppress(OSError):
        server.send(b"go")
        while True:
            try:
                message, fds, *_ = socket.recv_fds(server, 16, 1)
            except BlockingIOError:
                number = signal.sigwaitinfo({*PASSED_ON, news}).si_signo
                if number != news:
                    passed = number
                    server.send(b"%d" % int(number))
                continue
            if not message:
                break
            if not fds:
                return int(message)
            fork = fds[0]
    if fork:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(fork, signal.SIGKILL)
        select.select([fork], [], [])
    if passed:
        _end_as(passed)  # the status of a process that a signal ended is its number
    signal.signal(news, signal.SIG_IGN)  # forgets what may have come
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    signal.signal(news, signal.SIG_DFL)
    return None


def _end_as(status: int) -> NoReturn:
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        with suppress(OSError):  # SIGKILL cannot be handled
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {-code})
    os._exit(code)


def surroundings() -> list[Any]:
    """What a fork has from the warm process; its variables come first."""
    variables = {name: value for name, value in os.environ.items() if name != STAGE}
    python = [sys.executable, sys.version, sys.path, list(sys.flags), sys.warnoptions]
    system = [os.getcwd(), os.getpgrp(), os.getsid(0), os.getpriority(os.PRIO_PROCESS, 0)]
    status = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(STATUS)]
    code = [path.read_text(encoding="utf-8") for path in CODE]
    return [variables, python, system, status, Path("/proc/self/limits").read_text(), code]


def _dvc() -> int | None:
    """The `dvc repro` that started this process, perhaps by a shell."""
    process = os.getppid()
    while process > 1 and Path(f"/proc/{process}/comm").read_text().strip() in SHELLS:
        process = int(_stat(process)[1])
    words = Path(f"/proc/{process}/cmdline").read_text(errors="replace").split("\0")
    return process if "repro" in words and any(Path(word).name == "dvc" for word in words[:3]) else None


def _stat(process: int) -> list[str]:
    """Of /proc/PID/stat, what follows the name: state, parent, …"""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def user(connection: socket.socket) -> int:
    return int(struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1])
