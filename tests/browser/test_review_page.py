"""The review page in a real browser: what one sees, hears and is led to, and how quick it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.review_page import NOON, opened, rows, saved, until
from timbre.web.server import PageServer


def test_the_page_opens_on_the_first_line_and_writes_nothing_by_itself(page: Any) -> None:
    assert page.inner_text("#progress") == "0 of 5 heard"
    assert page.locator(".row").count() == 5
    assert page.locator(".row.chosen .times").inner_text() == "0:00.20"
    assert page.locator(".unsure").all_inner_texts() == ["for.", "fairy."]
    assert page.locator(".hesitant").all_inner_texts() == ["again"]
    page.wait_for_timeout(300)
    assert not NOON.exists()


def test_space_plays_the_line_and_stops_at_its_end(page: Any) -> None:
    page.keyboard.press("j")
    page.keyboard.press("Space")
    until(page, "!document.querySelector('audio').paused && document.querySelector('audio').currentTime > 4.3")
    page.evaluate("document.querySelector('audio').currentTime = 7.4")
    until(page, "document.querySelector('audio').paused")
    assert page.evaluate("document.querySelector('audio').currentTime") == pytest.approx(7.6, abs=0.25)
    page.keyboard.press("Space")
    until(page, "!document.querySelector('audio').paused")
    page.keyboard.press("Space")
    until(page, "document.querySelector('audio').paused")


def test_least_certain_first_and_what_was_not_heard_yet(page: Any) -> None:
    page.keyboard.press("u")
    order = page.evaluate(
        "[...document.querySelectorAll('.row')].sort((a, b) => a.getBoundingClientRect().top - "
        "b.getBoundingClientRect().top).map(row => row.querySelector('.text').textContent)"
    )
    assert order[:3] == ["Boats leave from pier for.", "We wait for the fairy.", "It goes out again at night."]
    page.keyboard.press("h")
    page.keyboard.press("k")
    page.keyboard.press("k")
    page.keyboard.press("k")
    page.keyboard.press("k")
    page.keyboard.press("a")
    saved(page, lambda: rows()[1][3] == "ok")
    assert page.locator(".row").count() == 5, "it stays in sight until the filter is set again"
    assert page.locator(".row.chosen .text").inner_text() == "We wait for the fairy."
    page.keyboard.press("h")
    page.keyboard.press("h")
    assert page.inner_text("#count") == "4 lines"
    assert page.locator(".row").count() == 4


def test_another_recording_is_opened_with_its_own_lines(page: Any) -> None:
    page.keyboard.press("a")
    page.select_option("#which", "night")
    page.wait_for_selector("body[data-ready=night]")
    assert rows()[0][3] == "ok", "saved before it was left"
    assert page.inner_text("#progress") == "0 of 5 heard"
    assert "1 of 5" in page.locator("#which option").first.inner_text()


def test_the_keys_are_listed_by_a_key(page: Any) -> None:
    page.keyboard.press("?")
    assert "merge with the next line" in page.inner_text("#help[open]")
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    page.keyboard.type("? a d m ")
    assert page.locator("dialog[open]").count() == 0, "keys write while one writes"
    assert "? a d m" in page.locator(".row.chosen .text").inner_text()


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_its_window(serve: Callable[..., PageServer], browser: Any, width: int, scheme: str) -> None:
    tab, complaints = opened(browser, serve().url, viewport={"width": width, "height": 760}, color_scheme=scheme)
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert tab.evaluate("document.documentElement.scrollHeight") <= 760
    assert tab.evaluate("document.querySelector('main').clientHeight") > 250, "room for lines"
    assert complaints == []
    tab.close()


class Calls:
    """How often the page's own functions are called: as often on a busy machine as on any other."""

    def __init__(self, tab: Any) -> None:
        self.session = tab.context.new_cdp_session(tab)
        self.session.send("Profiler.enable")
        self.session.send("Profiler.startPreciseCoverage", {"callCount": True, "detailed": False})

    def since(self) -> int:
        """Of all functions, since this was asked last."""
        scripts = self.session.send("Profiler.takePreciseCoverage")["result"]
        return sum(function["ranges"][0]["count"] for script in scripts for function in script["functions"])


def test_of_three_thousand_lines_those_in_sight_are_painted_and_a_key_looks_at_each_line_a_few_times(
    serve: Callable[..., PageServer], browser: Any
) -> None:
    lines = 3000
    tab, complaints = opened(browser, serve(names=("noon",), seconds=9000.0, lines=lines, rate=8000).url)
    tab.set_default_timeout(60_000)
    calls, asked = Calls(tab), []
    tab.on("request", lambda request: asked.append(request.url))
    tab.reload()
    tab.wait_for_selector("body[data-ready]")
    tab.wait_for_selector(".row.chosen")
    opening = calls.since() / lines
    assert tab.locator(".row").count() < 60, "only what is in sight exists"
    assert sum("/api/recording/" in url for url in asked) == 1, "all lines come at once"
    until(tab, "document.querySelector('#progress').textContent === '0 of 3000 heard'")

    tab.evaluate("document.querySelector('main').scrollTop = 1e9")
    until(tab, "[...document.querySelectorAll('.times')].some(time => time.textContent === '2:29:57.20')")
    tab.locator(".row", has_text="2:29:57.20").locator(".times").click()  # plays it: the sound of hours in is near
    until(tab, "document.querySelector('audio').currentTime > 8997.3 && !document.querySelector('audio').paused")
    tab.keyboard.press("Space")
    until(tab, "document.querySelector('audio').paused")
    tab.evaluate("document.querySelector('main').scrollTop = 0")
    tab.locator(".row", has_text="0:00.20").locator(".times").click()
    tab.keyboard.press("Space")
    tab.keyboard.press("Enter")
    said = " and the sea was calm and the sea was calm"
    calls.since()
    tab.keyboard.type(said, delay=40)
    saved(tab, lambda: rows()[0][4].endswith("calm"))  # the whole file, several times meanwhile
    typed = calls.since() / lines / len(said)
    tab.keyboard.press("Escape")
    calls.since()
    for _ in range(5):
        tab.keyboard.press("a")
    saved(tab, lambda: rows()[4][3] == "ok")
    accepted = calls.since() / lines / 5
    print(f"calls per line: opening {opening:.1f}, a key {typed:.1f}, a line that is accepted {accepted:.1f}")
    assert opening < 45
    assert typed < 5
    assert accepted < 12
    assert complaints == []
    tab.close()
