"""Import a dataset of another project, or subtitles of a recording.

Reads LJSpeech's layout, a training list of GPT-SoVITS, a Hugging Face dataset (folder or parquet), or the subtitles
of one recording (SRT, WebVTT, Whisper's JSON). Short clips are joined, with silence between them, to recordings of up
to 20 minutes. Each recording gets an entry in data/sources.yaml and a transcript with exact times; its lines are
flagged `ok`, because a person wrote them. Everything is checked before anything is written, nothing is replaced, and
an interrupted import continues.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

from timbre.commands.options import add_rights
from timbre.commands.place import given_path
from timbre.core import params
from timbre.core.errors import DataError
from timbre.core.records import check_id
from timbre.editing import yaml_entries
from timbre.exchange import Options, importing
from timbre.exchange.importing import Arrival, ImportTerms

EXAMPLES = [
    ("timbre import LJSpeech-1.1 --dry-run …", "show what is in it and what it would become"),
    ("timbre import marina.list …", "a training list of GPT-SoVITS: path|speaker|language|text, with its wavs"),
    ("timbre import talk.srt --recording talk", "subtitles of a recording that is already in data/sources.yaml"),
    ("timbre import talk.vtt --audio talk.m4a …", "subtitles together with their recording"),
    ("timbre import clips.parquet --text-column sentence …", "columns with other names"),
    ("  … stands for --speaker ann --language en --licence CC0-1.0 --consent 'Ann, by e-mail'", ""),
]
READERS = {
    "ljspeech": "ljspeech",
    "gpt-sovits": "sovits",
    "hf": "huggingface",
    "subtitles": "subtitles",
}  # --as → module of timbre/exchange


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", metavar="FROM", type=given_path, help="a folder, or a .csv, .list, .parquet, .srt, .vtt or .json"
    )
    parser.add_argument("--as", dest="kind", choices=READERS, help="format (guessed)")
    parser.add_argument("--name", help="id of the recording, or what ids begin with (made from the file name)")
    parser.add_argument("--speaker", help="id of the person who speaks in all of it (as the dataset says)")
    add_rights(parser)
    parser.add_argument("--recording", metavar="ID", help="subtitles: id of their recording in data/sources.yaml")
    parser.add_argument(
        "--audio", type=given_path, metavar="FILE", help="subtitles: their recording, which is added too"
    )
    parser.add_argument("--trim-overlaps", action="store_true", help="subtitles: end a line where the next one begins")
    parser.add_argument("--text-column", default="text", metavar="NAME", help="dataset: column of the words (text)")
    parser.add_argument("--audio-column", default="audio", metavar="NAME", help="dataset: column of the audio (audio)")
    parser.add_argument("--speaker-column", metavar="NAME", help="dataset: column of the speaker; '' if there is none")
    parser.add_argument("--encoding", default="utf-8", help="encoding of text files (utf-8)")
    parser.add_argument("--skip-bad", action="store_true", help="import the other rows if some cannot be used")
    parser.add_argument("--dry-run", action="store_true", help="check and show, write nothing")


def command(args: argparse.Namespace) -> int:
    if not args.what.exists():
        raise DataError(f"{args.what}: does not exist")
    kind = args.kind or guess(args.what)
    options = Options(args.encoding, args.audio_column, args.text_column, args.speaker_column, args.language)
    arrival = captions(args, options) if kind == "subtitles" else dataset(args, kind, options)
    print("\n".join(arrival.lines))
    if arrival.settle is None:
        print("it is here already; nothing written")
    elif args.dry_run:
        print("nothing written")
    else:
        arrival.settle()
        print("written; `git diff` shows the entries, `dvc repro` learns from them")
    return 0


def guess(path: Path) -> str:
    for kind in READERS:
        if _module(kind).fits(path):
            return kind
    looks = ", ".join(_module(kind).LOOKS for kind in READERS)
    raise DataError(f"{path}: looks like no format ({looks}); say which it is with --as {'|'.join(READERS)}")


def dataset(args: argparse.Namespace, kind: str, options: Options) -> Arrival:
    if args.recording or args.audio:
        raise DataError("--recording and --audio say what subtitles are of; a dataset brings its own sound")
    return importing.dataset(_module(kind), args.what, options, told(args), args.skip_bad, longest_sentence())


def captions(args: argparse.Namespace, options: Options) -> Arrival:
    if bool(args.recording) == bool(args.audio):
        raise DataError(
            f"{args.what}: are words without sound; say of which: --recording ID that is declared, or --audio FILE"
        )
    return importing.captions(args.what, told(args), args.recording, args.audio, options, args.trim_overlaps)


def told(args: argparse.Namespace) -> ImportTerms:
    """What the options say; whose right and which language it is has to be among it, unless that is declared."""
    name = (
        args.name
        or yaml_entries.slug(args.what.stem if args.what.is_file() else args.what.resolve().name)
        or "imported"
    )
    entry = {key: getattr(args, key) for key in ("language", "licence", "consent")}
    missing = [f"--{key}" for key, value in entry.items() if not (value or "").strip()]
    if missing and not args.recording:
        raise DataError(f"{args.what}: add {', '.join(missing)}: it is never guessed whose right it is")
    return ImportTerms(check_id(name), args.speaker, entry)


def longest_sentence(path: Path = Path("params.yaml")) -> float | None:
    """Seconds up to which the chunk stage takes a line; None where there are no params to say so."""
    if not path.exists():
        return None
    chunk = params.read(path).chunk
    return chunk.max_seconds - 2 * chunk.pad


def _module(kind: str) -> Any:
    return importlib.import_module(f"timbre.exchange.{READERS[kind]}")
