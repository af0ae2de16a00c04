"""The recording booth in a real browser, with a microphone that hears a file."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.review_client import running
from tests.support.review_page import until
from tests.unit.web.test_booth import SENTENCES, SPEAKERS, wav
from timbre import audio
from timbre.project import sources, speakers
from timbre.project.transcripts import parse
from timbre.web.pages import review_server
from timbre.web.review.transcripts_service import TranscriptsService

RATE = 48_000  # Hz, of the microphone


@pytest.fixture(scope="module")
def hearing(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser whose microphone hears 1.4 s of voice and 0.9 s of nothing, over and over."""
    heard = tmp_path_factory.mktemp("microphone") / "heard.wav"
    heard.write_bytes(wav(1.4, RATE, lead=0.1, tail=0.8))
    flags = [
        "--no-sandbox",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={heard}",
    ]
    opened = browser.browser_type.launch(executable_path=shutil.which("chromium"), args=flags)
    yield opened
    opened.close()


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """The booth's address, on a repository where nothing was recorded yet; each call starts another server."""
    monkeypatch.chdir(tmp_path)
    form = {"id": "ann-1", "speaker": "ann", "licence": "CC0-1.0", "sentences": "\n".join(SENTENCES), "language": "en"}
    with contextlib.ExitStack() as stack:

        def start() -> str:
            stack.close()
            server = review_server(TranscriptsService(), form=form)
            return f"{stack.enter_context(running(server)).url}record"

        yield start


def entered(hearing: Any, url: str, **how: Any) -> tuple[Any, list[str]]:
    complaints: list[str] = []
    tab = hearing.new_page(**how)
    tab.set_default_timeout(10_000)
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(url)
    tab.wait_for_selector("body[data-ready]")
    return tab, complaints


def consent(tab: Any) -> None:
    for field, text in (("#name", "Ann"), ("#by", "Ann Other"), ("#for", "her own voice")):
        tab.fill(field, text)
    tab.click("#begin .main")
    listening(tab)


def listening(tab: Any) -> None:
    until(tab, "Number(document.querySelector('#meter').getAttribute('aria-valuenow')) > -40")


def take(tab: Any, seconds: float = 2.6) -> None:
    """Space, some seconds, Space; the answer is there."""
    tab.keyboard.press("Space")
    until(tab, "document.body.classList.contains('recording')")
    tab.wait_for_timeout(seconds * 1000)
    tab.keyboard.press("Space")
    until(tab, "!['', 'saving …'].includes(document.querySelector('#told').textContent)")


def test_a_voice_is_recorded_sentence_by_sentence_and_declared(hearing: Any, studio: Callable[[], str]) -> None:
    tab, complaints = entered(hearing, studio())
    assert tab.is_visible("#consent"), "nobody wrote down yet that ann may be heard"
    consent(tab)
    assert speakers.read(SPEAKERS)["ann"].allowed
    assert tab.inner_text("#sentence") == SENTENCES[0]
    assert tab.is_disabled("#finish")
    take(tab)
    assert tab.inner_text("#progress") == "1 of 3 recorded"
    kept = list(Path(".timbre/takes/ann-1").glob("*.flac"))
    assert len(kept) == 1, "saved at once"
    samples, rate = audio.read(kept[0])
    assert rate >= 44_100, "as the microphone gives it"
    assert 2.5 < len(samples) / rate < 4
    assert audio.peak(samples) == pytest.approx(0.3, abs=0.02), "nothing turned its level up or down"

    tab.keyboard.press("l")
    until(tab, "!document.querySelector('audio').paused && document.querySelector('audio').currentTime > 0.1")
    tab.keyboard.press("l")
    until(tab, "document.querySelector('audio').paused")
    take(tab, 0.6)
    assert len(audio.read(kept[0])[0]) < len(samples), "the new take is in the old one's place"

    tab.keyboard.press("Enter")
    assert tab.inner_text("#sentence") == SENTENCES[1]
    take(tab)
    tab.keyboard.press("x")
    until(tab, "document.querySelector('#progress').textContent === '1 of 3 recorded'")
    take(tab)
    tab.click("#finish")
    tab.wait_for_selector("#done:not([hidden])")
    assert "2 sentences" in tab.inner_text("#made")
    (source,) = sources.read(Path("data/sources.yaml"))
    samples, rate = audio.read(Path(source.origin))
    lines = parse(Path("data/transcripts/ann-1.tsv").read_bytes(), "ann-1.tsv", len(samples) / rate).lines
    assert [line.text for line in lines] == list(SENTENCES[:2])
    assert all(audio.peak(samples[round(line.start * rate) : round(line.end * rate)]) > 0.25 for line in lines)
    assert complaints == []
    tab.close()


def test_a_session_goes_on_after_the_server_was_killed(hearing: Any, studio: Callable[[], str]) -> None:
    tab, _ = entered(hearing, studio())
    consent(tab)
    take(tab)
    tab.close()
    tab, complaints = entered(hearing, studio())
    tab.click("#begun button")
    listening(tab)
    assert tab.inner_text("#progress") == "1 of 3 recorded"
    assert tab.inner_text("#sentence") == SENTENCES[1], "the first that is missing"
    assert complaints == []
    tab.close()


def test_a_take_without_an_answer_waits_and_is_saved_when_there_is_one(hearing: Any, studio: Callable[[], str]) -> None:
    tab, _ = entered(hearing, studio())
    consent(tab)
    tab.route("**/api/take/**", lambda route: route.abort())
    tab.keyboard.press("Space")
    tab.wait_for_timeout(800)
    tab.keyboard.press("Space")
    until(tab, "document.querySelector('#note').textContent.includes('does not answer')")
    tab.unroute("**/api/take/**")
    until(tab, "document.querySelector('#progress').textContent === '1 of 3 recorded'")
    tab.close()


def test_without_a_microphone_the_page_says_what_to_do(browser: Any, studio: Callable[[], str]) -> None:
    tab, _ = entered(browser, studio())
    for field, text in (("#name", "Ann"), ("#by", "Ann Other"), ("#for", "her own voice")):
        tab.fill(field, text)
    tab.click("#begin .main")
    until(tab, "!document.querySelector('#warning').hidden")
    assert "microphone" in tab.inner_text("#warning")
    assert "press Space" in tab.inner_text("#warning")
    tab.close()


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_booth_fits_its_window(hearing: Any, studio: Callable[[], str], width: int, scheme: str) -> None:
    tab, complaints = entered(hearing, studio(), viewport={"width": width, "height": 760}, color_scheme=scheme)
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    consent(tab)
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert tab.evaluate("document.documentElement.scrollHeight") <= 760
    assert complaints == []
    tab.close()
