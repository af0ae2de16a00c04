"""GPT-SoVITS' training lists, `path|speaker|language|text`, with their wavs.

train.list, eval.list        give GPT-SoVITS the list and, as the folder of audio, wavs
wavs/<clip id>.wav
"""

from __future__ import annotations

from pathlib import Path

from timbre.core.errors import DataError
from timbre.exchange.collection import Collection, without_bars, write_wavs

LANGUAGES = ("zh", "ja", "en", "ko", "yue")  # that GPT-SoVITS has a text front end for


def write(collection: Collection, folder: Path) -> list[str]:
    other = sorted({collection.language(row) for row in collection.rows} - set(LANGUAGES))
    if other:
        raise DataError(f"GPT-SoVITS does not speak {', '.join(other)}; it knows {', '.join(LANGUAGES)}")
    texts, remarks = without_bars(collection)
    write_wavs(collection, folder)
    for split, rows in collection.splits.items():
        lines = [f"wavs/{row.id}.wav|{row.source}|{collection.language(row)}|{texts[row.id]}\n" for row in rows]
        (folder / f"{split}.list").write_text("".join(lines), encoding="utf-8")
    return remarks
