"""Work that a GPU does beside the frames that it is making: what a codec makes of the last while the next is computed.

    side = SideStream(device)
    with side.following():
        ...     # after all that was asked of the GPU before, and before all that is asked of it later
    with side.beside():
        ...     # as soon as what was asked beside before is done; the host may wait for it without waiting for frames

A GPU does in order what it is asked in one stream. Of all that is done beside there is one stream for each GPU, so that
it keeps an order of its own. On any other device both contexts change nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class SideStream:
    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = of(device) if device.type == "cuda" else None

    @contextmanager
    def beside(self) -> Iterator[None]:
        if self.stream is None:
            yield
            return
        with torch.cuda.stream(self.stream):
            yield

    @contextmanager
    def following(self) -> Iterator[None]:
        if self.stream is None:
            yield
            return
        main = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(main)
        with self.beside():
            yield
        main.wait_stream(self.stream)


@functools.cache
def of(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
