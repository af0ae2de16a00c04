"""`timbre report`: the page, and in it what changed since another version of a real repository."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.git_history import Voice
from tests.support.report_outs import HOSTILE, write_report_outs
from tests.support.report_page import CONTRAST, make_report
from timbre.audio import flac_bytes
from timbre.commands import cli
from timbre.core.content import file_sha256, write_atomic
from timbre.core.errors import DataError
from timbre.core.records import ADAPTER_FILES
from timbre.project import worth
from timbre.project.worth import Worth, WorthRow


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("outs")
    write_report_outs(root)
    with pytest.MonkeyPatch.context() as patch:
        make_report(root, patch)
    return root / "reports/index.html"


@pytest.fixture
def voice(tmp_path: Path, page: Path, monkeypatch: pytest.MonkeyPatch) -> Voice:
    """Two versions: a word was corrected, and the ferry is understood."""
    from tests.support.fake_outputs import voice as sound

    made = Voice(tmp_path / "voice")
    made.add("noon", ["At noon the gulls come in.", "They want bread."])
    made.sounds["ferry"] = flac_bytes(sound(1.0, 0), 16_000)
    made.commit("First voice")
    made.git("tag", "first")
    made.edit("noon", 1, text=f"They want white bread {HOSTILE}.")
    made.wrong["ferry"] = 0
    made.sounds["ferry"] = flac_bytes(sound(1.2, 1), 16_000)
    made.params["train"]["rate"] = 0.0001
    made.commit("Second voice")
    shutil.copy(page, made.root / "reports/index.html")
    monkeypatch.chdir(made.root)
    return made


def test_the_copy_tells_what_changed_since_the_version_before(voice: Voice, browser: Any) -> None:
    before = Path("reports/index.html").read_bytes()
    assert cli.execute(["report", "--local"]) == 0
    assert Path("reports/index.html").read_bytes() == before, "the pipeline's own page stays as it is"
    complaints: list[str] = []
    tab = browser.new_page(viewport={"width": 390, "height": 800})
    tab.on("console", lambda message: complaints.append(message.text))
    tab.goto(Path("reports/report.html").absolute().as_uri())
    told = tab.locator("#changes")
    for text in ("1 line in 1 recording reworded", f"white bread {HOSTILE}", "train.rate", "0.0001"):
        assert text in told.text_content()
    assert told.locator("audio").count() == 2, "the sample that changed most, before and now"
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    assert tab.evaluate(CONTRAST) == []
    assert complaints == []
    assert tab.title().startswith("This voice is better")
    tab.close()


def test_the_copy_lets_one_hear_the_clips_that_harm_the_voice(voice: Voice, browser: Any) -> None:
    from tests.support.fake_outputs import voice as sound

    write_atomic(Path("data/clips/harms.flac"), flac_bytes(sound(1.0, 0), 16_000))
    weights = Path("models/adapter") / ADAPTER_FILES[1]
    if not weights.exists():
        write_atomic(weights, b"weights")

    def row(clip: str, text: str, harm: float) -> WorthRow:
        numbers = ([4.0, 3.5], [0.1], [0.1])
        return WorthRow(clip, "noon", 0.0, 1.0, text, text, 0.0, *numbers, 0.0, harm, "drop", f"listen {HOSTILE}")

    rows = [row("harms", f"They want bread {HOSTILE}.", 2.5), *(row(f"clip{n}", "At noon.", 0.5) for n in range(12))]
    worth.write(worth.PATH, Worth("key", file_sha256(weights), [0, 40], rows))
    assert cli.execute(["report", "--local"]) == 0
    tab = browser.new_page(viewport={"width": 390, "height": 800})
    tab.goto(Path("reports/report.html").absolute().as_uri())
    told = tab.locator("#value")
    assert told.locator("li").count() == 10
    assert told.locator("audio").count() == 1, "the others' sound is not here"
    assert f"They want bread {HOSTILE}." in told.text_content()
    assert "1 or more): 1 of 13" in told.text_content()
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    assert tab.evaluate(CONTRAST) == []
    assert tab.locator("#changes").text_content().count("reworded")
    tab.close()
    write_atomic(weights, b"trained again")
    assert cli.execute(["report", "--local"]) == 0
    assert "Training clips to listen to" not in Path("reports/report.html").read_text(encoding="utf-8")


def test_new_results_are_compared_with_the_last_commit_committed_ones_with_the_version_before(
    voice: Voice, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = voice.git("rev-parse", "first"), voice.git("rev-parse", "HEAD")
    voice.git("commit", "-q", "--allow-empty", "-m", "No other results")
    cli.execute(["report", "--local"])
    assert f"what changed since {first[:12]}, the last version with other data" in capsys.readouterr().out
    voice.params["train"]["rate"] = 0.0002
    voice.run()
    cli.execute(["report", "--local", "--out", "reports/other.html"])
    assert capsys.readouterr().out == (
        f"reports/other.html: the report, and what changed since {second[:12]}, "
        "the last version with other data, parameters or results\n"
    )
    cli.execute(["report", "first", "--local"])
    assert "what changed since first" in capsys.readouterr().out


def test_a_version_that_differs_in_code_only_is_passed_over_while_there_is_another(
    voice: Voice, capsys: pytest.CaptureFixture[str]
) -> None:
    def commit_code(number: int) -> None:
        locked = json.loads(Path("dvc.lock").read_text())
        locked["stages"]["train"]["deps"].append({"path": "stages/train.py", "md5": f"{number}" * 32})
        Path("dvc.lock").write_text(json.dumps(locked))
        voice.git("commit", "-qam", "Tidy up")

    first = voice.git("rev-parse", "first")
    commit_code(1)
    cli.execute(["report", "--local"])
    assert f"what changed since {first[:12]}, the last version with other data" in capsys.readouterr().out
    voice.git("checkout", "-q", "--orphan", "fresh")
    voice.git("commit", "-qm", "All that there is")
    only = voice.git("rev-parse", "HEAD")
    commit_code(2)
    cli.execute(["report", "--local"])
    assert f"what changed since {only[:12]}, which differs in code only\n" in capsys.readouterr().out


def test_what_is_missing_is_said(voice: Voice) -> None:
    with pytest.raises(DataError, match="nowhere: git knows no such version"):
        cli.execute(["report", "nowhere"])
    voice.git("reset", "-q", "--hard", "first")
    with pytest.raises(DataError, match="git knows no version before this one; name one"):
        cli.execute(["report"])
    Path("reports/index.html").write_text("<h1>another page</h1>")
    with pytest.raises(DataError, match="has no place for what changed; `dvc repro report` makes it anew"):
        cli.execute(["report"])
    Path("reports/index.html").unlink()
    with pytest.raises(DataError, match="there is no report here; no run has made it yet, `dvc repro` does"):
        cli.execute(["report"])
