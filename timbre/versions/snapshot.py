"""The files of one version: a commit, read through git without a checkout, or the work tree as it lies there.

    with open_snapshot(root, "main") as old, open_snapshot(root, None) as new:
        old.read("params.yaml"), new.list("data/transcripts")

Paths are relative to the repository's root and use `/`. A file that is not in the version reads as None.
"""

from __future__ import annotations

import fnmatch
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from timbre.core.errors import DataError

WORK_TREE = "work tree"


class Snapshot:
    """A version of the repository; `commit` is None for the work tree."""

    name: str
    commit: str | None = None

    def list(self, folder: str) -> list[str]:
        """Every file below the folder, sorted."""
        raise NotImplementedError

    def size(self, path: str) -> int | None:
        """Of a file, in bytes."""
        raise NotImplementedError

    def read(self, path: str) -> bytes | None:
        raise NotImplementedError

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass


class EmptySnapshot(Snapshot):
    """Before the first commit."""

    name = "nothing"

    def list(self, folder: str) -> list[str]:
        return []

    def size(self, path: str) -> int | None:
        return None

    def read(self, path: str) -> bytes | None:
        return None


class Commit(Snapshot):
    def __init__(self, root: Path, commit: str, name: str) -> None:
        self.name, self.commit = name, commit
        entries = git(root, "ls-tree", "-r", "-l", "-z", commit).split(b"\0")
        parts = (entry.partition(b"\t") for entry in entries if entry)
        self._blobs = {
            os.fsdecode(path): (about.split()[2].decode(), int(about.split()[3]))
            for about, _, path in parts
            if about.startswith(b"100")  # files; no links, no submodules
        }
        # one process for all files: starting one for each of 200 transcripts would take the time of the whole diff
        self._git = subprocess.Popen(
            ["git", "cat-file", "--batch"], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def list(self, folder: str) -> list[str]:
        return sorted(path for path in self._blobs if path.startswith(f"{folder}/"))

    def size(self, path: str) -> int | None:
        return self._blobs[path][1] if path in self._blobs else None

    def read(self, path: str) -> bytes | None:
        if path not in self._blobs:
            return None
        assert self._git.stdin
        assert self._git.stdout
        self._git.stdin.write(f"{self._blobs[path][0]}\n".encode())
        self._git.stdin.flush()
        header = self._git.stdout.readline().split()  # blob id, kind, bytes
        if len(header) != 3:
            raise DataError(f"{path}: git cannot read it at {self.name}; is this a partial clone without its remote?")
        return self._git.stdout.read(int(header[2]) + 1)[:-1]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._git.communicate()


class WorkTree(Snapshot):
    name = WORK_TREE

    def __init__(self, root: Path) -> None:
        self._root = root
        rules = (self.read(".dvcignore") or b"").decode(errors="replace").splitlines()
        # DVC hashes a folder without these; only patterns of one name, which is what ours are
        self._ignored = [rule.strip().strip("/") for rule in rules if rule.strip() and not rule.startswith("#")]

    def list(self, folder: str) -> list[str]:
        found = []
        for at, folders, files in os.walk(self._root / folder):
            folders[:] = [name for name in folders if not self._is_ignored(name)]
            here = Path(at).relative_to(self._root)
            found += [(here / name).as_posix() for name in files if not self._is_ignored(name)]
        return sorted(found)

    def size(self, path: str) -> int | None:
        file = self._root / path
        return file.stat().st_size if file.is_file() else None

    def _is_ignored(self, name: str) -> bool:
        return any(fnmatch.fnmatch(name, rule) for rule in self._ignored)

    def read(self, path: str) -> bytes | None:
        try:
            return (self._root / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def open_snapshot(root: Path, revision: str | None) -> Snapshot:
    """The work tree for None, else whatever git finds under that name."""
    if revision is None:
        return WorkTree(root)
    commit = resolve(root, revision)
    return Commit(root, commit, commit[:8] if revision == commit else revision)


def resolve(root: Path, revision: str) -> str:
    try:
        # --end-of-options: a name that begins with a dash is a name
        found = git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except DataError as error:
        raise DataError(f"{revision}: git knows no such version; `git fetch` may bring it") from error
    return found.decode().strip()


def fork_point(root: Path) -> str:
    """Where this branch left `main`: what a pull request is compared with. The last commit where there is no main."""
    for main in ("main", "origin/main", "master", "origin/master"):
        try:
            return git(root, "merge-base", main, "HEAD").decode().strip()
        except DataError:
            continue
    return resolve(root, "HEAD")


def head(root: Path) -> str | None:
    """The commit that is checked out; None where there is no git, no repository or no commit yet."""
    try:
        return resolve(root, "HEAD")
    except DataError:
        return None


def changed_files(root: Path, paths: Sequence[str] = (".",), besides: Sequence[str] = ()) -> list[str]:
    """Files of `paths` that differ from the commit, new ones too, without `besides`; none where there is no git."""
    try:
        excluded = (f":(exclude){path}" for path in besides)
        listed = git(root, "status", "--porcelain", "-z", "--no-renames", "--", *paths, *excluded)
    except DataError:
        return []
    return [entry[3:] for entry in listed.decode(errors="replace").split("\0") if entry]


def git(root: Path, *arguments: str) -> bytes:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=False)
    except OSError as error:
        raise DataError(f"git cannot be run ({error.strerror}); install it") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise DataError(f"git {arguments[0]}: {said[0] if said else 'failed'}")
    return done.stdout
