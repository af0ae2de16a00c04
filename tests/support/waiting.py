"""Waiting for what another thread or process does: until it is so, and not for a time that was guessed."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 120  # seconds after which it will never be so, also on a busy machine


def until(reached: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < end, f"it was not reached in {PATIENCE} s"
        time.sleep(0.01)
