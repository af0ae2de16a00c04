"""The blind listening page in a real browser: heard first, answered by keys or by touch, kept in a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import listening
from tests.support.listening import BAD, GOOD, likes
from tests.support.review_client import running
from tests.support.review_page import opened, until
from timbre.project import listening_tests, opinions
from timbre.web.compare.exported_page import exported
from timbre.web.compare.routes import compare_server
from timbre.web.compare.sitting import Sitting

KEYS = {"first": "ArrowLeft", "neither": "ArrowDown", "second": "ArrowRight"}
PHONE = {"viewport": {"width": 390, "height": 800}, "color_scheme": "dark"}


@pytest.fixture
def tab(project: Path, browser: Any) -> Iterator[Any]:
    """Opens a page; the console must stay silent."""
    tabs: list[Any] = []
    told: list[list[str]] = []

    def start(url: str, **how: Any) -> Any:
        page, complaints = opened(browser, url, **how)
        tabs.append(page)
        told.append(complaints)
        return page

    yield start
    for page in tabs:
        page.close()
    assert not [complaint for complaints in told for complaint in complaints]


def hear_all(page: Any, number: int) -> None:
    """By the keys of the players."""
    until(page, f"document.body.dataset.trial === '{number}'")
    for key in page.locator(".player kbd").all_text_contents():
        page.keyboard.press(key)
    until(page, "!document.querySelector('.player:not(.heard):not([aria-label=\"Play The speaker\"])')")


def answer_all(page: Any, sitting: Sitting) -> None:
    rule = likes(GOOD)
    for number, screen in enumerate(sitting.test.screens, 1):
        hear_all(page, number)
        page.keyboard.press(KEYS[rule(screen)])
    until(page, "'done' in document.body.dataset")


def test_a_listener_answers_by_keys_and_every_answer_is_in_the_file(tab: Any, tmp_path: Path) -> None:
    sitting = listening.sitting()
    with running(compare_server(sitting)) as server:
        page = tab(server.url)
        assert page.inner_text("h1 >> nth=0") == "Which of the two would you rather hear as this speaker?"
        page.keyboard.press("Enter")
        until(page, "document.body.dataset.trial === '1'")
        page.keyboard.press("ArrowLeft")  # too early: nothing was heard
        assert page.inner_text("#hint") == "Hear A and B first"
        assert page.locator("#answers button:enabled").count() == 0
        page.screenshot(path=tmp_path / "page.png")
        answer_all(page, sitting)
        assert "data/opinions/ann.tsv" in page.inner_text("#result")
    rows = opinions.read()["ann"]
    assert rows == [
        type(row)(**vars(row) | {"seconds": kept.seconds})
        for row, kept in zip(listening.answered(sitting.test, likes(GOOD)), rows, strict=True)
    ]
    assert all(row.seconds > 0 for row in rows)


def test_the_page_is_told_no_voice_and_no_catch_trial(tab: Any) -> None:
    sitting = listening.sitting()
    with running(compare_server(sitting)) as server:
        page = tab(server.url)
        answers = page.evaluate(
            "async () => (await (await fetch('api/test')).text()) + (await (await fetch('api/trial/1')).text())"
        )
    for secret in (GOOD, BAD, "a" * 16, "spoilt", "tuned", *(one.sound for one in sitting.test.screens[0].stimuli)):
        assert secret not in answers


def test_ratings_are_given_on_a_phone_and_a_reload_goes_on_where_it_was(tab: Any, tmp_path: Path) -> None:
    sitting = listening.sitting("rating", prompts=2)
    with running(compare_server(sitting)) as server:
        page = tab(server.url, **PHONE)
        page.click("#begin")
        for number in (1, 2):
            hear_all(page, number)
            for place, rating in enumerate(likes(GOOD)(sitting.test.screens[number - 1]).split(",")):
                page.locator("input[type=range]").nth(place).fill(rating)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out on a phone"
            page.screenshot(path=tmp_path / "phone.png")
            page.click("#answers button")
            if number == 1:
                until(page, "document.body.dataset.trial === '2'")
                page.reload()
                page.wait_for_selector("body[data-ready]")
                page.click("#begin")
        until(page, "'done' in document.body.dataset")
    ratings = {row.first: row.answer for row in opinions.read()["ann"]}
    assert ratings == {GOOD: "80", BAD: "40", "true": "100", "spoilt": "5"}


def test_an_exported_test_is_answered_without_a_server_and_comes_back(tab: Any, tmp_path: Path) -> None:
    sitting = listening.sitting(listener="")
    listening_tests.save(sitting.test)
    (tmp_path / "test.html").write_text(exported(sitting, ["marina"]))
    page = tab((tmp_path / "test.html").as_uri())
    page.keyboard.press("Enter")
    answer_all(page, sitting)
    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(tmp_path / "answers.tsv")
    taken = listening_tests.take(tmp_path / "answers.tsv")
    assert taken.answered == taken.screens == len(sitting.test.screens)
    assert taken.listener.startswith("guest-")
    given = [row.answer for row in opinions.read()[taken.listener]]
    assert given == [row.answer for row in listening.answered(sitting.test, likes(GOOD))]
