"""The page to try a voice, in a real browser: it speaks while it listens, and compares versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.review_page import until
from tests.support.speech_server import speaking_server, work_in_served


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return work_in_served(tmp_path_factory, tmp_path / "voice", monkeypatch)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_two_versions_are_heard_beside_each_other(place: Path, browser: Any, scheme: str) -> None:
    with speaking_server(["models/adapter", "models/second"]) as server:
        width = 1100 if scheme == "light" else 400
        tab = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
        complaints: list[str] = []
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto(server.url)
        tab.wait_for_selector("body[data-ready]")
        tab.locator("input[name=voice]").nth(1).check()
        tab.fill("#text", "the ferry at 9:05")
        tab.press("#text", "Control+Enter")
        until(tab, "document.querySelectorAll('.take[data-done]').length === 2")
        assert tab.locator(".take h2").all_inner_texts() == ["adapter", "second"]
        assert tab.locator(".take .said").all_inner_texts() == ["the ferry at nine oh five"] * 2
        assert "of real time), first after" in tab.locator(".take .soft").first.inner_text()
        first = tab.locator(".take .trace").first
        first.locator("summary").press("Enter")
        until(tab, "document.querySelector('.trace[data-read]')")
        version = server.service.voices.default.key
        assert first.locator("summary code").inner_text() == version[:8]
        assert first.locator("pre").inner_text().splitlines() == [
            f"{version}, spoken with as adapter; no commit that can be read here has it",
            "base base",
            "voice ann; consent for: tests, serve, publish; given by: Ann; on: 2026-01-01; learnt from: talk",
        ]
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out on a phone"
        tab.screenshot(path=place / f"{scheme}.png")
        assert complaints == []
        tab.close()
