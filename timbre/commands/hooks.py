"""Install DVC's git hooks, so that `git checkout` also brings back the data.

post-checkout brings the outputs of the version that you check out (`dvc checkout`), pre-commit says what is out of date
(`dvc status`), pre-push sends the data to the remote (`dvc push`; only where there is a remote). A hook that is there
already stays as it is. To take ours out, delete them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from timbre.core.content import write_atomic
from timbre.core.errors import DataError
from timbre.versions import dvc_outs
from timbre.versions.snapshot import git

EXAMPLES = [
    ("timbre hooks", "install the hooks that are missing"),
    ("timbre hooks --ask", "ask first, once; `make` does this"),
]
HOOKS = ("post-checkout", "pre-commit", "pre-push")
MARK = "# installed by `timbre hooks`; delete this file to be rid of it"
ASKED = Path(".timbre/hooks-asked")  # so that `make` asks once
SCRIPT = f"""#!/bin/sh
{MARK}
PATH="$PATH:$(git rev-parse --show-toplevel)/.venv/bin"
command -v dvc > /dev/null || {{ echo 'dvc is not on the PATH, so `dvc git-hook %s` was not run' >&2; exit 0; }}
exec dvc git-hook %s "$@"
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ask", action="store_true", help="ask first; at most once, and only in a terminal")


def command(args: argparse.Namespace) -> int:
    try:
        folder = hooks_folder(Path.cwd())
    except DataError:
        if args.ask:  # `make` goes on where there is nothing to install
            return 0
        raise
    if args.ask and not agreed(folder):
        return 0
    for line in install(folder, remote=bool(dvc_outs.default_remote(Path()))):
        print(line)
    return 0


def hooks_folder(root: Path) -> Path:
    """Where git looks for this repository's hooks; DataError where these are also those of others."""
    folder = (root / git(root, "rev-parse", "--git-path", "hooks").decode().strip()).resolve()
    common = (root / git(root, "rev-parse", "--git-common-dir").decode().strip()).resolve()
    if not folder.is_relative_to(common) and not folder.is_relative_to(root.resolve()):
        raise DataError(f"core.hooksPath is {folder}, which other repositories share; nothing was installed")
    return folder


def agreed(folder: Path) -> bool:
    """Whether a person at a terminal wants them; False without a question where all is answered already."""
    if ASKED.exists() or not sys.stdin.isatty() or any((folder / name).exists() for name in HOOKS):
        return False
    try:
        answer = input("Install git hooks, so that `git checkout` also brings back the data? [Y/n] ").strip().casefold()
    except EOFError:  # Ctrl+D
        answer = "n"
    write_atomic(ASKED, f"{answer or 'y'}\n")
    return answer in ("", "y", "yes")


def install(folder: Path, *, remote: bool) -> Iterator[str]:
    """Write those that are missing, and tell of each."""
    for name in HOOKS:
        path = folder / name
        if path.exists() or path.is_symlink():
            yield kept(path)
        elif name == "pre-push" and not remote:
            yield f"{name}: needs a remote; after `dvc remote add -d …`, `timbre hooks` installs it"
        else:
            write_atomic(path, SCRIPT % (name, name))
            path.chmod(0o755)
            yield f"{name}: installed"


def kept(path: Path) -> str:
    try:
        ours = MARK in path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        ours = False
    if ours:
        return f"{path.name}: is there already"
    return f'{path.name}: you have one, and it stays; add `dvc git-hook {path.name} "$@"` to it'
