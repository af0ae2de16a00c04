"""Worker processes of this machine.

Entries come back one by one, so that what a worker finished before it was killed stays. Workers end with this process,
however it ends.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar, cast

from tqdm import tqdm

from timbre.mapping.batch import ATTEMPTS, Batch, Compute, Files, computed, portable, tell_lost

T = TypeVar("T")
# spawn, not fork: a forked child of a process that has used torch's thread pool hangs
CONTEXT = multiprocessing.get_context("spawn")


def run(compute: Compute[T], batches: Sequence[Batch[T]], workers: int) -> Iterator[tuple[str, Files]]:
    pool = Pool(compute, batches, workers)
    try:
        yield from pool.results()
    finally:
        pool.end()
    tell_lost(pool.given_up)


class Worker:
    """A process that is handed batch after batch."""

    def __init__(self, compute: Compute[T]) -> None:
        self.batch: int | None = None
        self.connection, child_end = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=_serve, args=(child_end, compute), daemon=True)
        # Ctrl-C reaches every process of a terminal; this one ends the workers, which have nothing to say to it
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            child_end.close()

    def begin(self, index: int, batch: Batch[T]) -> None:
        self.batch = index
        with contextlib.suppress(OSError):  # it was killed meanwhile, as whoever reads from it will see
            self.connection.send(batch.payloads)

    def end(self) -> int:
        """Its exit code. It holds nothing that would be lost with it."""
        self.process.kill()
        self.process.join()
        self.connection.close()
        return cast(int, self.process.exitcode)


class Pool(Generic[T]):
    def __init__(self, compute: Compute[T], batches: Sequence[Batch[T]], workers: int) -> None:
        self.compute, self.batches, self.workers = compute, batches, workers
        self.waiting = deque(range(len(batches)))
        self.crew: list[Worker] = []
        self.arrived: Counter[int] = Counter()  # entries of a batch
        self.lost: Counter[int] = Counter()  # workers, at a batch
        self.given_up: dict[str, str] = {}  # a batch → what became of its workers

    def results(self) -> Iterator[tuple[str, Files]]:
        while busy := self._employed():
            for ready in wait(list(busy)):
                worker = busy[cast(Any, ready)]
                try:
                    message = worker.connection.recv()
                except (EOFError, OSError):
                    self._bury(worker)
                    continue
                yield from self._received(worker, message)

    def _employed(self) -> dict[Any, Worker]:
        """Give every worker a batch; those that have one, by their connections."""
        idle = [worker for worker in self.crew if worker.batch is None]
        while self.waiting and (idle or len(self.crew) < self.workers):
            if not idle:
                idle.append(Worker(self.compute))
                self.crew += idle
            index = self.waiting.popleft()
            idle.pop().begin(index, self.batches[index])
        return {worker.connection: worker for worker in self.crew if worker.batch is not None}

    def _received(self, worker: Worker, message: Any) -> Iterator[tuple[str, Files]]:
        if isinstance(message, BaseException):
            raise message
        if message is None:
            worker.batch = None
            return
        index, (place, files) = cast(int, worker.batch), message
        if place == self.arrived[index]:  # what arrived before its worker was killed, comes again
            self.arrived[index] += 1
            yield self.batches[index].names[place], files

    def _bury(self, worker: Worker) -> None:
        self.crew.remove(worker)
        code, index = worker.end(), cast(int, worker.batch)
        batch, how = self.batches[index], _how(code)
        if code == -signal.SIGKILL and self.workers > 1:  # most likely memory ran out, and would again
            self.workers -= 1
        self.lost[index] += 1
        if self.lost[index] == ATTEMPTS:
            self.given_up[str(batch)] = how
            return
        self.waiting.appendleft(index)
        tqdm.write(f"{batch}: its worker process was lost ({how}); once more, with {self.workers} workers", sys.stderr)

    def end(self) -> None:
        for worker in self.crew:
            worker.end()


def _how(code: int) -> str:
    if code == -signal.SIGKILL:
        return "killed, as happens where memory runs out"
    return (signal.strsignal(-code) or f"signal {-code}") if code < 0 else f"exit code {code}"


def _serve(connection: Connection, compute: Compute[T]) -> None:
    threading.Thread(target=_follow_parent, daemon=True).start()
    while True:
        try:
            payloads: Sequence[T] = connection.recv()
        except EOFError:
            return
        try:
            for numbered in enumerate(computed(compute, payloads)):
                connection.send(numbered)
            connection.send(None)
        except BaseException as error:
            connection.send(portable(error))


def _follow_parent() -> None:
    """Also where it was killed, and had no time to end its workers."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
