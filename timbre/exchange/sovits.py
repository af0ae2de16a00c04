"""GPT-SoVITS' training lists, `path|speaker|language|text`, with their wavs, in and out.

Read    a .list, or all of a folder; sound lies where a line says, counted from the list's folder, or in it or one of
        its folders under the same name: GPT-SoVITS' own lists name it as it lay on somebody's machine
Write   train.list, eval.list        give GPT-SoVITS the list and, as the folder of audio, wavs
        wavs/<clip id>.wav
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

from timbre.core.errors import DataError
from timbre.exchange import ImportedUtterance, Options, Row, named_file, plain, text_of
from timbre.exchange.collection import Collection, without_bars, write_wavs

LANGUAGES = ("zh", "ja", "en", "ko", "yue")  # that GPT-SoVITS has a text front end for
OLDER = {"jp": "ja"}  # as some lists name them
FIELDS = "path|speaker|language|text"
LOOKS = ".list"


def fits(path: Path) -> bool:
    return path.suffix == ".list" if path.is_file() else any(path.glob("*.list"))


def rows(path: Path, options: Options) -> Iterator[Row]:
    tables = [path] if path.is_file() else sorted(path.glob("*.list"))
    if not tables:
        raise DataError(f"{path}: holds no .list of GPT-SoVITS")
    for table in tables:
        files = _Sounds(table.parent)
        for number, line in enumerate(text_of(table, options.encoding).split("\n"), 1):
            if line.strip():
                yield _row(f"{table}:{number}", line.split("|", 3), files, options)


class _Sounds:
    """The files that a list may mean: by their path, or by their name alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.named: dict[str, list[Path]] = {}
        for file in sorted([*folder.glob("*"), *folder.glob("*/*")]):
            self.named.setdefault(file.name, []).append(file)

    def find(self, name: str, where: str) -> Path | DataError:
        direct = named_file(self.folder, name, where)
        same_name = self.named.get(PureWindowsPath(name).name, [])  # knows both kinds of slashes
        if isinstance(direct, Path) or not same_name:
            return direct
        if len(same_name) > 1:
            return DataError(f"{where}: {name!r} may be {same_name[0]} or {same_name[1]}; leave one of them there")
        return named_file(self.folder, str(same_name[0].relative_to(self.folder)), where)


def _row(where: str, fields: list[str], files: _Sounds, options: Options) -> Row:
    if len(fields) != 4:
        return DataError(f"{where}: {len(fields)} fields instead of 4 ({FIELDS})")
    name, speaker, language, text = (field.strip() for field in fields)
    spoken = OLDER.get(language.lower(), language.lower())
    if options.language and spoken != options.language.lower():
        return DataError(f"{where}: is in {language or 'no language'}, and --language says {options.language}")
    if not (said := plain(text)):
        return DataError(f"{where}: {name} has no text")
    file = files.find(name, where)
    voice = "" if options.speaker_column == "" else speaker
    return file if isinstance(file, DataError) else ImportedUtterance(where, said, file, voice)


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
