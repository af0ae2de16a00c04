"""LJSpeech's layout, which most text-to-speech projects read: metadata.csv and a folder of short wavs.

    metadata.csv        id|text|text as it is spoken     no header, no quotes; the third field may be missing
    wavs/<id>.wav

An export adds metadata_train.csv and metadata_eval.csv, the same lines by split.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from timbre.core.errors import DataError
from timbre.exchange import AUDIO_SUFFIXES, ImportedUtterance, Options, Row, named_file, plain, text_of
from timbre.exchange.collection import Collection, without_bars, write_wavs

TABLE, WAVS = "metadata.csv", "wavs"
LOOKS = TABLE


def fits(path: Path) -> bool:
    table = path / TABLE if path.is_dir() else path
    if not table.is_file() or table.suffix not in (".csv", ".txt"):
        return False
    with table.open("rb") as stream:
        return b"|" in stream.readline(100_000)


def rows(path: Path, options: Options) -> Iterator[Row]:
    table = path / TABLE if path.is_dir() else path
    folder = table.parent / WAVS
    if not folder.is_dir():
        raise DataError(f"{table}: there is no folder {WAVS} beside it with the recordings that it names")
    seen: dict[str, int] = {}
    for number, line in enumerate(text_of(table, options.encoding).split("\n"), 1):
        if line.strip():
            yield _row(f"{table}:{number}", line.split("|"), folder, seen, number)


def _row(where: str, fields: list[str], folder: Path, seen: dict[str, int], number: int) -> Row:
    if len(fields) not in (2, 3):
        return DataError(f"{where}: {len(fields)} fields instead of 2 or 3 (id|text|text as spoken); a | in the text?")
    name, text = fields[0].strip(), plain(fields[-1]) or plain(fields[1])
    if not text:
        return DataError(f"{where}: {name} has no text")
    if name in seen:
        return DataError(f"{where}: {name} is already in line {seen[name]}")
    seen[name] = number
    named = Path(name).suffix.lower() in AUDIO_SUFFIXES
    candidates = [named_file(folder, name + suffix, where) for suffix in ([""] if named else AUDIO_SUFFIXES)]
    audio = next((file for file in candidates if isinstance(file, Path)), candidates[0])
    return audio if isinstance(audio, DataError) else ImportedUtterance(where, text, audio)


def write(collection: Collection, folder: Path) -> list[str]:
    texts, remarks = without_bars(collection)
    speakers = sorted({row.source for row in collection.rows})
    if len(speakers) > 1:
        remarks.append(f"the format names no speakers: {', '.join(speakers)} are told apart in README.md alone")
    write_wavs(collection, folder)
    tables = {"": collection.rows, **{f"_{split}": rows for split, rows in collection.splits.items()}}
    for name, listed in tables.items():
        lines = [f"{row.id}|{texts[row.id]}|{texts[row.id]}\n" for row in listed]
        (folder / f"metadata{name}.csv").write_text("".join(lines), encoding="utf-8")
    return remarks
