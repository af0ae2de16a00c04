"""A coroutine in a thread of its own: a browser that another test opened keeps a loop running in the test's thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_apart(question: Coroutine[Any, Any, T]) -> T:
    answers: list[T] = []
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            answers.append(asyncio.run(question))
        except BaseException as error:  # raised again where it is seen
            errors.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return answers[0]
