"""The whole report as a page, in a browser: it is heard and read on a phone and on a wide screen, without a network."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
import soundfile

from tests.support import git_histories
from tests.support.fake_outputs import voice as sound
from timbre.audio import flac_bytes
from timbre.commands import cli


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an edit that changed a sample, with sound that a browser plays."""
    voice = git_histories.first(tmp_path_factory.mktemp("page") / "voice")
    voice.sounds = {"ferry": flac_bytes(sound(0.6, 0), 16_000)}
    voice.commit("Speak")
    git_histories.reword(voice)
    voice.edit("morning", 5, text=git_histories.HOSTILE * 4)
    voice.params["train"]["rate"] = 0.1
    voice.sounds = {"ferry": flac_bytes(sound(0.9, 1), 16_000)}
    voice.commit("Correct")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(voice.root)
        assert cli.execute(["diff", "HEAD~1", "HEAD", "--full", "diff.html"]) == 0
    return voice.root / "diff.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_the_screen_and_loads_nothing(report: Path, browser: Any, width: int, scheme: str) -> None:
    asked: list[str] = []
    said: list[str] = []
    tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.goto(report.as_uri())
    tab.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert said == []
    dark = tab.evaluate("getComputedStyle(document.documentElement).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")
    tab.close()


def test_a_sample_is_heard_before_and_now(report: Path, browser: Any) -> None:
    tab = browser.new_page()
    tab.goto(report.as_uri())
    assert tab.locator("audio").count() == 2
    lengths = tab.evaluate(
        "Promise.all([...document.querySelectorAll('audio')].map(player => new Promise((done, fail) => {"
        "player.onloadedmetadata = () => done(player.duration); player.onerror = () => fail(player.error.message);"
        "player.load(); player.preload = 'auto'})))"
    )
    assert lengths == pytest.approx([0.6, 0.9], abs=0.01)
    assert tab.locator("audio").first.get_attribute("aria-label") == "tuned-ferry-0 before"
    for content in tab.evaluate("[...document.querySelectorAll('audio')].map(player => player.src.split(',')[1])"):
        with soundfile.SoundFile(io.BytesIO(base64.b64decode(content))) as file:
            assert json.loads(file.comment)["synthetic"] is True, "who sends the page on sends a marked sound"
    tab.close()


@pytest.mark.parametrize("revoked_in", ["the versions", "the work tree"])
def test_a_voice_whose_consent_was_withdrawn_is_not_heard_in_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], revoked_in: str
) -> None:
    voice = git_histories.first(tmp_path / "voice")
    voice.sounds = {"ferry": flac_bytes(sound(0.6, 0), 16_000)}
    voice.commit("Speak")
    git_histories.reword(voice)
    voice.sounds = {"ferry": flac_bytes(sound(0.9, 1), 16_000)}
    if revoked_in == "the versions":
        voice.allow("marina", revoked="2026-11-03")
    voice.commit("Correct")
    if revoked_in == "the work tree":
        voice.allow("marina", revoked="2026-11-03")
        voice.write()
    monkeypatch.chdir(voice.root)
    assert cli.execute(["diff", "HEAD~1", "HEAD", "--full", "diff.html"]) == 0
    assert "no samples to hear: marina, whose voice is in " in capsys.readouterr().err
    assert "<audio" not in Path("diff.html").read_text()
