"""Two processes at one file of a person: what was acknowledged is there, and nobody's work is overwritten."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.review_repository import build
from tests.support.sounds import write_tone
from timbre.project import sources, speakers, transcripts

LINES = 40  # of each writer
SAVE_LINES = """
import dataclasses, sys
from timbre.editing.owned_files import ChangedMeanwhile
from timbre.web.review.transcripts_service import TranscriptsService

service, mine = TranscriptsService(), [int(number) for number in sys.argv[1].split(",")]
for number in mine:
    while True:  # as the page does, when somebody else's save came first
        opened = service.opened("noon")
        lines = list(opened.lines)
        lines[number] = dataclasses.replace(lines[number], flag="ok")
        try:
            service.save("noon", opened.digest, lines)
            break
        except ChangedMeanwhile:
            continue
"""
READ_ON = """
import sys
from pathlib import Path
from timbre.project import transcripts

path, rows = Path("data/transcripts/noon.tsv"), int(sys.argv[1])
while not Path("stop").exists():
    if path.exists():
        assert len(transcripts.read(path).lines) == rows
"""


def started(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE, text=True)


def finished(processes: Sequence[subprocess.Popen[str]]) -> None:
    for process in processes:
        _, complaints = process.communicate(timeout=120)
        assert process.returncode == 0, complaints


def test_two_review_pages_lose_no_line_that_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(build(tmp_path, names=("noon",), seconds=4.0 * 2 * LINES, lines=2 * LINES, rate=8000))
    writers = [started(SAVE_LINES, ",".join(str(n) for n in range(first, 2 * LINES, 2))) for first in (0, 1)]
    reader = started(READ_ON, str(2 * LINES))
    finished(writers)
    Path("stop").touch()
    finished([reader])
    lines = transcripts.read(Path("data/transcripts/noon.tsv")).lines
    assert [line.flag for line in lines] == ["ok"] * 2 * LINES
    assert [path.name for path in Path("data/transcripts").iterdir()] == ["noon.tsv"]


def test_eight_recordings_that_are_added_at_once_are_all_declared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(8):
        write_tone(tmp_path / f"talk-{number}.wav", number)
    code = "import sys; from timbre.commands import cli; sys.exit(cli.execute(sys.argv[1:]))"
    about = ["--licence", "CC0-1.0", "--consent", "given 2026-03-01", "--language", "en"]
    finished([started(code, "add", f"talk-{n}.wav", "--speaker", f"voice-{n % 3}", *about) for n in range(8)])
    assert {source.id for source in sources.read(Path("data/sources.yaml"))} == {f"talk-{n}" for n in range(8)}
    assert set(speakers.read()) == {"voice-0", "voice-1", "voice-2"}
