"""The files of one version: a commit, read through git without a checkout, or the work tree as it lies there.

    with open_snapshot(root, "main") as old, open_snapshot(root, None) as new:
        old.read("params.yaml"), new.list("data/transcripts")

Paths are relative to the repository's root and use `/`. A file that is not in the version reads as None.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from timbre.core.errors import DataError
from timbre.mapping import shards
from timbre.mapping.dvc_yaml import ignored

WORK_TREE = "work tree"
COMMIT = re.compile(r"[0-9a-f]{40}")
EXPERIMENT = re.compile(r"refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/.+")
FILE, FOLDER = b"100", b"040"  # how git's modes begin


class Snapshot:
    """A version of the repository; `commit` is None for the work tree."""

    name: str
    commit: str | None = None

    @cached_property
    def folder_hashes(self) -> dict[str, str | None]:
        """Those that are known so far, by folder."""
        return {}

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
    """A commit, read by dulwich, which DVC brings: a history opens forty, and git would start a process for each."""

    def __init__(self, root: Path, commit: str, name: str) -> None:
        from dulwich.repo import Repo

        self._root, self.name, self.commit = root, name, commit
        self._repo = Repo.discover(str(root))
        top = Path(self._repo.path).resolve()
        inside = root.resolve().relative_to(top).parts  # a project may be a folder of its repository
        self._trees: dict[str, Any] = {}
        self._tree = self._entry(self._object(commit).tree.decode(), inside)

    def list(self, folder: str) -> list[str]:
        return sorted(self._files(folder, self._entry(self._tree, folder.split("/"))))

    def size(self, path: str) -> int | None:
        return self._sizes.get(path)

    @cached_property
    def _sizes(self) -> dict[str, int]:
        """By git, which need not unpack a file to know its size."""
        entries = git(self._root, "ls-tree", "-r", "-l", "-z", str(self.commit)).split(b"\0")
        parts = (entry.partition(b"\t") for entry in entries if entry.startswith(FILE))
        return {os.fsdecode(path): int(about.split()[3]) for about, _, path in parts}

    def read(self, path: str) -> bytes | None:
        blob = self._entry(self._tree, path.split("/"), FILE)
        return None if blob is None else bytes(self._object(blob).data)

    def _files(self, folder: str, tree: str | None) -> Iterator[str]:
        for name, mode, blob in self._tree_at(tree).iteritems() if tree else ():
            path = f"{folder}/{os.fsdecode(name)}"
            if stat.S_ISDIR(mode):
                yield from self._files(path, blob.decode())
            elif stat.S_ISREG(mode):  # no link, no submodule
                yield path

    def _entry(self, tree: str | None, names: Sequence[str], kind: bytes = FOLDER) -> str | None:
        """The object at a path below the tree; None where there is none of this kind."""
        for number, name in enumerate(names, 1):
            if tree is None:
                return None
            try:
                mode, below = self._tree_at(tree)[os.fsencode(name)]
            except KeyError:
                return None
            expected = kind if number == len(names) else FOLDER
            tree = below.decode() if f"{mode:06o}".encode().startswith(expected) else None
        return tree

    def _tree_at(self, name: str) -> Any:
        if name not in self._trees:  # 200 transcripts are read through the same two
            self._trees[name] = self._object(name)
        return self._trees[name]

    def _object(self, name: str) -> Any:
        store = self._repo.object_store
        try:
            return store[name.encode()]
        except KeyError:
            self._fetch(name)
        return store[name.encode()]

    def _fetch(self, name: str) -> None:
        """What a partial clone left out: git asks its remote for it."""
        try:
            git(self._root, "cat-file", "-e", name)
        except DataError as error:
            raise DataError(
                f"{self.name}: git has not all of it; is this a partial clone without its remote?"
            ) from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._repo.close()


class WorkTree(Snapshot):
    name = WORK_TREE

    def __init__(self, root: Path) -> None:
        self._root = root
        self._ignored = ignored(root)  # DVC hashes a folder without these

    def list(self, folder: str) -> list[str]:
        paths = []
        for at, folders, files in os.walk(self._root / folder):
            here = Path(at).relative_to(self._root).as_posix()
            folders[:] = [name for name in folders if not self._ignored.match_file(f"{here}/{name}/")]
            paths += [path for name in files if not self._ignored.match_file(path := f"{here}/{name}")]
        return sorted(paths)

    def size(self, path: str) -> int | None:
        file = self._root / path
        return file.stat().st_size if file.is_file() else None

    def read(self, path: str) -> bytes | None:
        file = self._root / path
        try:
            return shards.read(file) if shards.exists(file) else None  # a link to a device would be read for ever
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def open_snapshot(root: Path, revision: str | None) -> Snapshot:
    """The work tree for None, else whatever git finds under that name, or the version of that id."""
    if revision is None:
        return WorkTree(root)
    commit = revision if COMMIT.fullmatch(revision) else _commit(root, revision)
    if commit is None:
        return WorkTree(root)
    return Commit(root, commit, commit[:8] if revision == commit else revision)


def resolve(root: Path, revision: str) -> str:
    """The commit; DataError where there is none."""
    if (commit := _commit(root, revision)) is None:
        raise DataError(f"{revision}: this version is in no commit yet, only in the work tree")
    return commit


def _commit(root: Path, revision: str) -> str | None:
    """None: the id of a version that the work tree alone has."""
    try:
        # --end-of-options: a name that begins with a dash is a name
        commit = git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except DataError as error:
        if experiment := _experiment(root, revision):
            return experiment
        from timbre.versions import version_ids  # which reads commits

        if version := version_ids.find(root, revision):
            return version.commit
        if revision == "HEAD":
            raise DataError("there is no version yet to look at; `git commit` makes the first") from error
        raise DataError(
            f"{revision}: git knows no such version; `timbre log` and `git tag` list them, `git fetch` may bring it"
        ) from error
    return commit.decode().strip()


def _experiment(root: Path, name: str) -> str | None:
    """The commit of one of DVC's experiments, which lie under refs/exps/<commit they began from>/<name>."""
    try:
        listed = git(root, "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps")
    except DataError:
        return None
    refs = (line.split(" ", 1) for line in listed.decode(errors="surrogateescape").splitlines())
    commits = {commit for commit, ref in refs if EXPERIMENT.fullmatch(ref) and ref.split("/", 4)[4] == name}
    if len(commits) > 1:
        raise DataError(
            f"{name}: {len(commits)} experiments have this name; give the commit of one: {', '.join(sorted(commits))}"
        )
    return commits.pop() if commits else None


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


def changed_files(
    root: Path, paths: Sequence[str] = (".",), besides: Sequence[str] = (), *, new: bool = True
) -> list[str]:
    """Files of `paths` that differ from the commit, `new` ones too, without `besides`; none where there is no git."""
    try:
        which = "--untracked-files=" + ("normal" if new else "no")
        excluded = (f":(exclude){path}" for path in besides)
        listed = git(root, "status", "--porcelain", "-z", "--no-renames", which, "--", *paths, *excluded)
    except DataError:
        return []
    return [entry[3:] for entry in listed.decode(errors="replace").split("\0") if entry]


def git(root: Path, *arguments: str) -> bytes:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=False)
    except OSError as error:
        raise DataError(f"git cannot be run ({error.strerror}); install it") from error
    if done.returncode:
        messages = done.stderr.decode(errors="replace").strip().splitlines()
        raise DataError(f"git {arguments[0]}: {messages[0] if messages else 'failed'}")
    return done.stdout
