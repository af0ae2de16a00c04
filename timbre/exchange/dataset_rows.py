"""The dataset as rows, and as a `datasets.Dataset` with the sound in it.

rows = examples(Path("data/dataset/train.jsonl"))      # Example records; no sound, no heavy import
train = load(Path("data/dataset/train.jsonl"))         # columns audio, text, source, id, recording, start, end
samples, rate = soundfile.read(io.BytesIO(train[0]["audio"]["bytes"]))
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from timbre import audio as sounds
from timbre.core.errors import DataError, raise_all
from timbre.core.records import Example, read_jsonl

if TYPE_CHECKING:
    from datasets import Dataset

COLUMNS = ("text", "source", "id", "recording", "start", "end")


def examples(table: Path) -> list[Example]:
    return read_jsonl(table, Example)


def load(table: Path, root: Path = Path()) -> Dataset:
    """`root` is the repository, where the table's paths begin.

    The sound is in the rows as the clips' own files, so that an export carries it; it is not decoded, because
    `datasets` would do so by torchcodec, which does not load beside a CPU build of torch.
    """
    try:
        from datasets import Audio, Dataset, Features, Value  # here: importing it takes seconds
    except ImportError as error:
        raise DataError("load() needs the package datasets: pip install -c constraints.txt '.[datasets]'") from error
    rows = examples(table)
    files = [root / row.audio for row in rows]
    missing = (f"{path}: is named by {table} and missing; `dvc pull`, or `dvc repro chunk`" for path in files)
    raise_all(DataError, (line for line, path in zip(missing, files, strict=True) if not sounds.is_there(path)))
    rates = {sounds.rate_of(path) for path in files}
    rate = rates.pop() if len(rates) == 1 else None  # recordings keep their own rates
    # only the file's name: the same clips at another place are the same bytes
    audio = [{"bytes": sounds.file_bytes(path), "path": path.name} for path in files]
    plain = {"audio": {"bytes": Value("binary"), "path": Value("string")}}
    kinds = {name: Value("float64" if name in ("start", "end") else "string") for name in COLUMNS}
    columns = {"audio": audio} | {name: [getattr(row, name) for row in rows] for name in COLUMNS}
    dataset = Dataset.from_dict(columns, Features(plain | kinds))
    # cast afterwards: given as Audio at once, even finished bytes would pass torchcodec's encoder
    return dataset.cast_column("audio", Audio(sampling_rate=rate, decode=False))
