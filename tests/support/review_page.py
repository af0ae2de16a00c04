"""The review page in a real browser: how it is opened, and what a test waits for."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.review_client import running
from tests.support.review_repository import build
from timbre.web.pages import review_server
from timbre.web.review.transcripts_service import TranscriptsService
from timbre.web.server import PageServer

NOON = Path("data/transcripts/noon.tsv")


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., PageServer]]:
    with contextlib.ExitStack() as stack:

        def start(**how: Any) -> PageServer:
            monkeypatch.chdir(build(tmp_path, **how))
            return stack.enter_context(running(review_server(TranscriptsService())))

        yield start


@pytest.fixture
def page(serve: Callable[..., PageServer], browser: Any) -> Iterator[Any]:
    """The first recording, opened; the console must stay silent."""
    tab, complaints = opened(browser, serve().url)
    yield tab
    assert complaints == [], "\n".join(complaints)
    tab.close()


def opened(browser: Any, url: str, **how: Any) -> tuple[Any, list[str]]:
    complaints: list[str] = []
    tab = browser.new_page(**how)
    tab.set_default_timeout(10_000)
    # the browser itself tells of an answer 409, which the page expects and shows
    tab.on("console", lambda message: "409" in message.text or complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(url)
    tab.wait_for_selector("body[data-ready]")
    return tab, complaints


def save_in_editor(content: str) -> None:
    """The transcript at once with other content, as editors save; the page may read it at any moment."""
    new = NOON.with_name(".noon.tsv.new")
    new.write_text(content)
    new.replace(NOON)


def until(page: Any, expression: str) -> None:
    """Like playwright's `wait_for_function`, which evaluates inside the page, where its policy rightly forbids it."""
    end = time.monotonic() + 60
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(20)


def rows(path: Path = NOON) -> list[list[str]]:
    """The lines of the file: start, end, speaker, flag, text."""
    return [row.split("\t") for row in path.read_text().splitlines() if not row.startswith(("#", "start"))]


def saved(page: Any, check: Callable[[], bool]) -> None:
    """Wait until the file says so: saves are at once, and seen on disk."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if NOON.exists() and check():
            until(page, "document.querySelector('#saved').textContent === 'Saved'")
            return
        page.wait_for_timeout(20)
    raise AssertionError(f"{page.inner_text('#saved')}\n{NOON.read_text() if NOON.exists() else 'no file'}")


def texts(page: Any) -> list[str]:
    return [row.strip() for row in page.locator(".row .text").all_inner_texts()]
