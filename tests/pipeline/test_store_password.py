"""The password in the address of MLflow's store reaches no terminal, whichever command fails to reach it."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages import track
from tests.support import mlflow_store
from timbre.commands import cli
from timbre.core import running

ADDRESSES = ["http://ann:s3cret@127.0.0.1:1", "http://ann:s3cret@[", "postgresql+nodriver://ann:s3cret@127.0.0.1/runs"]


@pytest.mark.parametrize("uri", ADDRESSES)
def test_no_command_shows_the_password_of_the_store(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], uri: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    told = {}
    for arguments in (["runs"], ["promote"], ["promote", "x", "--force", "y"], ["summary"], ["doctor"], ["diff"]):
        with pytest.raises(SystemExit):
            running.run(lambda arguments=arguments: cli.execute(arguments))
        told[" ".join(arguments)] = "".join(capsys.readouterr())
    with pytest.raises(SystemExit):
        running.run(lambda: track.main(**mlflow_store.ARGUMENTS))
    told["track"] = "".join(capsys.readouterr())
    assert all(told.values())
    assert [name for name, text in told.items() if "s3cret" in text or "ann:" in text] == []
    assert "cannot be reached" in told["track"]
