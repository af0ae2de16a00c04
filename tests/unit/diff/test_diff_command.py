"""The command `timbre diff`: its formats, its exit code, and what it costs to start."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.command import Finished, timbre
from tests.support.fake_outputs import voice as voice_like
from tests.support.git_histories import MORNING, first, reword
from tests.support.paths import ROOT
from timbre.audio import flac_bytes
from timbre.commands import cli


def diff(root: Path, *arguments: str) -> Finished:
    return timbre("diff", *arguments, cwd=root)


def test_check_fails_on_a_stale_lock_a_leak_a_gate_and_missing_consent(tmp_path: Path) -> None:
    voice = first(tmp_path / "voice")
    assert diff(voice.root, "--check").returncode == 0
    voice.edit("noon", 0, text="At noon the ferry comes in.")
    voice.write()
    done = diff(voice.root, "--check")
    assert done.returncode == 1
    assert done.stderr == "error: dvc.lock is behind the files: `dvc repro` would run segment\n"
    voice.edit("morning", 4, text=MORNING[0])
    voice.edit("morning", 5, text=MORNING[1])
    voice.wrong = dict.fromkeys(voice.wrong, 2)
    voice.run()
    said = diff(voice.root, "--check").stderr
    assert "1 text(s) are in training and in evaluation" in said
    assert (
        "error: gate `words` failed: tuned + cloning reads no worse than base + cloning and than base "
        "(measured 0.5, limit 0.3)" in said
    )
    voice.sources["noon"]["consent"] = " "
    voice.allow("marina", revoked="2026-11-01")
    voice.write()
    said = diff(voice.root, "--check").stderr
    assert re.search(r"data/sources.yaml:\d+: noon has no consent", said)
    assert re.search(r"data/speakers.yaml:\d+: marina took the consent back on 2026-11-01", said)
    voice.speakers.clear()
    voice.write()
    assert "data/speakers.yaml: no entry for marina" in diff(voice.root, "--check").stderr
    assert diff(voice.root).returncode == 0, "only --check fails"


def test_piped_it_is_markdown_and_full_is_by_the_name_of_the_file(tmp_path: Path) -> None:
    voice = first(tmp_path / "voice")
    reworded = dict.fromkeys(voice.wrong, flac_bytes(voice_like(0.6, 0), 16_000))
    voice.sounds = reworded
    voice.commit("Speak with sound")
    reword(voice)
    voice.sounds = reworded
    voice.run()
    done = diff(voice.root, "--full", "all.html")
    assert done.stdout.startswith("<!-- timbre diff -->\n🟢 **4 lines in 2 recordings reworded")
    page = (voice.root / "all.html").read_text()
    assert page.startswith("<!doctype html>")
    assert page.count("data:audio/flac;base64,") == 12, "six samples, before and now"
    assert json.loads(diff(voice.root, "--format", "json").stdout)["verdict"].startswith("4 lines")


def test_mistakes_end_in_one_line(tmp_path: Path) -> None:
    voice = first(tmp_path / "voice")
    assert diff(voice.root, "--", "--upload-pack=x").stderr.startswith("error: --upload-pack=x: git knows no such")
    assert diff(voice.root, "nowhere").stderr == (
        "error: nowhere: git knows no such version; `timbre log` and `git tag` list them, `git fetch` may bring it\n"
    )
    assert diff(tmp_path).stderr == (
        f"error: this is no Timbre project: neither {tmp_path} nor a folder above it holds dvc.yaml\n"
    )


def test_it_needs_no_model_library(tmp_path: Path) -> None:
    voice = first(tmp_path / "voice")
    code = (
        "import sys; from timbre.commands.cli import execute; execute(['diff'])\n"
        "print(sorted({'torch', 'transformers', 'mlflow', 'whisper', 'datasets', 'numpy', 'dvc'} & set(sys.modules)))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=voice.root, capture_output=True, text=True, env=env, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_lock_names_objects_and_no_other_files(tmp_path: Path) -> None:
    voice = first(tmp_path / "voice")
    secret = tmp_path / "secret.csv"
    secret.write_text("sample,condition\n")
    lock = voice.root / "dvc.lock"
    digest = json.loads(lock.read_text())["stages"]["evaluate"]["outs"][0]["md5"]
    lock.write_text(lock.read_text().replace(digest, f"//{secret}"))
    found = json.loads(diff(voice.root, "--format", "json", "--local").stdout)
    assert "reports/scores.csv of work tree" in found["unreachable"]


def test_the_command_is_one_of_timbres() -> None:
    assert "diff" in cli.COMMANDS
