"""`timbre` as a shell would start it, in this process: what it prints, and how it ends."""

from __future__ import annotations

import io
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from timbre.commands import cli


@dataclass(frozen=True)
class Finished:
    returncode: int
    stdout: str
    stderr: str


def timbre(*arguments: str, cwd: Path) -> Finished:
    """Starting Python for each would take seconds; tests of what is loaded, and of signals, do that."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, chdir(cwd), redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["timbre", *arguments])
        patch.setattr(sys, "excepthook", sys.excepthook)  # the command sets its own
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return Finished(ended.value.code if isinstance(ended.value.code, int) else 1, out.getvalue(), err.getvalue())
