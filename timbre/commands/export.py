"""Export the dataset in the format of LJSpeech, GPT-SoVITS or Hugging Face.

Reads data/dataset and data/clips as they are now, and writes a new folder: the clips, their text by split, and a
README.md that says whose voices they are and by what right. The same dataset gives the same bytes.
"""

from __future__ import annotations

import argparse
import importlib
import shutil
from pathlib import Path
from typing import Any

from timbre.commands.place import given_path
from timbre.core.errors import DataError

EXAMPLES = [
    ("timbre export ljspeech ../marina-lj", "metadata.csv and wavs, which most projects read"),
    ("timbre export gpt-sovits ../marina-gs", "train.list and wavs"),
    ("timbre export hf ../marina-hf", "parquet for `datasets` and the hub"),
]
WRITERS = {"ljspeech": "ljspeech", "gpt-sovits": "sovits", "hf": "huggingface"}  # → module of timbre/exchange


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("format", choices=WRITERS, help="format of the export")
    parser.add_argument("folder", metavar="DIR", type=given_path, help="folder to create")


def command(args: argparse.Namespace) -> int:
    if args.folder.exists() and (not args.folder.is_dir() or any(args.folder.iterdir())):
        raise DataError(f"{args.folder}: is there already, and stays; name a new folder")
    from timbre.exchange import collection

    gathered = collection.gather()
    remarks = export(gathered, args.format, args.folder)
    counts = ", ".join(f"{len(rows)} clips to {split}" for split, rows in gathered.splits.items())
    print("\n".join([f"{args.folder}: {counts}; README.md says whose voices they are", *remarks]))
    return 0


def export(gathered: Any, kind: str, folder: Path) -> list[str]:
    """The whole folder, or none; remarks on what could not go as it is."""
    from timbre.exchange.card import card

    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        remarks: list[str] = importlib.import_module(f"timbre.exchange.{WRITERS[kind]}").write(gathered, part)
        (part / "README.md").write_text(card(gathered, hub=kind == "hf"), encoding="utf-8")
        part.replace(folder)  # also over a folder that is empty
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return remarks
