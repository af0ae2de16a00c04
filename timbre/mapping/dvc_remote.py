"""DVC's default remote, asked by hash: to read what no cache here has, to say what it lacks, and to send it that.

A remote may be a server that never answers. Whoever asks waits seconds, and after one refusal asks no more.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from timbre.core.safe_text import redacted
from timbre.mapping.dvc_cache import settings

T = TypeVar("T")
PATIENCE = 20.0  # seconds, for one answer; a cloud's library alone takes two to load


def default_name(root: Path) -> str:
    """Of the remote that `dvc push` writes to; empty where there is none."""
    return settings(root).get("core", "remote", fallback="")


class Remote:
    """`name` is empty where the repository has no default remote, or where none is to be asked."""

    def __init__(self, root: Path, ask: bool = True) -> None:
        self._root = root
        self.name = default_name(root) if ask else ""
        self.refused = ""  # why it is asked no more

    def read(self, digest: str) -> bytes | None:
        """The object, or None: it has none, or `refused` says why nobody knows."""

        def read() -> bytes | None:
            files, base = self._files
            path = files.join(base, digest[:2], digest[2:])
            return bytes(files.cat_file(path)) if files.exists(path) else None

        return self._patiently(read)

    def lacks(self, digests: Iterable[str]) -> set[str] | None:
        """Those it does not have; None where it gave no answer.

        A folder is asked for by its list alone: DVC sends that after everything in the folder.
        """
        distinct = sorted(set(digests))

        def ask() -> set[str]:
            files, base = self._files
            if files.protocol == "local" and not files.exists(self._top):
                raise FileNotFoundError(f"{self._top} is not there")
            there = files.exists([files.join(base, digest[:2], digest[2:]) for digest in distinct])
            return {digest for digest, exists in zip(distinct, there, strict=True) if not exists}

        return self._patiently(ask)

    def copy(self, digest: str, target: Path) -> bool:
        """Whether it had the object, which is now in this file; that may be large, and takes the time it takes."""
        if self.lacks([digest]) != set():
            return False

        def copy() -> bool:
            files, base = self._files
            files.get_file(files.join(base, digest[:2], digest[2:]), str(target))
            return True

        return bool(self._patiently(copy, limited=False))

    def send(self, files_by_digest: Mapping[str, Path]) -> bool:
        """Whether it has all of them now: those that it lacked were sent."""
        if (lacking := self.lacks(files_by_digest)) is None:
            return False

        def send() -> bool:
            files, base = self._files
            for digest in sorted(lacking):
                folder = files.join(base, digest[:2])
                half = files.join(folder, f"{digest[2:]}.{secrets.token_hex(8)}.tmp")  # under its name once it is whole
                files.makedirs(folder, exist_ok=True)
                files.put_file(str(files_by_digest[digest]), half)
                files.mv(half, files.join(folder, digest[2:]))
            return True

        return bool(self._patiently(send, limited=False))

    @cached_property
    def _files(self) -> tuple[Any, str]:
        """DVC's view of the remote's files, and the folder of its objects in there."""
        from dvc.config import Config  # takes a second: only when a remote must be asked
        from dvc.fs import get_cloud_fs

        kind, options, self._top = get_cloud_fs(Config(str(self._root / ".dvc")), name=self.name)
        if options.get("worktree") or options.get("version_aware"):
            raise NotImplementedError("keeps files by name, not by hash")
        files = kind(**options)
        return files, files.join(self._top, "files", "md5")

    def _patiently(self, ask: Callable[[], T], *, limited: bool = True) -> T | None:
        """Its answer; None where it refused, or where it is `limited` to PATIENCE and needed more."""
        if not self.name or self.refused:
            return None
        answers: list[T] = []

        def work() -> None:
            try:
                answers.append(ask())
            except Exception as error:  # whatever the remote's library raises
                message = (str(error).strip() or type(error).__name__).splitlines()[0]
                self.refused = redacted(message)

        # a daemon, which nobody waits for at the end: a library may try again for minutes
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(PATIENCE if limited else None)
        if not answers and not self.refused:
            self.refused = f"no answer within {PATIENCE:.0f} s"
        return answers[0] if answers else None
