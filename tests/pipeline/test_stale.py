"""`timbre diff` takes for stale what DVC does."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from timbre.versions.dvc_lock import read, stale
from timbre.versions.snapshot import open_snapshot

REAL = """\
stages:
  one:
    cmd: cat words/b > made${part.name}
    deps: [words, code.py]
    params: [part]
    outs:
      - made${part.name}
  two:
    cmd: cp made${part.name} end
    deps:
      - made${part.name}
    outs: [end]
"""


@pytest.mark.pipeline
@pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")
def test_it_takes_for_stale_what_dvc_takes_for_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc.repo import Repo

    monkeypatch.chdir(tmp_path)

    def behind() -> list[str]:
        with open_snapshot(tmp_path, None) as here:
            return [stage.stage for stage in stale(here, read(here)) if stage.reasons]

    def agree(expected: list[str]) -> None:
        assert behind() == expected
        with Repo() as repo:
            assert list(repo.status()) == expected

    subprocess.run(["git", "init", "-q"], check=True)
    Repo.init().close()
    files = {
        "dvc.yaml": REAL,
        "params.yaml": "part: {name: x}\nother: 1\n",
        "code.py": "1",
        "words/a/ä.txt": "a",
        "words/b": "b",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert behind() == ["one", "two"]
    with Repo() as repo:
        repo.reproduce()
    agree([])
    (tmp_path / "params.yaml").write_text("part: {name: x}\nother: 2\n")
    agree([])
    (tmp_path / "words/c").write_text("c")
    agree(["one"])
    (tmp_path / "words/c").unlink()
    agree([])
    (tmp_path / "code.py").write_text("2")
    agree(["one"])
    (tmp_path / "code.py").write_text("1")
    (tmp_path / "dvc.yaml").write_text(REAL.replace("cp made", "cp -f made"))
    agree(["two"])


INSIDE = """\
stages:
  one:
    cmd: mkdir -p made && cp words made/words && echo the same > made/other
    deps: [words]
    outs: [made]
  two:
    cmd: cp made/words end
    deps: [made/words]
    outs: [end]
  three:
    cmd: cp made/other last
    deps: [made/other]
    outs: [last]
"""


@pytest.mark.pipeline
@pytest.mark.filterwarnings("ignore::DeprecationWarning:dvc")
def test_a_file_inside_of_an_output_that_was_made_anew_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc.repo import Repo

    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    Repo.init().close()
    (tmp_path / "dvc.yaml").write_text(INSIDE)
    (tmp_path / "words").write_text("a")
    with Repo() as repo:
        repo.reproduce()
    (tmp_path / "words").write_text("b")
    with Repo() as repo:
        repo.reproduce("one", single_item=True)
        assert list(repo.status()) == ["two"]
    with open_snapshot(tmp_path, None) as here:
        assert [stage.stage for stage in stale(here, read(here))] == ["two"]
