"""Things made in a thread before they are asked for, so that whoever needs them never waits while they can be made."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(make: Callable[[int], T], numbers: Iterable[int], count: int = 4) -> Generator[T]:
    """`make(number)` of each, in their order, up to `count` made ahead; an error comes out where its item would have.

    Close it (`contextlib.closing`) where it is left before its end: what is begun is then finished, and no more.
    """
    pending: deque[Future[T]] = deque()
    with ThreadPoolExecutor(1, "ahead") as thread:
        try:
            for number in numbers:
                pending.append(thread.submit(make, number))
                if len(pending) > count:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
