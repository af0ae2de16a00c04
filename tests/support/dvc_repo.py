"""A real repository of git and DVC, where somebody works: two stages that count words."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.surroundings import QUIET_DVC

HEADER = "start\tend\tspeaker\tflag\ttext\n"
PIPELINE = """\
stages:
  count:
    cmd: wc -w transcripts/*.tsv > counts
    deps: [transcripts]
    outs: [counts]
  sum:
    cmd: tail -n 1 counts > metrics.json
    deps: [counts]
    metrics:
      - metrics.json: {cache: false}
"""


class Desk:
    def __init__(self, root: Path, warm: Path) -> None:
        self.root = root
        self.warm = warm  # programs of tests/support/warm_python.py, of which only `dvc` is used

    def run(self, *command: str, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        if command[0] == "dvc":
            command = (str(self.warm / "dvc"), *command[1:])
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = {key: value for key, value in os.environ.items() if not key.startswith(("GIT_", "DVC_"))}
        env |= {"PATH": path, "PYTHONDONTWRITEBYTECODE": "1", **QUIET_DVC, **more}
        done = subprocess.run(command, cwd=self.root, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    def copy(self, root: Path) -> Desk:
        shutil.copytree(self.root, root, symlinks=True)
        return Desk(root, self.warm)

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def publish(self, message: str) -> None:
        self.run("dvc", "repro", "-q")
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", message)


def begin(root: Path, warm: Path) -> Desk:
    desk = Desk(root, warm)
    root.mkdir()
    desk.run("git", "init", "-qb", "main")
    desk.run("git", "config", "user.email", "ann@example.org")
    desk.run("git", "config", "user.name", "Ann")
    desk.run("dvc", "init", "-q")
    desk.write("dvc.yaml", PIPELINE)
    return desk
