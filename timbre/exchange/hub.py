"""A folder as a dataset or a model on the Hugging Face hub, in one commit: readers see the old version or the new one.

Who sends it is whom `hf auth login` or HF_TOKEN says; HF_ENDPOINT names another hub. huggingface_hub streams the files.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, cast

from timbre.core.errors import DataError

Kind = Literal["dataset", "model"]
# What an earlier version may have left.
OURS = {"dataset": re.compile(r"data/.*\.parquet"), "model": re.compile(r".*\.safetensors|samples/.*\.flac")}


def push(folder: Path, repo: str, private: bool, message: str, kind: Kind = "dataset") -> str:
    """Address, once the hub has exactly the folder's data; parquet, weights and samples of an earlier version go."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    hub, refusals = HfApi(), cast(tuple[type[Exception], ...], HfHubHTTPError.__bases__)  # its HTTP library's, OSError
    try:
        there: set[str] = set()
        try:
            repository = hub.repo_info(repo, repo_type=kind)
            if private and not repository.private:
                raise DataError(f"{repo}: is there already and public; make it private on the hub first")
            there = set(hub.list_repo_files(repo, repo_type=kind))
        except RepositoryNotFoundError:
            hub.create_repo(repo, repo_type=kind, private=private)
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        stale = sorted(name for name in there - set(files) if OURS[kind].fullmatch(name))
        changes: list[Any] = [CommitOperationDelete(name) for name in stale]
        changes += [CommitOperationAdd(name, folder / name) for name in files]
        hub.create_commit(repo, changes, commit_message=message, repo_type=kind)
    except refusals as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"{repo}: the hub did not take it: {said[-1]}; is it yours, and `hf auth login` done?"
        ) from error
    return address(repo, kind)


def address(repo: str, kind: Kind) -> str:
    """Where people read its card."""
    from huggingface_hub import HfApi

    return f"{HfApi().endpoint}/{'datasets/' if kind == 'dataset' else ''}{repo}"
