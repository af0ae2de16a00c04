"""Stages and `dvc` in processes of their own that need not load torch first: one that has loaded it forks them.

A stage of the test repository computes for a second, and loads torch, transformers or MLflow for ten. So `folder()`
and `shared()` have a `python` and a `dvc` to put first on the PATH of a repository. Each hands its arguments,
environment, folder and standard streams to a server, which holds the libraries of other people and nothing of ours,
forks, and runs our own code as `python -m stages.…`, `-m timbre.…`, `-m tests.…` or `-m benchmarks.…` would, or
MLflow's server. Whatever else `python` is asked for, Python itself does.

The third program, `worker`, is what pytest-xdist begins its processes with: they import the same libraries.

DVC itself spends most of its time in reading YAML that it has read or written already, so this `dvc` remembers that.

What depends on how Python begins (who its parent is, signals to all children, variables that a library reads while it
is imported, save those of huggingface_hub) is tested without it. A hash seed is that of the server. Whoever sends
signals finds the process that they are for by the variable WARM_PROCESS, a file that its number is written to; with
WARM_WORKERS, the workers that torchrun begins in it are forked from it, its own children.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import hashlib
import importlib
import io
import json
import logging
import os
import pickle
import runpy
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NoReturn, TextIO

LOADED = (
    "torch", "torch.distributed.run", "torch.distributed.fsdp",
    "transformers.models.csm.modeling_csm", "transformers.models.csm.processing_csm",
    "transformers.models.mimi.modeling_mimi", "transformers.models.llama.modeling_llama",
    "transformers.models.wavlm.modeling_wavlm", "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto", "transformers.models.auto.feature_extraction_auto",
    "peft", "safetensors.torch", "whisper.timing", "whisper.normalizers", "jiwer", "numpy", "soundfile", "soxr",
    "pyloudnorm", "PIL.Image", "jinja2", "pydantic", "mlflow", "mlflow.store.tracking.sqlalchemy_store", "ruamel.yaml",
    "dvc.cli.parser", "dvc.repo.reproduce", "dvc.repo.index", "dvc.repo.graph", "dvc.repo.trie", "dvc.repo.plots",
    "dvc.cachemgr", "dvc.data_cloud", "dvc.dirs", "dvc.lock", "dvc.utils.strictyaml", "dvc.stage.run",
    "dvc.stage.cache", "dvc_data.hashfile.db.local", "networkx", "scmrepo.git", "dulwich.porcelain",
    "openai", "aiohttp",
)  # fmt: skip
CLIENT = """\
import json, os, socket, sys
program, address, real, *given = sys.argv[1:]
arguments = given[1:] if given[:1] == ["-u"] else given  # as torchrun and pytest-xdist ask
module = arguments[1] if arguments[:1] == ["-m"] else ""
ours = module.startswith(("stages.", "tests.", "timbre.", "benchmarks.")) or module in ("mlflow", "uvicorn")
if program == "python" and not ours:
    os.execv(real, [real, *given])
asked = {"program": program, "arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
with socket.socket(socket.AF_UNIX) as server:
    server.connect(address)
    socket.send_fds(server, [b" "], [0, 1, 2])
    server.sendall(json.dumps(asked).encode() + b"\\n")
    answer = server.makefile()
    process = answer.readline()
    if "WARM_PROCESS" in os.environ:
        with open(os.environ["WARM_PROCESS"], "w") as note:
            note.write(process)
    code = answer.readline()
sys.exit(int(code) if code else 1)
"""


USERS = "users"  # file beside the server's socket, locked by each process that uses the server


@contextmanager
def folder(environment: Mapping[str, str]) -> Iterator[Path]:
    """Of the programs; their server ends with the last process that uses it."""
    root = Path(tempfile.mkdtemp(prefix="warm-"))  # a short name, as a socket's must be
    with lease(root):
        start(root, environment)
        yield root / "bin"


@contextmanager
def shared(note: Path, environment: Mapping[str, str]) -> Iterator[Path]:
    """As `folder`, of the server that another process began and named in `note`, if it has not ended yet."""
    from filelock import FileLock

    with FileLock(f"{note}.lock"):
        root = Path(note.read_text()) if note.exists() else None
        if not root or not (held := joined(root)):
            root = Path(tempfile.mkdtemp(prefix="warm-"))
            held = lease(root)
            start(root, environment)
            note.write_text(str(root))
    with held:
        yield root / "bin"


def joined(root: Path) -> IO[str] | None:
    """A lease of the server, which then lasts as long; None where it has ended."""
    if not root.exists():
        return None
    held = lease(root)
    with socket.socket(socket.AF_UNIX) as server:
        if server.connect_ex(str(root / "server")) == 0:
            return held
    held.close()
    return None


def lease(root: Path) -> IO[str]:
    held = (root / USERS).open("w")
    fcntl.flock(held, fcntl.LOCK_SH)
    return held


def start(root: Path, environment: Mapping[str, str]) -> None:
    """Write the programs and begin their server."""
    address, programs = root / "server", root / "bin"
    programs.mkdir()
    (root / "yaml").mkdir()
    (root / "client.py").write_text(CLIENT, encoding="utf-8")
    for program in ("python", "dvc", "worker"):
        real = Path(sys.executable).with_name(program)
        words = [sys.executable, "-IS", root / "client.py", program, address, real]
        (programs / program).write_text(f'#!/bin/sh\nexec {shlex.join(map(str, words))} "$@"\n')
        (programs / program).chmod(0o755)
    begin = [sys.executable, __file__, str(address)]
    with subprocess.Popen(begin, env=dict(environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n", "the server of warm_python.py did not start"


def serve(root: Path) -> dict[str, Any]:
    """Returns in a new process for each thing that is asked."""
    if os.fork():
        os._exit(0)  # whoever began this server may end before it
    os.setsid()
    gc.disable()
    for name in LOADED:
        importlib.import_module(name)
    forget_ends()
    gc.collect()
    gc.enable()
    gc.freeze()  # so that a child's collections touch none of it, and no page of it is copied
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(root / "server"))
    listener.listen(16)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for whoever hands on the exit code
    print("ready", flush=True)
    users = (root / USERS).open("w")
    while True:
        readable, _, _ = select.select([listener], [], [], 1.0)  # seconds
        if not readable:
            with suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(root)
                os._exit(0)
            continue
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            return _answered(connection)
        connection.close()


def forget_ends() -> None:
    """What the libraries do when Python ends and what nobody sees: it touches 50 MB, of which each fork has a copy."""
    from torch._dynamo.utils import dump_compile_times

    atexit.unregister(dump_compile_times)
    for finaliser in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        if not finaliser.atexit:
            finaliser.detach()


def _answered(connection: socket.socket) -> dict[str, Any]:
    """In a child: fork once more, and hand on how that ends; it is killed if nobody waits for it any more."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, *_ = socket.recv_fds(connection, 1, 3)
    if not streams:  # `joined` only looked whether this server is there
        os._exit(0)
    with connection.makefile("rb") as stream:
        asked: dict[str, Any] = json.loads(stream.readline())
    ends, lives = os.pipe()
    child = os.fork()
    if child == 0:
        connection.close()
        os.setsid()
        for number, stream_number in enumerate(streams):
            os.dup2(stream_number, number)
            os.close(stream_number)
        return asked
    os.close(lives)
    connection.sendall(f"{child}\n".encode())
    readable, _, _ = select.select([connection, ends], [], [])
    if connection in readable:
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with suppress(OSError):
        connection.sendall(f"{code}\n".encode())
    os._exit(0)


def become(asked: dict[str, Any], root: Path) -> None:
    """The program that is asked for, as Python begins it; `root` is the server's folder."""
    os.chdir(asked["folder"])
    before = of_hub()
    os.environ.clear()
    os.environ.update(asked["environment"])
    if of_hub() != before:
        ask_another_hub()
    sys.dont_write_bytecode = "PYTHONDONTWRITEBYTECODE" in os.environ
    sys.argv = [asked["program"], *asked["arguments"]]
    if asked["program"] == "dvc":
        from dvc.cli import main

        remember_yaml(root / "yaml")
        sys.exit(main(asked["arguments"]))
    if "WARM_WORKERS" in os.environ:
        fork_workers(root)
    sys.path[:1] = [asked["folder"], *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    if asked["program"] == "worker":
        *_, code = asked["arguments"]
        sys.argv = ["-c"]
        sys.modules["__main__"] = ModuleType("__main__")  # which no process of multiprocessing takes for a file to run
        exec(code, vars(sys.modules["__main__"]))
        return
    if asked["arguments"][1] == "mlflow":
        sys.executable = str(root / "bin/python")  # which it begins uvicorn with
    sys.argv[:3] = ["-m"]
    runpy._run_module_as_main(asked["arguments"][1])  # type: ignore[attr-defined]


def of_hub() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("HF_")}


def ask_another_hub() -> None:
    """huggingface_hub reads its variables while it is imported; everything reads them from this module then."""
    from huggingface_hub import constants, hf_api

    importlib.reload(constants)
    hf_api.api.endpoint = constants.ENDPOINT


class Forked:
    """What torchrun asks of a process that it has begun; the names are those of `subprocess.Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float = float("inf")) -> int:
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.01)
        return code


def fork_workers(root: Path) -> None:
    """Torchrun's workers begin as forks of the process that it runs in, as far as that is still like a new one."""
    from torch.distributed.elastic.multiprocessing.subprocess_handler.subprocess_handler import SubprocessHandler

    def begin(handler: Any, words: tuple[str, ...], env: dict[str, str]) -> Forked:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if child := os.fork():
            return Forked(child)
        os.setsid()
        for number, stream in ((1, handler._stdout), (2, handler._stderr)):
            if stream:
                os.dup2(stream.fileno(), number)
        as_new()
        play({"program": "python", "arguments": [*words[2:]], "folder": os.getcwd(), "environment": env}, root)

    SubprocessHandler._popen = begin


def as_new() -> None:
    """Nothing of what our own code or torchrun has done in this process counts any more."""
    atexit._clear()
    logging.disable(logging.NOTSET)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    for name in [name for name in sys.modules if name.split(".")[0] in ("timbre", "stages", "tests")]:
        del sys.modules[name]


def remember_yaml(folder: Path) -> None:
    """Most of what DVC computes is reading YAML: params.yaml fifty times in a run, dvc.lock before each stage.

    What one run has read or written is in `folder` for all later ones, whose repositories are copies of each other.
    """
    from dvc.utils import strictyaml
    from dvc.utils.serialize import _yaml

    parse, dump = _yaml.parse_yaml, _yaml._dump
    known: dict[Path, bytes] = {}

    def place(text: str, kind: str) -> Path:
        return folder / hashlib.sha256(f"{kind}\n{text}".encode()).hexdigest()

    def keep(path: Path, data: Any) -> None:
        known[path] = pickle.dumps(data)
        part = path.with_suffix(f".{os.getpid()}")
        part.write_bytes(known[path])
        part.replace(path)

    def parse_once(text: str, path: str, typ: str = "safe") -> Any:
        kept = place(text, typ)
        if kept not in known:
            if kept.exists():
                known[kept] = kept.read_bytes()
            else:
                keep(kept, parse(text, path, typ))
        return pickle.loads(known[kept])

    def dump_and_keep(data: Any, stream: TextIO) -> None:
        written = io.StringIO()
        dump(data, written)
        keep(place(written.getvalue(), "rt"), data)
        stream.write(written.getvalue())

    _yaml.parse_yaml, _yaml._dump = parse_once, dump_and_keep
    strictyaml.parse_yaml = parse_once


def end(code: Any) -> NoReturn:
    """As Python ends, but for taking the libraries apart, which would copy all of their pages."""
    if isinstance(code, str):
        print(code, file=sys.stderr)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def play(asked: dict[str, Any], root: Path) -> NoReturn:
    """`become` it, and end as it does."""
    try:
        become(asked, root)
    except SystemExit as ended:
        end(ended.code)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        end(1)
    end(0)


if __name__ == "__main__":
    folder_of_server = Path(sys.argv[1]).parent
    play(serve(folder_of_server), folder_of_server)
