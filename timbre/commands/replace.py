"""Find and replace words in all transcripts; without --write, show the changes.

Looks for whole words or a phrase in data/transcripts, and shows the lines as they would become. `--write` edits them:
times, comments and line ends stay as they are, and if one file cannot be read, no file is written. `--glossary` lists
words that are nearly a term of data/glossary.txt, each with the command that corrects it.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from timbre.core.errors import DataError, raise_all
from timbre.core.records import check_id
from timbre.core.safe_text import colours, visible
from timbre.editing import find_replace
from timbre.editing.find_replace import Edit, NearMiss, ReplacePlan, Search
from timbre.editing.owned_files import write_all
from timbre.project import glossary
from timbre.project.transcripts import files

EXAMPLES = [
    ("timbre replace Penzanse Penzance", "show what would change"),
    ("timbre replace 'pier for' 'pier four' --write", "change it"),
    ("timbre replace --glossary", "suggest corrections to terms of data/glossary.txt"),
]
TRANSCRIPTS, GLOSSARY = Path("data/transcripts"), Path("data/glossary.txt")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("old", nargs="?", help="words to find; upper and lower case matter")
    parser.add_argument("new", nargs="?", help="words to put in their place; '' removes them")
    parser.add_argument("--write", action="store_true", help="change the files; without this, only show the changes")
    parser.add_argument("--id", action="append", default=[], help="only in this recording; can be repeated")
    parser.add_argument("-i", "--ignore-case", action="store_true", help="find them in upper and lower case")
    parser.add_argument("--glossary", action="store_true", help="suggest corrections to terms of data/glossary.txt")


def command(args: argparse.Namespace) -> int:
    if args.glossary and (args.old is not None or args.write or args.ignore_case):
        raise DataError("--glossary only suggests; run the commands that it shows")
    if not args.glossary and args.new is None:
        raise DataError("give the words to find and the words to put in their place, or --glossary")
    paths = transcripts(args.id)
    if args.glossary:
        print("\n".join(suggestions(paths, args.id)))
        return 0
    plans = find_replace.plan(paths, Search(args.old, args.new, args.ignore_case))
    for plan in plans:
        for edit in plan.edits:
            print(f"{plan.path}:{edit.number}: {shown(edit, colours())}")
    if args.write:
        write_all([plan.change for plan in plans])
    print(told(plans, args.old, len(paths), args.write))
    return 0


def transcripts(ids: Sequence[str] = ()) -> list[Path]:
    """The files of these recordings, or all that there are."""
    paths = [TRANSCRIPTS / f"{check_id(name)}.tsv" for name in dict.fromkeys(ids)]
    raise_all(
        DataError,
        (f"{path}: there is no such transcript; `ls {path.parent}` lists them" for path in paths if not path.is_file()),
    )
    paths = paths or files(TRANSCRIPTS)
    if not paths:
        raise DataError(f"{TRANSCRIPTS}: holds no transcripts yet; `timbre accept` begins them from the drafts")
    return paths


def shown(edit: Edit, colour: bool) -> str:
    """The line's text with what goes and what comes: in colours, or as `git diff --word-diff` marks it."""
    gone, come = ("\033[31;9m{}\033[0m", "\033[32;1m{}\033[0m") if colour else ("[-{}-]", "{{+{}+}}")
    return "".join(
        visible(same) + (gone.format(visible(old)) if old else "") + (come.format(visible(new)) if new else "")
        for same, old, new in edit.pieces()
    )


def told(plans: Sequence[ReplacePlan], old: str, files: int, written: bool) -> str:
    if not plans:
        return f"{old!r} is in no line of {_count(files, 'transcript')}"
    places = sum(len(edit.hits) for plan in plans for edit in plan.edits)
    lines = sum(len(plan.edits) for plan in plans)
    count = f"{_count(places, 'place')} in {_count(lines, 'line')} of {_count(len(plans), 'file')}"
    return f"replaced: {count}; `git diff` shows them" if written else f"found: {count}; --write replaces"


def suggestions(paths: Sequence[Path], ids: Sequence[str]) -> list[str]:
    terms = glossary.terms(GLOSSARY)
    if not terms:
        return [f"{GLOSSARY} names no terms yet; write one per line"]
    misses = find_replace.near_misses(paths, terms)
    only = "".join(f" --id {name}" for name in ids)
    return [_suggestion(miss, only) for miss in misses] or [f"no word is nearly one of {_count(len(terms), 'term')}"]


def _suggestion(miss: NearMiss, only: str) -> str:
    path, number = miss.places[0]
    more = f" and {_count(len(miss.places) - 1, 'place')} more" if len(miss.places) > 1 else ""
    return f"timbre replace {shlex.quote(miss.written)} {shlex.quote(miss.term)}{only} --write  # {path}:{number}{more}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
