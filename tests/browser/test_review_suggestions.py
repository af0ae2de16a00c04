"""What the review page says of a line by itself: warnings, a newer draft's words, the label check."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.review_client import Client
from tests.support.review_page import NOON, opened, rows, save_in_editor, saved, texts, until
from tests.support.review_repository import RATE
from timbre import audio
from timbre.audio import flac_bytes, sha256
from timbre.core.content import file_sha256
from timbre.core.records import Label, write_jsonl
from timbre.project import worth
from timbre.project.worth import Worth, WorthRow
from timbre.training.influence import WEIGHTS
from timbre.web.server import PageServer

DRAFT = Path("data/drafts/noon.json")


def row(tab: Any, words: str) -> Any:
    return tab.locator(".row", has_text=words)


def draft_again(change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Whisper hears the recording anew: its draft has other words, the transcript stays."""
    draft = json.loads(DRAFT.read_text())
    change(draft["segments"])
    DRAFT.write_text(json.dumps(draft))


def say(segment: dict[str, Any], text: str) -> None:
    """The segment's words, each as long as the others."""
    words, start = text.split(), segment["start"]
    each = (segment["end"] - start) / len(words)
    timed = [(start + i * each, start + (i + 0.9) * each, word) for i, word in enumerate(words)]
    segment["words"] = [{"start": a, "end": b, "word": f" {w}", "probability": 0.9} for a, b, w in timed]
    segment["text"] = f" {text}"


def begun(tab: Any) -> None:
    """The transcript is there: the first line was heard."""
    tab.keyboard.press("a")
    saved(tab, lambda: rows()[0][3] == "ok")


def heard_anew(tab: Any) -> None:
    """Lines 2, 4 and 5 are heard otherwise; in line 5 that is only another way to write the same."""

    def change(segments: list[dict[str, Any]]) -> None:
        say(segments[1], "Boats leave from pier four.")
        say(segments[3], "We wait at the ferry")
        say(segments[4], "the tide comes in")

    draft_again(change)
    tab.reload()
    tab.wait_for_selector("body[data-ready]")


def test_a_newer_drafts_words_are_offered_and_taken_by_a_key(page: Any) -> None:
    begun(page)
    assert page.locator(".suggestion:visible").count() == 0, "its own draft is no newer one"
    before = NOON.read_text()
    heard_anew(page)
    assert page.locator(".suggestion:visible").count() == 2
    assert page.inner_text("#differing") == "2 lines differ in a newer draft"
    offered = row(page, "pier for")
    assert offered.locator("del").all_inner_texts() == ["for."]
    assert offered.locator("ins").all_inner_texts() == ["four."]
    assert NOON.read_text() == before, "looking changes nothing"
    assert page.locator(".row.chosen .text").inner_text() == "Boats leave from pier for."
    page.keyboard.press("y")
    saved(page, lambda: rows()[1][4] == "Boats leave from pier four.")
    assert rows()[1][:4] == before.splitlines()[4].split("\t")[:4], "its times and its flag stay"
    assert page.locator(".suggestion:visible").count() == 1
    page.keyboard.press("z")
    saved(page, lambda: rows()[1][4] == "Boats leave from pier for.")
    assert page.locator(".suggestion:visible").count() == 2


def test_a_dismissal_is_remembered_for_that_draft_and_can_be_taken_back(page: Any) -> None:
    begun(page)
    heard_anew(page)
    page.keyboard.press("Shift+N")
    assert texts(page) == ["Boats leave from pier for.", "We wait for the fairy."], "only where they differ"
    page.keyboard.press("n")
    until(page, "document.querySelector('#differing').textContent.startsWith('1 line')")
    page.keyboard.press("z")
    until(page, "document.querySelector('#differing').textContent.startsWith('2 lines')")
    page.keyboard.press("Shift+Z")
    until(page, "document.querySelector('#differing').textContent.startsWith('1 line')")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    page.keyboard.type(" Yes.")  # the line changes, what the draft says of it does not
    saved(page, lambda: rows()[1][4] == "Boats leave from pier for. Yes.")
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.inner_text("#differing") == "1 line differs in a newer draft"
    draft_again(lambda segments: say(segments[1], "Goats leave from pier four."))
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.inner_text("#differing") == "2 lines differ in a newer draft", "another draft is another opinion"


def test_a_word_at_an_edge_that_is_the_neighbours_is_no_suggestion(page: Any) -> None:
    begun(page)

    def change(segments: list[dict[str, Any]]) -> None:  # the same words, timed a little otherwise; one for certainty
        for segment in segments:
            for word in segment["words"]:
                word["start"], word["end"] = word["start"] + 0.25, word["end"] + 0.25
        say(segments[4], "The tide went out.")

    draft_again(change)
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.inner_text("#differing") == "1 line differs in a newer draft"


def test_a_pace_counts_what_is_spoken_and_not_the_silence_around_it(serve: Any, browser: Any) -> None:
    server = serve(lines=10, seconds=40.0)
    sound = np.zeros(40 * RATE, np.float32)
    time = np.arange(RATE) / RATE
    for line in range(10):  # a second of voice in each line of 3.4 s; three in the last
        long = line == 9
        at = round((line * 4 + (0.4 if long else 1.2)) * RATE)
        for part in range(3 if long else 1):
            sound[at + part * RATE : at + (part + 1) * RATE] = 0.3 * np.sin(2 * np.pi * 200 * time)
    Path("data/raw/noon.flac").write_bytes(flac_bytes(sound, RATE))
    manifest = json.loads(Path("data/raw/noon.json").read_text())
    manifest["recording"]["sha256"] = sha256(sound)
    Path("data/raw/noon.json").write_text(json.dumps(manifest))
    draft_again(lambda segments: [say(segment, "Boats leave from pier four.") for segment in segments])  # type: ignore[func-returns-value]
    draft = json.loads(DRAFT.read_text()) | {"audio_sha256": sha256(sound)}
    DRAFT.write_text(json.dumps(draft))
    tab, complaints = opened(browser, server.url, viewport={"width": 1280, "height": 1400})
    until(tab, "document.querySelector('main').textContent.includes('slow')")
    chips = [chip.inner_text() for chip in tab.locator(".chip").all()]
    assert chips == ["slow: 7.2 letters a second"], "22 letters in three seconds, where others take one"
    for _ in range(12):  # padding is not pace
        tab.keyboard.press("Shift+BracketRight")
    saved(tab, lambda: float(rows()[0][1]) > 3.9)
    assert tab.locator(".chip").count() == 1
    assert complaints == []
    tab.close()


def test_a_cut_word_a_clipped_line_and_an_overlap_are_told_while_one_edits(serve: Any, browser: Any) -> None:
    server = serve()
    samples, _ = audio.read(Path("data/raw/noon.flac"))
    samples[9 * RATE : 9 * RATE + 800] = 1.0  # in the third line
    samples[12 * RATE : 16 * RATE] = 0  # the fourth
    Path("data/raw/noon.flac").write_bytes(flac_bytes(samples, RATE))
    tab, complaints = opened(browser, server.url)
    until(tab, "document.querySelector('main').textContent.includes('clipped')")
    assert "clipped" in row(tab, "It goes out").inner_text()
    assert tab.locator(".chip", has_text="clipped").count() == 1
    assert "nothing is heard here" in row(tab, "We wait").inner_text()
    for _ in range(6):
        tab.keyboard.press("Shift+BracketLeft")  # the end, 0.3 s earlier: within `in.`
    assert "cuts “in.”" in row(tab, "The tide comes in.").first.inner_text()
    saved(tab, lambda: rows()[0][1] == "3.30")
    save_in_editor(NOON.read_text().replace("0.20\t3.30", "0.20\t4.50"))  # in an editor
    until(tab, "document.querySelector('main').textContent.includes('overlaps the line above')")
    tab.keyboard.press("a")
    until(tab, "document.querySelector('#saved').textContent.includes('Not saved: the line at 0:04.20')")
    assert "\tok\t" not in NOON.read_text()
    tab.keyboard.press("]")  # the second line, later: it begins where the first ends
    saved(tab, lambda: rows()[1][0] == "4.50" and rows()[0][3] == "ok")
    assert complaints == []
    tab.close()


def test_the_worst_label_comes_first_where_a_check_has_run(page: Any) -> None:
    assert page.is_hidden("#labels")

    def label(start: float, text: str, heard: str, cer: float) -> Label:
        return Label("c" * 16, "noon", start, start + 4, text, heard, cer, None)

    write_jsonl(
        Path("data/labels.jsonl"),
        [
            label(12.0, "We wait for the fairy.", "We bake for the ferry", 0.31),
            label(8.0, "It went out again.", "It goes out again at night", 0.3),  # of words that were corrected since
            label(4.0, "Boats leave from pier for.", "Boats leave from pier four", 0.04),
        ],
    )
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert "label 31 % off" in row(page, "We wait").inner_text()
    assert page.locator(".chip", has_text="label").count() == 2
    page.keyboard.press("l")
    assert page.evaluate(
        "[...document.querySelectorAll('.row')].sort((a, b) => a.getBoundingClientRect().top - "
        "b.getBoundingClientRect().top).slice(0, 2).map(row => row.querySelector('.text').textContent)"
    ) == ["We wait for the fairy.", "Boats leave from pier for."]
    page.keyboard.press("l")
    Path("data/labels.jsonl").write_text("not a table\n")
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.is_hidden("#labels")


def test_the_most_harmful_line_comes_first_where_value_has_run_for_this_adapter(page: Any) -> None:
    assert page.is_hidden("#harm")
    adapter = Path("models/adapter")
    adapter.mkdir(parents=True)
    (adapter / WEIGHTS).write_bytes(b"weights")

    def clip(start: float, text: str, harm: float, advice: Any, why: str) -> WorthRow:
        return WorthRow(
            "c" * 16, "noon", start, start + 4, text, text, 0.0, [4.0], [0.1], [0.1], 0.0, harm, advice, why
        )

    clips = [
        clip(12.0, "We wait for the fairy.", 1.4, "drop", "it is noisy"),
        clip(4.0, "Boats leave from pier for.", 0.5, "keep", "no"),
    ]
    worth.write(worth.PATH, Worth("key", file_sha256(adapter / WEIGHTS), [0, 40], clips))
    page.reload()
    page.wait_for_selector("body[data-ready]")
    chip = page.locator(".chip", has_text="harm")
    assert (chip.count(), chip.inner_text(), chip.get_attribute("title")) == (1, "harm 1.4: drop", "it is noisy")
    page.keyboard.press("v")
    assert page.evaluate(
        "[...document.querySelectorAll('.row')].sort((a, b) => a.getBoundingClientRect().top - "
        "b.getBoundingClientRect().top).slice(0, 2).map(row => row.querySelector('.text').textContent)"
    ) == ["We wait for the fairy.", "Boats leave from pier for."]
    page.keyboard.press("u")
    assert not page.is_checked("#harm"), "one order at a time"
    (adapter / WEIGHTS).write_bytes(b"trained again")
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.is_hidden("#harm"), "that was another voice"


@pytest.mark.parametrize("names", [[1], ["x" * 3000], "x"])
def test_a_dismissal_that_is_none_is_refused(serve: Callable[..., PageServer], names: Any) -> None:
    client = Client(serve())
    assert client.ask("api/dismissed/noon", {"draft": "1", "names": names}).status in (400, 422)
    assert client.ask("api/dismissed/..%2fnoon", {"draft": "1", "names": []}).status in (400, 404, 422)
    assert not Path(".timbre/dismissed").exists()
