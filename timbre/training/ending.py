"""How a person ends a training early and keeps the best so far: `touch .timbre/stop`, or Ctrl-C once.

The file is all there is: Ctrl-C makes it, too. The first process looks for it at each evaluation, where the state is
saved anyway, so the steps up to there are those of a training that nobody ended. Ctrl-C a second time stops at once.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from timbre.core.safe_text import warn

STOP = Path(".timbre/stop")
MESSAGE = "\ntrain: ends at the next evaluation and keeps the best so far; Ctrl-C again stops now\n"


def asked() -> bool:
    return STOP.exists()


def forget() -> None:
    """Once it was obeyed, or came too late."""
    STOP.unlink(missing_ok=True)


def forget_stale() -> None:
    if asked():
        warn(f"train: {STOP} was there before the training began; removed")
        forget()


@contextmanager
def by_ctrl_c(again: Callable[[], None] | None = None) -> Iterator[None]:
    """Let the first Ctrl-C ask for an end, and the second do what it does elsewhere, or `again`."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if not asked():
            STOP.parent.mkdir(exist_ok=True)
            STOP.touch()
            os.write(2, MESSAGE.encode())  # print could be in the middle of a line of its own
        elif again:
            again()
        else:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
