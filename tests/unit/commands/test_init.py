"""A project of one's own: everything that the pipeline needs, and nothing of the demo's voice."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.fake_outputs import voice
from tests.support.paths import ROOT
from timbre.audio import flac_bytes
from timbre.commands import cli, init
from timbre.core import params
from timbre.core.errors import DataError, SourceError
from timbre.project import prompts, sources, speakers


@pytest.fixture(autouse=True)
def _git_does_not_compress(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights of the tiny models, for seconds."""
    for name, value in (("COUNT", "1"), ("KEY_0", "core.compression"), ("VALUE_0", "0")):
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)


@pytest.fixture
def ann(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(ROOT)
    assert cli.execute(["init", str(tmp_path / "ann")]) == 0
    monkeypatch.chdir(tmp_path / "ann")
    return tmp_path / "ann"


def test_a_new_project_has_the_pipeline_and_nothing_of_the_demo(ann: Path) -> None:
    assert params.read() == params.read(ROOT / "presets/csm-1b.yaml")
    assert len(prompts.read_prompts(prompts.PATH)) == 12
    assert speakers.read() == {}
    assert [path.name for path in Path("data/recordings").iterdir()] == [".gitkeep"]
    assert not Path("dvc.lock").exists()
    assert not any(Path(name).exists() for name in ("tests", "CHANGELOG.md", ".ci", ".github/workflows/check.yml"))
    assert Path(".github/workflows/data-diff.yml").is_file()
    readme = Path("README.md").read_text()
    assert "It began as `presets/csm-1b.yaml`" in readme
    assert "harbour" not in readme
    assert all(Path(name).exists() for name in ("docs/index.md", "LICENSE", "data/speakers.yaml"))
    text = "".join(path.read_text(encoding="utf-8") for path in Path("data").rglob("*") if path.is_file())
    assert "marina" not in text
    with pytest.raises(SourceError, match="there is no recording yet; `timbre add FILE`"):
        sources.read(Path("data/sources.yaml"))
    staged = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    assert {line[:2] for line in staged.splitlines()} == {"A "}


def test_the_first_recording_is_added_to_it(ann: Path, tmp_path: Path) -> None:
    (tmp_path / "talk.flac").write_bytes(flac_bytes(voice(2.0, 0), 16_000))
    rights = ["--speaker", "ann", "--language", "en", "--licence", "CC0-1.0", "--consent", "Ann, 2026-03-01"]
    assert cli.execute(["add", str(tmp_path / "talk.flac"), *rights]) == 0
    assert [source.speaker for source in sources.read(Path("data/sources.yaml"))] == ["ann"]
    assert list(speakers.read()) == ["ann"]


def test_from_the_demo_it_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert cli.execute(["init", str(tmp_path / "demo"), "--from-demo"]) == 0
    for name in ("data/sources.yaml", "params.yaml", "dvc.lock"):
        assert (tmp_path / "demo" / name).read_bytes() == (ROOT / name).read_bytes()


def test_nothing_is_written_over_and_an_unknown_preset_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(DataError, match="is there already; name a new folder"):
        cli.execute(["init", str(tmp_path / "mine")])
    with pytest.raises(DataError, match=r"presets/cms\.yaml: there is no such preset"):
        cli.execute(["init", str(tmp_path / "new"), "--preset", "cms"])
    assert not (tmp_path / "new").exists()


def test_what_a_kill_left_is_no_project_and_gone_at_the_next_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    target = tmp_path / "ann"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(init, "write_atomic", killed)
        with pytest.raises(KeyboardInterrupt):
            cli.execute(["init", str(target)])
    assert not target.exists()
    assert cli.execute(["init", str(target)]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["ann"]
    assert (target / ".dvc/plots.html").is_file()
