"""`timbre speed` with known answers: two commits whose code takes a known time to speak, each run as it is there."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import pytest

from tests.support.dvc_cache import keep
from tests.support.git_history import Voice, listing
from tests.support.paths import ROOT
from timbre.commands.cli import execute
from timbre.core.errors import DataError, ModelError, SourceError
from timbre.core.records import ADAPTER_FILES

SPEECH = """\
import time

class Spoken:
    sample_rate = 1000

    def say(self, text):
        ends = time.process_time() + {cost} * len(text)
        while time.process_time() < ends:
            pass
        return [0.0] * 100 * len(text)

def load(folder):
    print("loading", folder)
    return Spoken()
"""
USUAL, SLOW = SPEECH.format(cost=2e-4), SPEECH.format(cost=3e-4)  # CPU seconds per character
PROMPTS = 24


class Repository:
    """Commits with an adapter in DVC's cache, a library of their own, and no model."""

    def __init__(self, root: Path) -> None:
        self.voice = Voice(root)
        self.voice.allow("marina")
        self.voice.write()
        shutil.copyfile(ROOT / "params.yaml", root / "params.yaml")
        rows = (f"p{number}\tdomain\tThe ferry number {number} leaves.\n" for number in range(PROMPTS))
        (root / "data/prompts.tsv").write_text("id\tkind\ttext\n" + "".join(rows))
        files = dict.fromkeys(ADAPTER_FILES, b"{}") | {"training.json": b'{"speakers": {"marina": ["noon"]}}'}
        content, digest = listing({name: keep(data, root=root) for name, data in files.items()})
        keep(content, ".dir", root)
        outs = [{"path": "models/adapter", "hash": "md5", "md5": digest}]
        lock = {"schema": "2.0", "stages": {"train": {"cmd": "x", "outs": outs}}}
        (root / "dvc.lock").write_text(json.dumps(lock))
        (root / "timbre").mkdir()
        (root / "timbre/__init__.py").touch()

    def commit(self, speech: str, name: str) -> None:
        (self.voice.root / "timbre/speech.py").write_text(speech)
        self.voice.git("add", "-A")
        self.voice.git("commit", "-q", "--allow-empty", "-m", name)
        self.voice.git("tag", name)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    repository = Repository(tmp_path_factory.mktemp("speed") / "voice")
    for name, speech in {"usual": USUAL, "same": USUAL, "slow": SLOW, "broken": "raise OSError('no voice')"}.items():
        repository.commit(speech, name)
    return repository


@pytest.fixture
def root(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(repository.voice.root)
    return repository.voice.root


def outcome(old: str, new: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    execute(["speed", old, new, "--out", "speed.json"])
    told = capsys.readouterr().out
    code = execute(["diff", old, new, "--local", "--speed", "speed.json", "--format", "markdown", "--check"])
    return code, told, capsys.readouterr().out


def test_code_of_the_same_speed_passes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, told, page = outcome("usual", "same", capsys)
    assert f"over {PROMPTS} sentences" in told
    (row,) = [line for line in page.splitlines() if "<code>speed</code>" in line]
    assert "no harm shown" in row
    assert f"{PROMPTS} sentences" in row


def test_slower_code_fails_and_faster_code_does_not(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told, page = outcome("usual", "slow", capsys)
    rows = json.loads(Path("speed.json").read_text())["sentences"]
    ratios = [(row["new"]["computing"] / row["old"]["computing"]) for row in rows]
    assert sum(ratios) / len(ratios) == pytest.approx(1.5, abs=0.05), "what the code burns is what is measured"
    assert "CPU seconds for a second of speech: usual 0.00" in told
    assert code == 1
    assert "a second of speech takes no more than 10% more computing" in page
    assert "HARM" in page
    assert "HARM" not in outcome("slow", "usual", capsys)[2]


def test_few_sentences_tell_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    execute(["speed", "usual", "slow", "-n", "3", "--out", "speed.json"])
    execute(["diff", "usual", "slow", "--local", "--speed", "speed.json", "--format", "markdown"])
    assert "too few to tell" in capsys.readouterr().out


def test_a_file_speaks_of_its_own_two_versions_alone(root: Path) -> None:
    execute(["speed", "usual", "same", "-n", "1", "--out", "speed.json"])
    with pytest.raises(DataError, match=r"speed.json: measured \w{8} and \w{8}, and not"):
        execute(["diff", "usual", "slow", "--local", "--speed", "speed.json"])
    for spoilt in ("[]", "{", '{"old": null, "new": null, "unit": "cpu", "sentences": [{"text": "a"}]}', "\x00"):
        Path("speed.json").write_text(spoilt)
        with pytest.raises(DataError, match=r"speed.json: not what `timbre speed` writes"):
            execute(["diff", "usual", "slow", "--local", "--speed", "speed.json"])


def test_code_that_cannot_speak_is_named(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelError, match="broken: its code could not speak"):
        execute(["speed", "usual", "broken", "--out", "speed.json"])
    assert "OSError: no voice" in capfd.readouterr().err


def test_a_withdrawn_consent_counts_for_old_commits_too(root: Path) -> None:
    speakers = root / "data/speakers.yaml"
    given = speakers.read_text()
    with contextlib.ExitStack() as stack:
        stack.callback(speakers.write_text, given)
        document = json.loads(given)
        document["speakers"]["marina"]["consent"]["revoked"] = "2026-11-01"
        speakers.write_text(json.dumps(document))
        with pytest.raises(SourceError, match="marina"):
            execute(["speed", "usual", "same"])
