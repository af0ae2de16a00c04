"""The same batches as tasks of a Ray cluster: one that runs somewhere, or one started here for this map alone.

Ray gives a task a worker process and keeps that for the next one, so that a model is loaded once, and runs a task again
whose worker or machine was lost. This process alone says what is to be done and writes what was; docs/cluster.md says
what the other machines need.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from timbre.core.errors import EngineError
from timbre.core.running import cores
from timbre.core.safe_text import warn
from timbre.core.sections import ComputeParams
from timbre.mapping import ray_worker
from timbre.mapping.batch import ATTEMPTS, Batch, Compute, Files, tell_lost
from timbre.mapping.dvc_remote import Remote
from timbre.mapping.ray_worker import LeftOut

T = TypeVar("T")
ANSWER = 3.0  # seconds that a cluster may take to answer
STORE = 100 * 2**20  # bytes of memory for what tasks gave and nobody fetched yet, of a cluster started here
# Ray reads these as it is imported. It reports to nobody, gives up a task that memory runs out for …
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_task_oom_retries": str(ATTEMPTS - 1)}
# … and of a cluster on this machine alone, takes 127.0.0.1 for what it is, and kills no task where another program
# takes the memory: Linux kills whoever took most.
ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_memory_monitor_refresh_ms": "0"}


def run(
    compute: Compute[T], batches: Sequence[Batch[T]], params: ComputeParams, independent: bool, gpu: bool
) -> Iterator[tuple[str, Files]]:
    given_up: dict[str, str] = {}
    with joined(params) as ray:
        cluster = Cluster(ray, compute, params.workers, gpu)
        if independent:
            batches = [part for batch in batches for part in batch.shared_out(cluster.share.width)]
        waiting = list(range(len(batches)))[::-1]
        running: dict[Any, int] = {}
        while waiting or running:
            while waiting and len(running) < cluster.share.width:
                index = waiting.pop()
                running[cluster.begin(batches[index].payloads)] = index
            task = ray.wait(list(running))[0][0]
            index = running.pop(task)
            try:
                outcome = ray.get(task)
            except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
                given_up[str(batches[index])] = type(error).__name__
                continue
            except ray.exceptions.RayError as error:
                raise EngineError(f"Ray, at {batches[index]}: {_first_line(error)}") from error
            if isinstance(outcome, BaseException):
                raise outcome
            if isinstance(outcome, dict):
                cluster.help_or_leave_out(cast(LeftOut, outcome))
                waiting.append(index)
                continue
            yield from zip(batches[index].names, outcome, strict=True)
    tell_lost(given_up)


class Cluster:
    """The machines that take part, and how a batch is begun on one of them."""

    def __init__(self, ray: Any, compute: Compute[Any], workers: int | None, gpu: bool) -> None:
        self.ray, self.workers, self.gpu = ray, workers, gpu
        self.left_out: dict[str, LeftOut] = {}  # by Ray's id of the machine
        self.share = self._share()
        self._task = ray.remote(max_retries=ATTEMPTS - 1)(_task())
        self._order = (str(Path.cwd()), ray.put(ray.cloudpickle.dumps(compute)), socket.gethostname())
        self._code, self._named = ray_worker.code(Path()), ray_worker.contents(ray_worker.named_by(compute))
        self._remote = Remote(Path())
        self._sent: set[str] = set()  # MD5 of what the remote has
        self._sends = False  # whether a machine has not all that it needs, so that the remote has to have it

    def begin(self, payloads: Sequence[Any]) -> Any:
        needed = {**self._named, **ray_worker.contents(ray_worker.paths_in(payloads))}
        if self._sends:
            self._send({str(Path(path, name)): md5 for path, files in needed.items() for name, md5 in files.items()})
        root, compute, home = self._order
        task = self._task.options(num_cpus=self.share.cpus, num_gpus=self.share.gpus, label_selector=self._others())
        return task.remote(root, compute, self.ray.cloudpickle.dumps(payloads), home, self._code, needed)

    def help_or_leave_out(self, machine: LeftOut) -> None:
        """Send the remote what the machine lacks; where that cannot help, let the others do its work."""
        if any(md5 not in self._sent for md5 in machine["files"].values()) and self._send(machine["files"]):
            self._sends = True
            return
        if machine["node"] in self.left_out:
            return  # a batch that was begun before
        self.left_out[machine["node"]] = machine
        if not self._nodes():
            raise EngineError(machine["reason"])
        warn(f"{machine['machine']}: computes nothing of this stage: {machine['reason']}")
        self.share = self._share()

    def _send(self, files: Mapping[str, str]) -> bool:
        new = {md5: Path(path) for path, md5 in files.items() if md5 not in self._sent}
        if new and not self._remote.send(new):
            return False
        self._sent.update(new)
        return True

    def _nodes(self) -> list[Mapping[str, float]]:
        nodes = [node for node in self.ray.nodes() if node["Alive"]]
        return [node["Resources"] for node in nodes if node["NodeID"] not in self.left_out]

    def _share(self) -> Share:
        return share_of(self._nodes(), self.workers, self.gpu)

    def _others(self) -> dict[str, str] | None:
        return {"ray.io/node-id": f"!in({','.join(sorted(self.left_out))})"} if self.left_out else None


class Share(NamedTuple):
    """What of the cluster each task takes, and how many run at once."""

    cpus: int
    gpus: float
    width: int


def share_of(nodes: Sequence[Mapping[str, float]], workers: int | None, gpu: bool) -> Share:
    """Where there are GPUs, what can use one runs on those alone: no entry is another machine's approximation."""
    cpus, gpus = (int(sum(node.get(kind, 0) for node in nodes)) for kind in ("CPU", "GPU"))
    if gpu and gpus:
        width = workers or gpus
        return Share(1, min(1.0, max(1, 100 * gpus // width) / 100), width)
    if not cpus:
        raise EngineError("compute.engine: the Ray cluster has no CPUs; `ray start` on a machine adds its own")
    width = min(workers or cpus, cpus)
    largest = int(max(node.get("CPU", 0) for node in nodes))
    return Share(max(1, min(cpus // width, largest)), 0, width)


def _task() -> Callable[..., Any]:
    """What Ray runs. It is pickled with its code, not by its name, because it has to find this project first."""

    def task(root: str, *order: Any) -> Any:
        import os
        import socket
        import sys

        import ray

        try:
            os.chdir(root)
            sys.path[:0] = [root] * (root not in sys.path)
            from timbre.mapping import ray_worker
        except (OSError, ImportError) as error:
            reason = f"{root} is not there as it is where it is run from ({error}); see docs/cluster.md"
            node = ray.get_runtime_context().get_node_id()
            return {"machine": socket.gethostname(), "node": node, "reason": reason, "files": {}}
        return ray_worker.work(*order)

    return task


@contextlib.contextmanager
def joined(params: ComputeParams) -> Iterator[Any]:
    """The module ray, while this process belongs to the cluster."""
    alone = params.address is None
    here = alone or str(params.address).startswith(("127.", "localhost:"))
    # whoever else is on this machine does not know the word
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)} if alone else {}
    with _environment({**SETTINGS, **(ALONE if here else {}), **secret}), contextlib.ExitStack() as stack:
        ray = _ray()
        if alone:
            # not in TMPDIR: a socket's whole path has 107 characters at most, and Ray takes 61 of them
            folder = tempfile.mkdtemp(prefix="timbre-ray-", dir="/tmp")
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            own = {"num_cpus": max(cores(), params.workers or 1), "object_store_memory": STORE, "_temp_dir": folder}
            options = {"address": "local", "include_dashboard": False, **own}
        else:
            _check_answer(str(params.address))
            options = {"address": params.address}
        stack.callback(ray.shutdown)
        try:
            ray.init(**options, log_to_driver=False, logging_level="ERROR")
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            where = params.address or "this machine"
            raise EngineError(f"compute.address: Ray on {where} cannot be joined: {_first_line(error)}") from error
        yield ray


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise EngineError(
            "compute.engine: ray needs the package ray: `pip install -c constraints.txt '.[ray]'`"
        ) from error
    return ray


def _check_answer(address: str) -> None:
    """Ray itself would try for a minute."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), ANSWER).close()
    except (OSError, ValueError) as error:
        raise EngineError(
            f"compute.address: no Ray cluster answers at {address} ({error}); docs/cluster.md shows how to start one"
        ) from error


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update({name: value for name, value in values.items() if before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
