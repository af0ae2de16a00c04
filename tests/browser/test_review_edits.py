"""Edits in the review page, from the keys to the bytes of the transcript."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.review_page import NOON, opened, rows, save_in_editor, saved, texts, until
from timbre.web.server import PageServer


def test_a_typed_word_is_saved_at_once_and_changes_one_line(page: Any) -> None:
    page.keyboard.press("a")
    saved(page, lambda: rows()[0][3] == "ok")
    before = NOON.read_text().splitlines()
    assert page.inner_text("#progress") == "1 of 5 heard"
    assert page.locator(".row.chosen .times").inner_text() == "0:04.20", "accepting goes on"
    page.keyboard.press("Enter")
    for _ in range(4):
        page.keyboard.press("Backspace")
    page.keyboard.type("four <b>&amp;</b>.")
    saved(page, lambda: rows()[1][4] == "Boats leave from pier four <b>&amp;</b>.")
    after = NOON.read_text().splitlines()
    assert [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b] == [4]
    page.keyboard.press("Escape")
    assert page.locator(".row b").count() == 0, "text is never HTML"
    assert texts(page)[1] == "Boats leave from pier four <b>&amp;</b>."


def test_accepting_an_accepted_line_keeps_it_accepted_and_goes_on(page: Any) -> None:
    page.keyboard.press("a")
    saved(page, lambda: rows()[0][3] == "ok")
    page.keyboard.press("k")
    page.keyboard.press("a")
    assert page.locator(".row.chosen .times").inner_text() == "0:04.20"
    page.keyboard.press("a")
    saved(page, lambda: [row[3] for row in rows()] == ["ok", "ok", "", "", ""])
    page.keyboard.press("z")  # one step each: accepting again was none
    page.keyboard.press("z")
    saved(page, lambda: [row[3] for row in rows()] == [""] * 5)


def test_what_was_typed_is_one_step_to_undo(page: Any) -> None:
    page.keyboard.press("Enter")
    page.keyboard.type(" It does.")
    saved(page, lambda: rows()[0][4] == "The tide comes in. It does.")
    page.keyboard.press("Control+z")
    saved(page, lambda: rows()[0][4] == "The tide comes in.")
    assert texts(page)[0] == "The tide comes in."
    page.keyboard.press("Control+y")
    saved(page, lambda: rows()[0][4] == "The tide comes in. It does.")


def test_pasted_markup_and_line_breaks_become_plain_words(page: Any) -> None:
    page.keyboard.press("Enter")
    page.evaluate(
        """() => { const data = new DataTransfer(); data.setData('text/plain', ' a\\n\\tb <i>c</i>');
        document.execCommand('insertText', false, data.getData('text/plain')); }"""
    )
    saved(page, lambda: rows()[0][4] == "The tide comes in. a b <i>c</i>")
    assert page.locator(".row i").count() == 0


def test_split_at_the_caret_cuts_between_the_words_and_undo_and_redo_go_back_and_forth(page: Any) -> None:
    page.keyboard.press("Enter")
    page.keyboard.press("Home")
    for _ in range(len("The tide ")):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    saved(page, lambda: len(rows()) == 6)
    first, second = rows()[:2]
    assert (first[4], second[4]) == ("The tide", "comes in.")
    assert first[1] == second[0]
    assert 1.8 < float(first[1]) < 2.0, "after `tide`, which Whisper heard until 1.82 s"
    assert page.locator(".row.chosen .text").inner_text() == "comes in."
    page.keyboard.press("Control+z")
    saved(page, lambda: len(rows()) == 5 and rows()[0][4] == "The tide comes in.")
    page.keyboard.press("Shift+Z")
    saved(page, lambda: len(rows()) == 6)
    page.keyboard.press("k")
    page.keyboard.press("m")
    saved(page, lambda: rows()[0] == ["0.20", "3.60", "ann", "", "The tide comes in."])
    for _ in range(9):
        page.keyboard.press("z")
    assert "nothing to undo" in page.inner_text("#note")
    assert page.inner_text("#progress") == "0 of 5 heard"


def test_without_a_caret_a_line_is_split_where_the_sound_is(page: Any) -> None:
    page.evaluate("document.querySelector('audio').currentTime = 2.7")
    until(page, "!document.querySelector('audio').seeking")
    page.keyboard.press("s")
    saved(page, lambda: len(rows()) == 6)
    assert [row[4] for row in rows()[:2]] == ["The tide comes", "in."]
    assert float(rows()[0][1]) == pytest.approx(2.7, abs=0.02)


def test_times_are_nudged_by_50_ms_and_stop_at_a_neighbour(page: Any) -> None:
    page.keyboard.press("[")
    page.keyboard.press("Shift+BracketRight")
    saved(page, lambda: rows()[0][:2] == ["0.15", "3.65"])
    for _ in range(3):
        page.keyboard.press("[")
    saved(page, lambda: rows()[0][0] == "0.00")
    page.keyboard.press("[")
    assert "there is no room" in page.inner_text("#note")
    for _ in range(12):
        page.keyboard.press("Shift+BracketRight")
    saved(page, lambda: rows()[0][1] == rows()[1][0] == "4.20")


def test_an_edge_is_dragged_in_the_picture_as_one_step(page: Any) -> None:
    box = page.locator("#wave").bounding_box()
    x, y = box["x"] + box["width"] * 3.6 / 12, box["y"] + 40
    page.mouse.move(x, y)
    page.mouse.down()
    for i in range(5):
        page.mouse.move(x - i * box["width"] * 0.1 / 12, y)
    page.mouse.up()
    saved(page, lambda: rows()[0][1] == "3.20")
    page.keyboard.press("z")
    saved(page, lambda: rows()[0][1] == "3.60")


def test_drop_and_take_back(page: Any) -> None:
    page.keyboard.press("d")
    saved(page, lambda: rows()[0][3] == "drop")
    assert page.inner_text("#progress") == "1 of 5 heard"
    page.keyboard.press("d")
    saved(page, lambda: rows()[0][3] == "")


def test_a_line_without_words_is_not_saved_until_it_has_some(page: Any) -> None:
    page.keyboard.press("a")
    saved(page, lambda: rows()[0][3] == "ok")
    before = NOON.read_text()
    page.keyboard.press("Enter")
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    until(page, "document.querySelector('#saved').textContent.startsWith('Not saved')")
    assert "no words" in page.inner_text(".row.chosen .chip.poor")
    assert NOON.read_text() == before
    page.keyboard.type("Boats.")
    saved(page, lambda: rows()[1][4] == "Boats.")
    assert "slow" in page.inner_text(".row.chosen .side") or page.locator(".chosen .chip").count() == 0


def test_find_and_replace_shows_each_line_before_it_changes(page: Any) -> None:
    page.keyboard.press("a")
    saved(page, lambda: rows()[0][3] == "ok")
    page.keyboard.press("f")
    page.fill("#old", "fairy")
    page.fill("#new", "ferry")
    until(page, "document.querySelector('#replace').textContent === 'Replace 1'")
    assert page.locator("#preview del").inner_text() == "fairy"
    assert page.locator("#preview ins").inner_text() == "ferry"
    assert "fairy" in NOON.read_text()
    page.click("#replace")
    saved(page, lambda: rows()[3][4] == "We wait for the ferry.")
    until(page, "document.querySelector('main').textContent.includes('We wait for the ferry.')")
    page.keyboard.press("z")
    saved(page, lambda: rows()[3][4] == "We wait for the fairy.")


def test_a_replacement_is_one_step_to_undo_in_every_recording(page: Any) -> None:
    night = NOON.with_name("night.tsv")
    page.keyboard.press("a")
    saved(page, lambda: rows()[0][3] == "ok")
    night.write_bytes(NOON.read_bytes())
    before = night.read_bytes()

    def slowly(route: Any) -> None:  # the page looks at the file while the answer is on its way
        answer = route.fetch()
        page.wait_for_timeout(2500)
        route.fulfill(response=answer)

    page.route("**/api/replace", slowly)
    page.keyboard.press("f")
    page.fill("#old", "fairy")
    page.fill("#new", "ferry")
    until(page, "document.querySelector('#replace').textContent === 'Replace 2'")
    page.click("#replace")
    until(page, "document.querySelector('#note').textContent.includes('2 places replaced')")
    assert "elsewhere" not in page.inner_text("#note")
    assert rows()[3][4] == rows(night)[3][4] == "We wait for the ferry."
    page.keyboard.press("z")
    saved(page, lambda: rows()[3][4] == "We wait for the fairy.")
    until_file(page, night, before)
    page.keyboard.press("Shift+Z")
    saved(page, lambda: rows()[3][4] == "We wait for the ferry.")
    until_file(page, night, before.replace(b"fairy", b"ferry"))
    night.write_bytes(theirs := night.read_bytes().replace(b"It goes", b"She goes"))
    page.keyboard.press("z")
    until(page, "document.querySelector('#note').textContent.includes('night: edited since then')")
    assert night.read_bytes() == theirs
    saved(page, lambda: rows()[3][4] == "We wait for the fairy.")
    page.keyboard.press("z")
    saved(page, lambda: rows()[0][3] == "")


def until_file(page: Any, path: Path, content: bytes) -> None:
    end = time.monotonic() + 120  # as long as a busy machine may need
    while path.read_bytes() != content:
        assert time.monotonic() < end, path.read_text()
        page.wait_for_timeout(20)


def test_what_is_nearly_a_term_of_the_glossary_is_offered(page: Any) -> None:
    page.keyboard.press("a")
    saved(page, lambda: rows()[0][3] == "ok")
    NOON.parent.with_name("glossary.txt").write_text("# ships\nFerries\nTides\n")
    page.keyboard.press("f")
    page.locator("#offers button", has_text="tide → Tides").click()
    until(page, "document.querySelector('#replace').textContent === 'Replace 2'")
    assert page.input_value("#new") == "Tides"


def test_an_edit_in_an_editor_is_taken_over_when_there_is_none_here(page: Any) -> None:
    page.keyboard.press("a")
    saved(page, lambda: rows()[0][3] == "ok")
    save_in_editor(NOON.read_text().replace("It goes", "She goes"))
    until(page, "document.body.textContent.includes('She goes')")
    assert "edited elsewhere" in page.inner_text("#note")
    save_in_editor(NOON.read_text().replace("pier for", "pier four"))
    until(page, "document.body.textContent.includes('pier four')")
    assert page.locator(".row.chosen .text").inner_text() == "Boats leave from pier four.", "where one was"


@pytest.mark.parametrize("choice", ["#keep-mine", "#take-theirs"])
def test_an_edit_in_an_editor_is_never_overwritten_unasked(page: Any, choice: str) -> None:
    page.keyboard.press("a")
    saved(page, lambda: rows()[0][3] == "ok")
    theirs = NOON.read_text().replace("It goes", "She goes")
    page.evaluate("window.setInterval = null")  # the page may notice by its save or by looking; both end here
    save_in_editor(theirs)
    page.keyboard.press("d")
    page.wait_for_selector("#conflict[open]")
    assert NOON.read_text() == theirs
    assert "It goes out again" in page.inner_text("#mine")
    assert "She goes out again" in page.inner_text("#theirs")
    page.keyboard.press("Escape")
    assert page.locator("#conflict[open]").count() == 1, "one of the two must be chosen"
    page.click(choice)
    if choice == "#keep-mine":
        saved(page, lambda: rows()[1][3] == "drop" and rows()[2][4].startswith("It goes"))
    else:
        until(page, "document.body.textContent.includes('She goes')")
        assert NOON.read_text() == theirs
        page.keyboard.press("z")  # what was here is not lost
        saved(page, lambda: rows()[1][3] == "drop")


def test_a_page_of_an_older_run_writes_nothing_and_says_where_to_go(
    serve: Callable[..., PageServer], browser: Any
) -> None:
    server = serve()
    tab, _ = opened(browser, server.url)
    server.access.token = "another"  # as after a restart on the same port
    tab.keyboard.press("a")
    until(tab, "document.querySelector('#saved').textContent.includes('take the one that `timbre review` shows now')")
    assert tab.inner_text("#progress") == "1 of 5 heard", "what was done is still here to be seen"
    assert not NOON.exists()
    tab.close(run_before_unload=False)


def test_a_server_that_is_gone_loses_nothing(serve: Callable[..., PageServer], browser: Any) -> None:
    server = serve()
    tab, _ = opened(browser, server.url)
    server.stop()
    tab.route("**/api/**", lambda route: route.abort())
    tab.keyboard.press("a")
    until(tab, "document.querySelector('#saved').textContent.includes('does not answer')")
    assert tab.inner_text("#progress") == "1 of 5 heard"
    tab.close(run_before_unload=False)
