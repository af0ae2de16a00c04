"""The page, made of made-up outs and opened in a real browser from a file, with no network; and its short sister."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_outputs import SENTENCES
from tests.support.paths import ROOT
from tests.support.report_outs import HOSTILE, write_owned, write_report_outs
from tests.support.report_page import CONTRAST, make_report
from tests.support.review_page import until
from timbre.commands import cli
from timbre.core.errors import DataError, SourceError
from timbre.evaluation import metrics
from timbre.project import permissions
from timbre.project.permissions import Permissions
from timbre.report import data, sample_rows


@pytest.fixture(scope="module")
def outs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("outs")
    write_report_outs(root, seeds=2)
    return root


@pytest.fixture(scope="module")
def page(outs: Path) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        yield make_report(outs, patch)


@pytest.fixture
def copy(outs: Path, tmp_path: Path) -> Path:
    return shutil.copytree(outs, tmp_path / "outs")


@pytest.fixture
def opened(outs: Path, page: str, browser: Any) -> Iterator[Any]:
    tab = browser.new_page()
    tab.set_default_timeout(30_000)  # the machine may be busy
    tab.goto((outs / "reports/index.html").as_uri())
    yield tab
    tab.close()


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<(style|script).*?</\1>|<[^>]+>", " ", page, flags=re.DOTALL).split())


def test_the_page_says_what_was_measured(page: str) -> None:
    text = text_of(page)
    assert "This voice is better than cloning alone: more like the speaker, and easier to understand ." in text.replace(
        "understand.", "understand ."
    )
    assert "10.8% 6.8–16.3" in text, "a rate stands with its interval"
    assert "−5.3 (−9.6 to −1.1)" in text, "a difference likewise"
    assert "1 of 6 gates failed" in text
    assert "96%, at least 98%" in text
    assert "The adapter is the one of step" in text
    assert "Evaluation loss by codebook" in text
    assert "In-domain 3" in text, "rates by kind of sentence, and how many there are"
    assert "a person’s transcript" in text
    assert "too short 2" in text, "drops stand under their reason, with their number"
    assert "52%" in text, "the share of spoken time that a person has reviewed"
    assert "Hear it learn" in text
    assert "Step 36" in text


def test_every_link_leads_to_something_on_the_page(page: str) -> None:
    ids = set(re.findall(r'\bid="([^"]+)"', page))
    links = set(re.findall(r'href="#([^"]+)"', page))
    assert links - ids == set()
    explained = {name for name in ids if name.startswith("how-")}
    assert explained - links <= {"how-conditions"}, "what is explained is linked from its figure"
    code = re.findall(r">by <code>([^<]+)</code>", page)
    assert len(code) == len(explained), "each with the code that computes it"
    assert [file for files in code for file in files.split(", ") if not (ROOT / file).exists()] == []


def test_the_same_outs_give_the_same_bytes_and_no_path_of_this_machine(
    outs: Path, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    markdown = (outs / "reports/report.md").read_bytes()
    assert make_report(outs, monkeypatch) == page
    assert (outs / "reports/report.md").read_bytes() == markdown
    for made in (page, markdown.decode()):
        assert str(outs) not in made
        assert str(ROOT) not in made


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", page)
    assert not re.findall(r"url\(|@import|https?://", page)


def test_what_people_wrote_shows_as_text(copy: Path, browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In sentences, in what was heard, in names of recordings and speakers, in reasons; nothing of it acts."""
    bell = HOSTILE + "\u202egnp.exe"
    replace_everywhere(copy / "reports/samples", "The captain stops the night ferry again.", bell)
    replace_everywhere(copy / "data", "harbour-morning", HOSTILE)
    replace_everywhere(copy / "data", "marina", HOSTILE)
    table = copy / "reports/scores.csv"
    with table.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    rows[0]["diff"] = f"{HOSTILE} [-{HOSTILE}-] {{+{HOSTILE}+}}"
    with table.open("w", newline="") as target:
        writer = csv.DictWriter(target, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    monkeypatch.setattr(Permissions, "check", lambda *_: None)  # as if somebody of that name had consented
    page = make_report(copy, monkeypatch)
    assert "<img src=x" not in page
    assert page.count("<script>") == page.count("</script>") == 1
    tab = browser.new_page()
    tab.goto((copy / "reports/index.html").as_uri())
    assert tab.title().startswith("This voice is better")
    for selector in (".said", ".take .heard", "#data th", "#drops .heard", ".points + *, #training .note"):
        assert any(HOSTILE in text for text in tab.locator(selector).all_text_contents()), selector
    assert "⟨U+202E⟩gnp.exe" in page, "a character that turns the direction is shown by its number"
    tab.close()
    markdown = (copy / "reports/report.md").read_text()
    assert "<img" not in markdown
    assert "<script" not in markdown


def replace_everywhere(folder: Path, old: str, new: str) -> None:
    """In the JSON below the folder."""
    for path in [*folder.rglob("*.json"), *folder.rglob("*.jsonl")]:
        text = path.read_text()
        path.write_text(text.replace(json.dumps(old)[1:-1], json.dumps(new)[1:-1]))


def test_a_sample_that_is_no_audio_is_named(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (copy / "reports/samples/base-ferry-0.flac").write_bytes(b"not audio")
    with pytest.raises(DataError, match=r"base-ferry-0\.flac: cannot be read as audio"):
        make_report(copy, monkeypatch)


def test_rates_of_before_intervals_make_a_page_too(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = {name: {"wer": 0.1, "cer": 0.08, "ended": 1.0, "words": 186} for name in metrics.CONDITIONS}
    (copy / "reports/details.json").write_text(json.dumps(old))
    shutil.rmtree(copy / "reports/points")
    text = text_of(make_report(copy, monkeypatch))
    assert "Whether this voice is better than cloning alone was not measured" in text
    assert "10.0%" in text
    assert "Hear it learn" not in text.partition("How each number")[0]


def test_the_worst_prompts_come_first(outs: Path) -> None:
    scores = sample_rows.read_scores(outs / "reports/scores.csv", outs / "reports/samples")
    rows = sample_rows.rows(scores, outs / "reports/samples", None, lambda clip: None)
    wrong = [sum(s.wer for s in scores if s.sample.prompt == row.prompt and s.sample.adapter) for row in rows]
    assert wrong == sorted(wrong, reverse=True)
    worst = sample_rows.worst(rows)
    assert worst[0].wer == max(s.wer for s in scores if s.sample.adapter)
    assert {take.condition for take in worst} <= {"tuned", "tuned_clone"}


def test_what_was_left_out_can_be_heard_while_there_is_room(outs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "PLAYERS", 3)
    owned = [outs / f"data/{name}" for name in ("sources.yaml", "speakers.yaml", "transcripts")]
    folders = [outs / f"data/{name}" for name in ("dataset", "review.json", "clips", "raw", "speech")]
    read = data.read(*folders, Permissions(*owned).holds_barred_voice)
    heard = {reason.name: [row.sound is not None for row in reason.rows] for reason in read.reasons}
    assert heard == {"too short": [True, False], "dropped": [True], "noisy": [True, False]}
    assert [reason.name for reason in read.reasons if reason.warning] == ["noisy"]
    first = read.reasons[0].rows[0].sound
    assert first is not None
    assert first.seconds == pytest.approx(0.9, abs=0.01), "the stretch itself, not the whole recording"


def test_the_short_page_holds_the_verdict_the_tables_and_the_gates(outs: Path, page: str) -> None:
    text = (outs / "reports/report.md").read_text()
    assert text.startswith("## This voice is better than cloning alone")
    assert "| Tuned + cloning | 10.8% (6.8–16.3) | 0.830 (0.800–0.850) | 91% | 96% |" in text
    assert "| Tuned + cloning against base | +0.6 (−3.0 to +4.6) | +0.420 (+0.380 to +0.450) | 3, 6, 3 |" in text
    assert "- ❌ **failed**: sentences end by themselves: 96%, at least 98%" in text
    assert text.count("- ✅") == 5
    assert len(text) < 5000


@pytest.mark.parametrize("width", [390, 1280])
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
    tab.evaluate("for (const fold of document.querySelectorAll('details')) fold.open = true")
    assert tab.evaluate("document.documentElement.scrollWidth") == width, "and so with everything unfolded"
    assert tab.locator("#listen .player").count() == 50, "6 prompts, 4 conditions, 2 seeds, and the speaker twice"
    assert tab.evaluate(CONTRAST) == []
    red = tab.evaluate("getComputedStyle(document.querySelector('.gates .failed')).color")
    r, g, b = map(int, re.findall(r"\d+", red))
    assert r > 1.5 * max(g, b) or (scheme == "dark" and r > g), "a gate that failed stands in red"
    duration = tab.evaluate(
        "new Promise(done => { const audio = document.querySelector('#take-base-ferry-0 audio');"
        " audio.onloadedmetadata = () => done(audio.duration); audio.load(); audio.preload = 'auto'; })"
    )
    assert duration == pytest.approx(3.0, abs=0.01)
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert complaints == []
    tab.close()


def test_everything_has_a_name_for_who_cannot_see_it(opened: Any) -> None:
    nameless = opened.evaluate(
        "[...document.querySelectorAll('audio, button, [role=slider], [role=img], [role=region], section, table')]"
        ".filter(at => !(at.getAttribute('aria-label') || at.textContent.trim() || at.getAttribute('aria-labelledby')))"
        ".map(at => at.outerHTML.slice(0, 80))"
    )
    assert nameless == []
    levels = [
        int(tag[1]) for tag in opened.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(at => at.tagName)")
    ]
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels)), "no level of headings is left out"
    for landmark in ("header", "nav", "main", "footer"):
        assert opened.locator(f"body > {landmark}").count() == 1


def players_of_drops(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    page = make_report(root, monkeypatch)
    return re.findall(r'<audio[^>]*aria-label="([^"]*)"', page[page.index('<div id="drops">') :])


def test_a_voice_that_may_not_be_heard_is_in_no_player(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [label for label in players_of_drops(copy, monkeypatch) if "Erm" in label]
    write_owned(copy, noon="3.0\t4.1\tbob\tdrop\tErm.\n")
    labels = players_of_drops(copy, monkeypatch)
    assert labels, "others are still played"
    assert not [label for label in labels if "Erm" in label], "bob took the consent back"
    write_owned(copy, noon="3.0\t4.1\tguest\tdrop\tErm.\n")
    assert not [label for label in players_of_drops(copy, monkeypatch) if "Erm" in label], "nobody asked the guest"
    write_owned(copy, revoked="2026-11-20")
    with pytest.raises(SourceError, match="marina took the consent back on 2026-11-20"):
        make_report(copy, monkeypatch)


def test_players_work_by_keyboard_and_one_sounds_at_a_time(opened: Any) -> None:
    first, second = opened.locator(".play").nth(1), opened.locator(".play").nth(2)
    first.focus()
    opened.keyboard.press("Enter")
    until(opened, "!document.querySelectorAll('audio')[1].paused")
    assert first.get_attribute("aria-label").startswith("Pause ")
    second.focus()
    opened.keyboard.press("Space")
    until(opened, "document.querySelectorAll('audio')[1].paused && !document.querySelectorAll('audio')[2].paused")
    seek = opened.locator(".seek").nth(2)
    seek.focus()
    opened.keyboard.press("Space")
    opened.keyboard.press("Home")
    opened.keyboard.press("ArrowRight")
    assert seek.get_attribute("aria-valuetext").startswith("0.5 of ")


def test_a_worst_sample_is_shown_and_heard_from_the_list(opened: Any) -> None:
    links = opened.locator(".worst .to")
    hidden = next(link for link in links.all() if link.get_attribute("href").endswith("-1"))
    take = hidden.get_attribute("href")
    assert not opened.locator(take).is_visible(), "another take of its prompt stands in front"
    hidden.focus()
    opened.keyboard.press("Enter")
    assert opened.locator(take).is_visible()
    until(opened, f"!document.querySelector('{take} audio').paused")


def test_sentences_of_one_kind_can_be_shown_alone(opened: Any) -> None:
    opened.get_by_role("button", name="Hard 2").click()
    assert opened.locator(".prompt:visible h3").all_text_contents() == ["Harbour.", SENTENCES["lantern"]]
    opened.get_by_role("button", name="All 6").click()
    assert opened.locator(".prompt:visible").count() == 6


def test_a_held_out_sentence_has_the_speakers_own_recording_beside_it(opened: Any) -> None:
    beside = opened.locator(".prompt", has=opened.locator(".take.true"))
    assert beside.locator("h3").all_text_contents() == [SENTENCES["train"]]
    assert beside.locator(".takes").first.locator(".name").all_text_contents() == [
        "The speaker", "Base", "Base + cloning", "Tuned", "Tuned + cloning",
    ]  # fmt: skip


def test_without_scripts_there_are_the_browsers_own_players(outs: Path, page: str, browser: Any) -> None:
    tab = browser.new_page(java_script_enabled=False)
    tab.goto((outs / "reports/index.html").as_uri())
    assert tab.locator("#listen audio").first.is_visible()
    assert tab.locator("#listen .picture").first.is_visible()
    assert not tab.locator(".filter").is_visible()
    tab.close()


def test_the_page_says_how_each_recording_sounds(copy: Path, page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "LUFS" not in page
    (copy / "data/speech").mkdir()
    (copy / "data/speech/harbour-noon.json").write_text('{"key": "k", "loudness": [-21.4, 6.2, -3.0]}')
    assert "<td>-21 LUFS, range 6 LU</td>" in make_report(copy, monkeypatch)


def test_the_page_says_whose_voices_are_in_it(copy: Path, page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert permissions.of_page(copy / "reports/index.html") == ["marina"]
    people = copy / "data/speakers.yaml"
    people.write_text(people.read_text().replace("revoked: 2026-04-01", "revoked: null"))
    transcript = copy / "data/transcripts/harbour-noon.tsv"
    transcript.write_text(f"{transcript.read_text()}3.0\t4.1\tbob\tdrop\tErm.\n6.0\t7.0\tbob\t\tYes.\n")
    make_report(copy, monkeypatch)
    assert permissions.of_page(copy / "reports/index.html") == ["bob", "marina"], "he is heard among what was left out"


def test_the_page_is_not_copied_once_a_voice_in_it_may_not_be_heard(
    copy: Path, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy)
    write_owned(copy, revoked="2026-04-01")
    with pytest.raises(SourceError, match=r"reports/index\.html: holds the voice of marina, who may not be heard"):
        cli.execute(["report"])
    assert not Path("reports/report.html").exists()
