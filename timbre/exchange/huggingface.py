"""Hugging Face datasets with the columns `audio`, `text` and perhaps `source`, read and written by pyarrow alone.

Read    a .parquet file, or a folder of them; a folder by `save_to_disk` (Arrow files); an `audiofolder`, that is
        metadata.csv or metadata.jsonl with `file_name`, beside the audio
Write   data/<split>-00000-of-00001.parquet, with the schema by which `datasets` knows an Audio column

The sound passes as the files that it is in, undecoded: `datasets` would load torchcodec for it, and everything at once.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from timbre import audio as sounds
from timbre.core.errors import DataError
from timbre.exchange import ImportedUtterance, Options, Row, named_file, plain, text_of
from timbre.exchange.dataset_rows import COLUMNS

if TYPE_CHECKING:
    import pyarrow as pa

    from timbre.core.records import Example
    from timbre.exchange.collection import Collection


METADATA = ("metadata.csv", "metadata.jsonl")  # of an audiofolder
LOOKS = ".parquet, saved dataset, audiofolder"
SPEAKERS = ("source", "speaker", "speaker_id")  # columns that may say who speaks
FEW = 8  # rows read at once: each holds its sound
SHARD = 400_000_000  # bytes of sound in a parquet file, before the next is begun
GROUP = 32  # rows that lie together in a parquet file, and are in memory at once when somebody reads it


def fits(path: Path) -> bool:
    if path.is_file():
        return path.suffix == ".parquet" or (path.name in METADATA and _names_files(path))
    saved = any((path / name).is_file() for name in ("state.json", "dataset_dict.json"))
    return saved or any(path.rglob("*.parquet")) or any(_names_files(table) for table in _tables(path))


def rows(path: Path, options: Options) -> Iterator[Row]:
    """Every split after the other."""
    read: Callable[[Path], Iterator[pa.RecordBatch]]
    if path.suffix == ".parquet" or (path.is_dir() and any(path.rglob("*.parquet"))):
        files, read = ([path] if path.is_file() else sorted(path.rglob("*.parquet"))), _parquet
    elif tables := _tables(path):
        for table in tables:
            yield from _listed(table, options)
        return
    else:
        files, read = _saved(path), _arrow
    for file in files:
        yield from _rows_of(file, read, options)


@dataclass(frozen=True)
class Columns:
    audio: str
    text: str
    speaker: str | None


def columns(where: Path, present: dict[str, str], options: Options) -> Columns:
    """Which is which of the present columns (name → type); DataError that lists them where one is not there."""
    there = "there are " + ", ".join(f"{name} ({kind})" for name, kind in present.items())
    for option in ("audio_column", "text_column", "speaker_column"):
        name = getattr(options, option)
        if name and name not in present:
            flag = option.replace("_", "-")
            raise DataError(f"{where}: has no column `{name}`; {there}; say which it is with --{flag}")
    speaker = options.speaker_column
    if speaker is None:
        speaker = next((name for name in SPEAKERS if name in present), None)
    return Columns(options.audio_column, options.text_column, speaker or None)


def _rows_of(file: Path, read: Callable[[Path], Iterator[pa.RecordBatch]], options: Options) -> Iterator[Row]:
    import pyarrow as pa

    number = 0
    try:
        for batch in read(file):
            which = columns(file, {field.name: str(field.type) for field in batch.schema}, options)
            wanted = batch.select(sorted({name for name in (which.audio, which.text, which.speaker) if name}))
            for index in range(wanted.num_rows):  # a row at a time: its sound is copied out of the file here
                number += 1
                values = {name: wanted.column(name)[index].as_py() for name in wanted.schema.names}
                yield _row(f"{file}: row {number}", values, which, file.parent)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{file}: cannot be read as a dataset ({str(error).splitlines()[0]})") from error


def _parquet(file: Path) -> Iterator[pa.RecordBatch]:
    import pyarrow.parquet as pq

    # a buffer and no reading ahead: else a whole row group's sound would lie in memory
    with pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False) as opened:
        yield from opened.iter_batches(batch_size=FEW, use_threads=False)


def _arrow(file: Path) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    with pa.memory_map(str(file)) as mapped, pa.ipc.open_stream(mapped) as stream:
        yield from stream


def _saved(path: Path) -> list[Path]:
    """The Arrow files of a folder by `save_to_disk`, of one split or of several, in their order."""
    try:
        splits = [""]
        if (path / "dataset_dict.json").is_file():
            splits = json.loads((path / "dataset_dict.json").read_bytes())["splits"]
        files = []
        for split in splits:
            state = json.loads((path / split / "state.json").read_bytes())
            named = [named_file(path, str(Path(split, data["filename"])), str(path)) for data in state["_data_files"]]
            files += [file for file in named if isinstance(file, Path)]
            for error in (file for file in named if isinstance(file, DataError)):
                raise error
        return files
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: is no dataset that can be read: no parquet, metadata.csv or state.json") from error


def _tables(path: Path) -> list[Path]:
    """The audiofolder's tables: one, or one per split."""
    if path.is_file():
        return [path]
    places = [path / name for name in METADATA] + sorted(p for name in METADATA for p in path.glob(f"*/{name}"))
    return [table for table in places if table.is_file()]


def _names_files(table: Path) -> bool:
    with table.open("rb") as stream:
        return b"file_name" in stream.readline(100_000)


def _listed(table: Path, options: Options) -> Iterator[Row]:
    text = text_of(table, options.encoding)
    try:
        if table.suffix == ".csv":
            listed = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
        else:
            listed = [json.loads(line) for line in text.split("\n") if line.strip()]
        if not all(isinstance(values, dict) for values in listed):
            raise ValueError("a row is no object")
        present = {str(name): "text" for values in listed[:1] for name in values}
    except (csv.Error, ValueError, TypeError) as error:
        raise DataError(f"{table}: is not {table.suffix[1:].upper()} ({error})") from error
    if options.audio_column == Options.audio_column:  # what `datasets` calls it in a table
        options = Options(options.encoding, "file_name", options.text_column, options.speaker_column)
    which = columns(table, present, options)
    seen: dict[object, int] = {}
    for number, values in enumerate(listed, 1):
        where, name = f"{table}: row {number}", values.get(which.audio)
        if name in seen:
            yield DataError(f"{where}: {name} is already in row {seen[name]}")
            continue
        seen[name] = number
        yield _row(where, values, which, table.parent)


def _row(where: str, values: dict[str, Any], which: Columns, folder: Path) -> Row:
    text, voice = values.get(which.text), values.get(which.speaker or "")
    if not isinstance(text, str) or not plain(text):
        return DataError(f"{where}: has no text")
    audio = _sound(values.get(which.audio), where, folder)
    named = "" if voice is None else plain(str(voice))
    return audio if isinstance(audio, DataError) else ImportedUtterance(where, plain(text), audio, named)


def _sound(value: Any, where: str, folder: Path) -> Path | bytes | DataError:
    name = value
    if isinstance(value, dict):
        name = value.get("path")
        value = value.get("bytes")
    if isinstance(value, bytes) and value:
        return value
    if isinstance(name, str) and name:
        return named_file(folder, name, where)
    return DataError(f"{where}: has no sound; the column holds neither a file nor a file's name")


def write(collection: Collection, folder: Path) -> list[str]:
    import pyarrow.parquet as pq

    rates = collection.rates
    schema = _schema(rates[0] if len(rates) == 1 else None)
    (folder / "data").mkdir(parents=True)
    done = tqdm(total=len(collection.rows), desc="export", unit="clip", dynamic_ncols=True)
    for split, listed in collection.splits.items():
        shards = _shards(collection, listed)
        for number, shard in enumerate(shards):
            path = folder / f"data/{split}-{number:05}-of-{len(shards):05}.parquet"
            with pq.ParquetWriter(path, schema, compression="zstd") as file:
                for start in range(0, len(shard), GROUP):
                    group = shard[start : start + GROUP]
                    file.write_table(_table(collection, group, schema))
                    done.update(len(group))
    done.close()
    remark = f"rates differ ({', '.join(f'{rate:,} Hz' for rate in rates)}); none is given for the whole"
    return [remark] if len(rates) > 1 else []


def _schema(rate: int | None) -> pa.Schema:
    """With the note by which `datasets` and the hub know that `audio` is sound, to be left as it is."""
    import pyarrow as pa

    sound = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    kinds = {name: "float64" if name in ("start", "end") else "string" for name in COLUMNS}
    features: dict[str, Any] = {"audio": {"sampling_rate": rate, "decode": False, "_type": "Audio"}}
    features |= {name: {"dtype": kind, "_type": "Value"} for name, kind in kinds.items()}
    fields = [("audio", sound), *((name, pa.type_for_alias(kind)) for name, kind in kinds.items())]
    return pa.schema(fields, {"huggingface": json.dumps({"info": {"features": features}})})


def _shards(collection: Collection, rows: list[Example]) -> list[list[Example]]:
    """The rows in order, each part with at most SHARD bytes of sound; one empty part where there are none."""
    shards: list[list[Example]] = [[]]
    total = 0
    for row in rows:
        size = sounds.file_size(collection.root / row.audio)
        if shards[-1] and total + size > SHARD:
            shards.append([])
            total = 0
        shards[-1].append(row)
        total += size
    return shards


def _table(collection: Collection, rows: list[Example], schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    # the file's name alone: the same clips in another place are the same bytes
    files = [collection.root / row.audio for row in rows]
    sound = [{"bytes": sounds.file_bytes(file), "path": file.name} for file in files]
    columns: dict[str, list[Any]] = {"audio": sound}
    return pa.table(columns | {name: [getattr(row, name) for row in rows] for name in COLUMNS}, schema)
