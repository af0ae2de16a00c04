"""`timbre import` is killed or interrupted: nothing is there by half, and the next run completes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.imports import ANN, back, files, heard, ljspeech, run
from tests.support.paths import ROOT
from timbre.exchange import importing
from timbre.project import sources

pytestmark = pytest.mark.usefixtures("project")


@pytest.mark.parametrize("reached", ["*/*-001.pcm", "*/*-003.flac"])
def test_a_kill_leaves_nothing_and_the_next_run_completes_it(tmp_path: Path, reached: str) -> None:
    made = ljspeech(tmp_path / "lj", [f"Sentence {number} of them." for number in range(40)])
    code = (
        "from timbre.commands import cli; from timbre.exchange import joined_recordings\n"
        "joined_recordings.LONGEST = 12; cli.main()"
    )
    command = [sys.executable, "-c", code, "import", str(tmp_path / "lj"), *ANN]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(Path(".timbre/import").glob(reached)):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    declared = Path("data/sources.yaml")
    assert not declared.exists() or len(sources.read(declared)) > 3, "all of them or none"
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert [(text, found) for _, text, found in back()] == [
        (f"Sentence {number} of them.", heard(sound)) for number, sound in enumerate(made)
    ]


@pytest.mark.parametrize("links", [0, 1, 2])
def test_a_kill_while_files_are_put_in_place_is_mended_by_the_next_run(tmp_path: Path, links: int) -> None:
    ljspeech(tmp_path / "lj")
    code = """if True:
        import os, sys
        from timbre.commands import cli
        from timbre.editing import yaml_entries
        links, link, extended = [], os.link, yaml_entries.extended
        kill = lambda: os.kill(os.getpid(), 9)
        os.link = lambda *names: links.append(link(*names)) if len(links) < LINKS else kill()
        yaml_entries.extended = lambda *_: kill()
        cli.main()"""
    command = [sys.executable, "-c", code.replace("LINKS", str(links)), "import", str(tmp_path / "lj"), *ANN]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False)
    assert (done.returncode, len(files())) == (-signal.SIGKILL, links)
    run(tmp_path / "lj", *ANN)
    assert len(back()) == 5


def test_an_interruption_while_files_are_put_in_place_takes_them_away_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ljspeech(tmp_path / "lj")

    def interrupted(*_: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(importing.placing.yaml_entries, "extended", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "lj", *ANN)
    assert files() == []
