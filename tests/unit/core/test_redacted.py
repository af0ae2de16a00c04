"""No password, user name or token of an address reaches a terminal, whichever command shows it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from timbre.commands import cli
from timbre.core.safe_text import redacted
from timbre.diff import rights
from timbre.mapping.dvc_remote import Remote

BUG = "from timbre.core.running import run; run(lambda: int('http://ann:s3cret@host'))"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://ann:s3cret@h:1/x", "http://h:1/x"),
        ("https://s3cret@h/x", "https://h/x"),
        ("cannot reach 'postgresql://ann:s3/cr@et@db/x' (no)", "cannot reach 'postgresql://db/x' (no)"),
        ("ssh://ann:s3cret@h and s3://bucket/x", "ssh://h and s3://bucket/x"),
        ("http://h/x?user=ann&access_token=s3cret&v=1", "http://h/x?user=ann&access_token=***&v=1"),
        ("http://h/x?X-Amz-Signature=s3cret", "http://h/x?X-Amz-Signature=***"),
        ("mail ann@example.org, see https://h/@ann", "mail ann@example.org, see https://h/@ann"),
    ],
)
def test_an_address_is_shown_without_its_secrets(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize("text", ["a" * 100_000, "a://b:" * 5_000, "?key" * 30_000, "?" + "token" * 20_000])
def test_no_text_is_read_for_every_one_of_its_characters_again(text: str) -> None:
    """With a bound on each part it is a second at most; without, hours."""
    assert redacted(text) == text


def test_the_traceback_of_a_bug_does_not_show_it() -> None:
    done = subprocess.run([sys.executable, "-c", BUG], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ValueError: invalid literal for int() with base 10: 'http://host'"
    assert "Traceback" in done.stderr


def test_neither_a_remote_of_dvc_nor_a_source_is_shown_with_it(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(".dvc").mkdir()
    remote = "[core]\nremote = r\n['remote \"r\"']\nurl = http://ann:s3cret@127.0.0.1:1/x\n"
    Path(".dvc/config").write_text(remote)
    cli.execute(["doctor"])
    shown = capsys.readouterr().out
    assert "http://127.0.0.1:1/x" in shown
    assert "s3cret" not in shown
    monkeypatch.setattr(Remote, "_files", property(lambda self: int("http://ann:s3cret@host")))
    asked = Remote(Path())
    assert asked.read("0" * 32) is None
    assert asked.refused.endswith("'http://host'")
    (change,) = rights.sources({}, {"noon": {"url": "http://ann:s3cret@h/x"}})
    assert change.values == {"url": (None, "http://h/x")}
