"""Remove a speaker or a recording; without --write, show what would go.

Of a recording go its entry in data/sources.yaml, its transcript, and its file in data/recordings where no other entry
uses it; of a speaker, all their recordings, and their lines in the recordings of others are flagged `drop`. The entry
in data/speakers.yaml stays: it says what was agreed, or taken back. What was made of it goes with the next `dvc repro`;
older versions stay in git and in DVC's cache, and `timbre trace ID --history` lists them.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from timbre.core.errors import SourceError, raise_all
from timbre.editing import transcript_edits, yaml_entries
from timbre.editing.owned_files import FileChange, content_of, one_editor, write_all
from timbre.project import sources
from timbre.project import speakers as people
from timbre.project.sources import Source, text_of
from timbre.project.transcripts import parse
from timbre.versions import dvc_lock
from timbre.versions.snapshot import WorkTree, changed_files

EXAMPLES = [
    ("timbre remove ann", "show what of a speaker would go and what stays"),
    ("timbre remove harbour-noon --write", "remove one recording"),
]
SOURCES, TRANSCRIPTS = Path("data/sources.yaml"), Path("data/transcripts")
PEOPLE = people.PATH


@dataclass(frozen=True)
class RemovalPlan:
    ids: tuple[str, ...]  # of the recordings that go
    files: tuple[Path, ...]  # that go with them
    edits: tuple[tuple[FileChange, int], ...]  # transcripts that stay, and how many of their lines are flagged drop
    left: int  # recordings that stay
    people: tuple[str, ...]  # speakers whose entry stays


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="+", metavar="ID", help="id of a speaker or a recording")
    parser.add_argument("--write", action="store_true", help="remove it; without this, only show what would go")


def command(args: argparse.Namespace) -> int:
    print("\n".join(told(plan(sources.read(SOURCES), args.what))))
    if not args.write:
        print("nothing was changed; --write does it")
        return 0
    with one_editor():
        made = plan(sources.read(SOURCES), args.what)  # as it is now, while nobody else writes
        # first what names the files, so that a run cut short leaves strangers and nothing missing
        declared = [yaml_entries.without(SOURCES, made.ids)] if made.ids else []
        write_all([*(change for change, _ in made.edits), *declared])
        for path in made.files:
            path.unlink(missing_ok=True)
    print(f"`dvc repro` makes the voice without {', '.join(args.what)}" if made.left else nothing_left())
    print(f"git and DVC's cache keep the versions until now: `timbre trace {args.what[0]} --history` lists them")
    return 0


def plan(declared: Sequence[Source], what: Sequence[str]) -> RemovalPlan:
    known = {source.id for source in declared} | {source.speaker for source in declared} | speakers_of_lines()
    raise_all(SourceError, (unknown(name, known) for name in what if name not in known))
    gone = [source for source in declared if {source.id, source.speaker} & set(what)]
    left = [source for source in declared if source not in gone]
    used = {source.file for source in left}
    files = [TRANSCRIPTS / f"{source.id}.tsv" for source in gone]
    files += [Path(source.file) for source in gone if source.file and source.file not in used]
    silenced = list(flagged([TRANSCRIPTS / f"{source.id}.tsv" for source in left], what))
    there = tuple(path for path in dict.fromkeys(files) if path.exists())
    return RemovalPlan(tuple(source.id for source in gone), there, tuple(silenced), len(left), people_of(what))


def people_of(what: Sequence[str]) -> tuple[str, ...]:
    known = people.parse(text_of(PEOPLE), str(PEOPLE)) if PEOPLE.exists() else {}  # lost evidence keeps nobody here
    return tuple(name for name in what if name in known)


def speakers_of_lines() -> set[str]:
    return {line.speaker for path in TRANSCRIPTS.glob("*.tsv") for line in parse(path.read_bytes(), str(path)).lines}


def unknown(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f"{name}: neither a recording nor a speaker" + (f"; did you mean {close[0]}?" if close else "")


def flagged(paths: Sequence[Path], speakers: Collection[str]) -> Iterator[tuple[FileChange, int]]:
    """Each transcript that has lines of these speakers with those lines flagged drop, and how many they are."""
    for path in paths:
        before = content_of(path)
        lines = parse(before, str(path)).lines if before else ()
        theirs = [line.speaker in speakers and line.flag != "drop" for line in lines]
        if before and any(theirs):
            after = [replace(line, flag="drop") if mine else line for line, mine in zip(lines, theirs, strict=True)]
            yield FileChange(path, before, transcript_edits.splice(before, after, str(path))), sum(theirs)


def told(made: RemovalPlan) -> Iterator[str]:
    yield from (f"{SOURCES}: {name} goes" for name in made.ids)
    lost = unsaved(made.files)
    yield from (f"{path} goes" + ", WITH CHANGES THAT GIT DOES NOT HAVE" * (str(path) in lost) for path in made.files)
    yield from (f"{change.path}: {lines} lines are flagged drop" for change, lines in made.edits)
    if not made.ids and not made.edits:
        yield "they have no recording, and their lines are dropped already"
    yield from (f"{PEOPLE}: {name} stays, with what was agreed" for name in made.people)


def unsaved(files: Sequence[Path]) -> set[str]:
    """Those that no commit could bring back as they are."""
    return set(changed_files(Path(), [str(path) for path in files])) if files else set()


def nothing_left() -> str:
    outs = " ".join(sorted(dvc_lock.outputs(WorkTree(Path()))))
    return f"no recording is left to learn from; add others, or remove what was made: rm -r {outs}"
