"""List the voices: each speaker in each version, with word errors, similarity, gates and a sample to hear.

A version is an adapter that git knows, or that of the work tree. Rates are those of the tuned voice with a reference
clip. `sample` is a sentence of the version that is checked out; --samples writes one of each version whose samples are
in DVC's cache, marked as synthetic. Nothing is asked of a remote.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from timbre import tracking
from timbre.commands.options import add_count, add_json
from timbre.commands.place import given_path
from timbre.core.content import write_atomic
from timbre.core.errors import TrackingError
from timbre.core.records import ID
from timbre.core.safe_text import print_json, visible
from timbre.diff.voice_bank import BankRow, BankVoice, bank
from timbre.report.columns import columns
from timbre.report.numbers import rate
from timbre.versions.version_ids import DIGITS

EXAMPLES = [
    ("timbre voices", "the speakers of the last twenty versions"),
    ("timbre voices --samples bank", "a sentence of each, into the folder bank"),
    ("timbre voices v1.0 -n 3 --json", "the three up to a tag, as JSON"),
]
HEAD = ("speaker", "version", "commit", "day", "wrong words", "similarity", "named", "gates", "sample", "about")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("revision", nargs="?", default="HEAD", help="newest version to show (HEAD)")
    parser.add_argument("--samples", type=given_path, metavar="FOLDER", help="write a sentence of each voice there")
    add_count(parser, "versions", 20)
    add_json(parser)


def command(args: argparse.Namespace) -> int:
    voices = list(bank(Path.cwd(), args.revision, max(args.n, 0)))
    rows = [voice.row for voice in voices]
    if args.samples:
        rows = [dataclasses.replace(voice.row, sample=_written(voice, args.samples)) for voice in voices]
    names = _aliases() if rows else {}
    if args.json:
        print_json([dataclasses.asdict(row) | {"aliases": names.get(row.version, [])} for row in rows])
        return 0
    if not rows:
        print("no voice yet: no version has an adapter; `dvc repro` trains one")
        return 0
    print("\n".join(columns([HEAD, *(_cells(row, names.get(row.version, [])) for row in rows)])))
    return 0


def _written(voice: BankVoice, folder: Path) -> str | None:
    from timbre.audio.leaving import marked_copy

    content, row = voice.sound(), voice.row
    if content is None or not ID.fullmatch(row.speaker):
        return None
    path = folder / f"{row.speaker}-{row.commit.replace(' ', '-')}.flac"
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(path, marked_copy(content, row.version))
    return str(path)


def _aliases() -> dict[str, list[str]]:
    """Adapter → what MLflow calls it: champion, candidate. Nothing where no store answers."""
    uri = tracking.store_uri()
    named: dict[str, list[str]] = {}
    if tracking.exists(uri):
        with contextlib.suppress(TrackingError):
            for alias, adapter in _asked(uri):
                named.setdefault(adapter, []).append(alias)
    return {adapter: sorted(aliases) for adapter, aliases in named.items()}


def _asked(uri: str) -> Iterator[tuple[str, str]]:
    from timbre.tracking import registry

    client = tracking.connect(uri)
    with tracking.explained(uri):
        for alias, run in registry.aliases(client).items():
            yield alias, tracking.id_of(client.get_run(run))


def _cells(row: BankRow, aliases: list[str]) -> tuple[str, ...]:
    gates = "" if row.failed is None else "pass" if not row.failed else f"FAIL: {', '.join(row.failed)}"
    about = visible(row.objection or row.subject)
    version = visible(row.version[:DIGITS]) + (f" [{', '.join(aliases)}]" if aliases else "")
    return (
        visible(row.speaker), version, visible(row.commit), row.date, "" if row.wer is None else f"{row.wer:.1%}",
        rate(row.similarity), "" if row.named is None else f"{row.named:.0%}", gates,
        row.sample or "", about,
    )  # fmt: skip
