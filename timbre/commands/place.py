"""Where a command was typed, and the repository's root, where it runs: found from any subfolder, as git finds it.

folder = given_path("voices/ann")       # as typed in data/, from the root: data/voices/ann
enter()                                 # go to the root; DataError outside of a project
"""

from __future__ import annotations

import os
from pathlib import Path

from timbre.core.errors import DataError

MARK = "dvc.yaml"  # lies in the root of every project


def root(here: Path | None = None) -> Path | None:
    """The nearest folder above that holds the pipeline; None outside of a project."""
    here = (here or Path.cwd()).absolute()
    return next((folder for folder in (here, *here.parents) if (folder / MARK).is_file()), None)


def enter() -> None:
    folder = root()
    if folder is None:
        raise DataError(f"this is no Timbre project: neither {Path.cwd()} nor a folder above it holds {MARK}")
    os.chdir(folder)


def given_path(text: str) -> Path:
    """A path of the command line as seen from the root, where the command is going to run."""
    here, top = Path.cwd(), root()
    if top is None or top == here or text == "-" or Path(text).is_absolute():
        return Path(text)
    return Path(os.path.relpath(here / text, top))


def file_or_address(text: str) -> str:
    return text if "://" in text else str(given_path(text))


def given_place(text: str) -> str:
    """A name as it is; a file or folder, or a line of it as `noon.tsv:14`, as seen from the root."""
    file, colon, line = text.rpartition(":")
    name, rest = (file, colon + line) if line.isdecimal() and file else (text, "")
    return f"{given_path(name).as_posix()}{rest}" if "\0" not in name and Path(name).exists() else text
