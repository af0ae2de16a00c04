"""The page, made of made-up outs and opened in a real browser from a file, with no network."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from stages import report
from tests.outs import write_outs
from timbre import charts

ROOT = Path(__file__).parent.parent
FLAGS = (
    "--samples {0}/reports/samples --scores {0}/reports/scores.csv --metrics {0}/reports/metrics.json"
    " --history {0}/models/history.csv --dataset {0}/data/dataset --clips {0}/data/clips"
    " --review {0}/data/review.json --out {0}/reports/index.html"
)


def make_report(root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["report", *FLAGS.format(root).split()])
    report.main()
    return (root / "reports/index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def outs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("outs")
    write_outs(root)
    return root


@pytest.fixture
def page(outs: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return make_report(outs, monkeypatch)


def test_the_page_says_what_was_measured(page: str) -> None:
    text = re.sub(r"<(style|script).*?</\1>|<[^>]+>", " ", page, flags=re.DOTALL)
    text = " ".join(re.sub(r"\s+", " ", text).split())
    assert "The tuned voice is " in text
    assert "Measured on 6 sentences, in four conditions." in text
    assert "The adapter is the one of step" in text
    assert "a person's transcript" in text.replace("&#39;", "'")
    assert "too short 2" in text, "drops stand under their reason, with their number"
    assert "52%" in text, "the share of spoken time that a person has reviewed"


def test_the_same_outs_give_the_same_bytes_and_no_path_of_this_machine(
    outs: Path, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert make_report(outs, monkeypatch) == page
    assert str(outs) not in page
    assert str(ROOT) not in page


def test_text_of_people_is_escaped(page: str) -> None:
    assert "<quiet>" not in page
    assert "&lt;quiet&gt;" in page
    assert "<em>sorry</em>" not in page


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", page)
    assert not re.findall(r"url\(|@import|https?://", page)


def test_a_sample_that_is_no_audio_is_named(tmp_path: Path, outs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(outs, tmp_path / "outs")
    (tmp_path / "outs/reports/samples/base-ferry-0.flac").write_bytes(b"not audio")
    with pytest.raises(report.DataError, match=r"base-ferry-0\.flac: cannot be read as audio"):
        make_report(tmp_path / "outs", monkeypatch)


@pytest.mark.parametrize(
    ("errors", "headline"),
    [
        ((90, 90, 40, 50), "The tuned voice is easier to understand than the base voice"),
        ((90, 90, 80, 99), "The tuned voice is about as easy to understand as the base voice"),
        ((0, 0, 0, 0), "The tuned voice is about as easy to understand as the base voice"),
        ((40, 40, 90, 90), "The tuned voice is harder to understand than the base voice"),
        ((90, 40, 40, 90), "The tuned voice is easier to understand by itself, but harder when it clones a clip"),
        ((40, 90, 90, 40), "The tuned voice is harder to understand by itself, but easier when it clones a clip"),
        (
            (90, 90, 40, 90),
            "The tuned voice is easier to understand by itself, and about as easy when it clones a clip",
        ),
        (
            (90, 40, 90, 90),
            "The tuned voice is harder to understand when it clones a clip, and about as easy by itself",
        ),
    ],
)
def test_the_verdict_compares_like_with_like(errors: tuple[int, ...], headline: str) -> None:
    names = ("base", "base_clone", "tuned", "tuned_clone")
    metrics = {name: {"errors": e, "words": 100, "wer": e / 100} for name, e in zip(names, errors, strict=True)}
    assert report.verdict(metrics).headline == headline


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (1.3, 4.9, [1, 2, 3, 4, 5]),
        (0, 3e-4, [0, 1e-4, 2e-4, 3e-4]),
        (2, 2, [2, 2.5]),
        (0, 0, [0, 1]),
    ],
)
def test_ticks_are_round_and_hold_the_data(low: float, high: float, expected: list[float]) -> None:
    assert charts.ticks(low, high, 5 if high > 10 else 4) == expected


def test_a_curve_that_was_never_measured_is_left_out() -> None:
    assert charts.draw("Loss", "step", [charts.Line("evaluation", [], "eval")]) is None
    drawn, best = report.curves([{"step": "1", "train_loss": "3.0", "eval_loss": ""}])
    assert [chart.title for chart in drawn] == ["Loss"]
    assert best == ""


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_opens_from_a_file_without_network_or_complaint(
    outs: Path, page: str, browser: Any, width: int, scheme: str
) -> None:
    tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    complaints: list[str] = []
    requests: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url[:80]))
    tab.goto((outs / "reports/index.html").as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") == width, "the page is wider than the screen"
    assert tab.locator(".player").count() == 25, "6 prompts in 4 conditions, and the speaker"

    duration = tab.evaluate(
        "new Promise(done => { const audio = document.querySelectorAll('audio')[1];"
        " audio.onloadedmetadata = () => done(audio.duration); audio.load(); audio.preload = 'auto'; })"
    )
    assert duration == pytest.approx(3.0, abs=0.01)
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert complaints == []
    tab.close()


def test_players_work_by_keyboard_and_one_sounds_at_a_time(outs: Path, page: str, browser: Any) -> None:
    tab = browser.new_page()
    tab.goto((outs / "reports/index.html").as_uri())
    first, second = tab.locator(".play").nth(1), tab.locator(".play").nth(2)
    first.focus()
    tab.keyboard.press("Enter")
    tab.wait_for_function("!document.querySelectorAll('audio')[1].paused")
    assert first.get_attribute("aria-label").startswith("Pause ")
    second.focus()
    tab.keyboard.press("Space")
    tab.wait_for_function(
        "document.querySelectorAll('audio')[1].paused && !document.querySelectorAll('audio')[2].paused"
    )
    seek = tab.locator(".seek").nth(2)
    seek.focus()
    tab.keyboard.press("Space")
    tab.keyboard.press("Home")
    tab.keyboard.press("ArrowRight")
    assert seek.get_attribute("aria-valuetext").startswith("0.5 of ")
    tab.close()
