"""Several processes, on one machine or on more, that learn together what one would learn alone.

    if not processes.launch(params.processes, "stages.train"):  # true when those that it started have done the work
        with processes.joined(params.processes):
            ...                                                 # in each of them; here, where one is enough

Each takes its part of every batch, and `add_up` makes of their gradients and losses those of the whole batch: nothing
else passes between them in a step. The first process alone writes and talks. They are started by torchrun's own means,
here or by the user (torchrun, accelerate launch), and none outlives the one that started it.

Processes of one machine find each other by a file that only this user can read, and talk over the loopback: nobody on
the network can reach them. Those of several machines need a private network, see docs/several-gpus.md: whatever reaches
the port of the first could make the others run code of its own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from timbre.core.errors import DataError, ParamsError, TimbreError
from timbre.families import Part
from timbre.training import ending

ProcessCount = int | Literal["auto"]  # processes on all machines together; auto is one per GPU, or one
T = TypeVar("T")
PATIENCE = 10  # seconds that a process, its connection broken, leaves the launcher to end it and tell the reason
MEETING = "TIMBRE_MEETING"  # variable: the file by which the processes of one machine find each other
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
BROKEN = ("Connection closed", "Connection reset", "Broken pipe", "gloo", "NCCL")  # in what torch says of it


def launch(processes: ProcessCount, module: str) -> bool:
    """Run this program, `python -m module`, once in each of the processes; False where one is enough or they run.

    Of several machines (torchrun's own PET_NNODES, PET_NODE_RANK, PET_MASTER_ADDR) each runs its share of them.
    """
    machines = int(os.environ.get("PET_NNODES", 1))
    here = gpus() or 1 if processes == "auto" else processes // machines
    if _world() > 1 or here * machines == 1:
        return False
    if processes not in ("auto", here * machines):
        raise ParamsError(f"train.processes: {processes} is no multiple of the {machines} machines")
    if gpus() and here > gpus():
        raise ParamsError(f"train.processes: {here} on a machine with {gpus()} GPUs; one process per GPU is the most")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // here)))
    with tempfile.TemporaryDirectory(prefix="timbre-") as logs:
        _run(module, here, alone=machines == 1, logs=Path(logs))
    return True


def _run(module: str, here: int, *, alone: bool, logs: Path) -> None:
    from torch.distributed import DistError, run
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    def stop_now() -> None:
        raise SignalException("Ctrl-C, twice", signal.SIGINT)

    logging.disable(logging.CRITICAL)  # torchrun's own account of what `_told` says in a line
    options = ["--nproc-per-node", str(here), "--log-dir", str(logs)]
    if alone:
        options += ["--signals-to-handle", "SIGTERM,SIGHUP,SIGQUIT"]  # without SIGINT, which `ending` handles
        options += ["--rdzv-backend", "c10d", "--rdzv-endpoint", str(logs / "agent"), "--rdzv-conf", "store_type=file"]
        os.environ |= {MEETING: str(logs / "meeting"), "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
        os.environ |= {f"{library}_SOCKET_IFNAME": LOOPBACK for library in ("GLOO", "NCCL")}
    if here > 1:
        options += ["--redirects", ",".join(f"{other}:3" for other in range(1, here))]  # 3: both streams, to files
    try:
        with ending.by_ctrl_c(stop_now) if alone else contextlib.nullcontext():
            run.run(run.parse_args([*options, "-m", module, *sys.argv[1:]]))
    except ChildFailedError as error:
        if not (message := _told(error, logs)):
            sys.exit(1)
        print(file=sys.stderr)  # the line of a bar was not ended
        raise TimbreError(message) from None
    except DistError as error:
        reason = str(error).splitlines()[0]
        raise TimbreError(f"the machines did not find each other ({reason}); see PET_MASTER_ADDR") from error
    except SignalException as error:
        print(file=sys.stderr)
        if error.sigval == signal.SIGINT:
            raise KeyboardInterrupt from None
        sys.exit(128 + error.sigval)
    finally:
        logging.disable(logging.NOTSET)


def _told(error: Any, logs: Path) -> str:
    """Why the first one failed; empty where it has said so itself, which the first process on a machine can."""
    ended = [(f.exitcode == -signal.SIGTERM, f.exitcode > 0, f.local_rank, rank) for rank, f in error.failures.items()]
    rank = min(ended)[-1]  # the launcher ends the others by SIGTERM
    failure = error.failures[rank]
    if failure.exitcode < 0:
        name = failure.signal_name()
        reason = " for want of memory, likely" if name == "SIGKILL" else ""
        return f"process {rank} was ended by {name}{reason}; what is finished is kept, the next run goes on from there"
    if failure.local_rank == 0:
        return ""
    written = (path.read_text().splitlines() for path in logs.rglob(f"{failure.local_rank}/stderr.log"))
    lines = [line for file in written for line in file if line]
    own = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return f"process {rank}: " + "\n".join(own or lines or [f"ended with exit code {failure.exitcode}"])


@contextlib.contextmanager
def joined(processes: ProcessCount) -> Iterator[None]:
    """Be one of the processes, with a GPU of one's own where there are any; only the first is heard."""
    world = _world()
    if processes not in ("auto", world):
        raise ParamsError(
            f"train.processes: {processes} is wanted, but {world} were started; make them the same, or auto"
        )
    if world == 1:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the launcher, which passes it on, says that it was stopped
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    import torch
    import torch.distributed as dist

    if count := gpus():
        if (own := int(os.environ["LOCAL_RANK"])) >= count:
            raise ParamsError(f"train.processes: more processes than the {count} GPUs of this machine")
        torch.cuda.set_device(own)
    where: dict[str, Any] = {}
    if meeting := os.environ.get(MEETING):
        where = {"init_method": Path(meeting).as_uri(), "rank": int(os.environ["RANK"]), "world_size": world}
    dist.init_process_group("cpu:gloo,cuda:nccl" if count else "gloo", **where)
    assert dist.get_world_size() == world, "some launchers start one process and say nothing"
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(sys.stdout if first() else nowhere):
            yield
    except RuntimeError as error:
        if not any(sign in str(error) for sign in BROKEN):
            raise
        time.sleep(PATIENCE)
        raise TimbreError("another process ended; the next run goes on from what is kept") from error
    dist.destroy_process_group()


def _end_with(parent: int) -> None:
    """A launcher that was killed could end nobody."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)


def _world() -> int:
    return int(os.environ.get("WORLD_SIZE", 1))


def started_here() -> bool:
    """Whether `launch` started this process, on this machine alone."""
    return MEETING in os.environ


def alone() -> bool:
    """Whether no launcher started this process, nor is it to start its share of what runs on several machines."""
    return _world() == 1 and int(os.environ.get("PET_NNODES", 1)) == 1


def gpus() -> int:
    import torch

    return int(torch.cuda.device_count())


def part() -> Part:
    """This process's, of each batch."""
    import torch.distributed as dist

    return Part(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else Part(0, 1)


def first() -> bool:
    return part().number == 0


def add_up(tensors: Sequence[Any]) -> None:
    """Each tensor becomes its sum over all processes, the same in all of them."""
    if part().of == 1:
        return
    import torch
    import torch.distributed as dist

    whole = torch.cat([tensor.flatten() for tensor in tensors])  # one message for all of them
    dist.all_reduce(whole)
    for tensor, summed in zip(tensors, whole.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(summed.view_as(tensor))


def told(value: T) -> T:
    """What the first process has here, for all."""
    if part().of == 1:
        return value
    import torch.distributed as dist

    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


def agree(key: Any) -> None:
    """All are to learn from the same: two machines may stand at different commits."""
    if told(key) != key:
        raise DataError("this machine has another version than the first: `git pull`, `dvc pull`, and begin again")


def spread(stacks: Sequence[Any]) -> None:
    """Each process keeps its share of the layers' frozen weights; a layer is put together while it computes.

    What is learnt is small and stays whole everywhere: it is added up, saved and loaded as without.
    """
    import torch
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cuda" if torch.cuda.is_available() else "cpu", (part().of,))
    for stack in stacks:
        frozen = {weight for weight in stack.layers.parameters() if not weight.requires_grad}
        whole = {weight for weight in stack.parameters() if weight not in frozen}
        for module in [*stack.layers, stack]:  # the stack last: it lets a layer's weights come while another computes
            fully_shard(module, mesh=mesh, ignored_params=whole)
