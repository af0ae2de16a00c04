"""Remove a speaker or a recording; without --write, show what would go.

Removing a recording removes its entry in data/sources.yaml, its transcript, and its file in data/recordings unless
another entry uses it. Removing a speaker removes all their recordings, and flags their lines in other recordings as
`drop`. Takes of the recording page, the report's pages and local copies go as well, and MLflow's aliases `champion` and
`candidate` no longer point to versions that were trained on the speaker. The entry in data/speakers.yaml stays, because
it says what was agreed or withdrawn. The next `dvc repro` removes what the pipeline made. Older versions stay in git
and in DVC's cache; `timbre trace ID --history` lists them. The same command finishes a removal that was interrupted.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from timbre import tracking
from timbre.core.errors import SourceError, TrackingError, raise_all
from timbre.editing import removal, transcript_edits, yaml_entries
from timbre.editing.owned_files import FileChange, content_of, one_editor, write_all
from timbre.editing.removal import Unfinished
from timbre.project import sources
from timbre.project import speakers as people
from timbre.project.sources import Source, text_of
from timbre.project.transcripts import files as files_in
from timbre.project.transcripts import parse
from timbre.report.numbers import plural
from timbre.versions import dvc_lock
from timbre.versions.snapshot import WorkTree, changed_files, head

EXAMPLES = [
    ("timbre remove ann", "show what of a speaker would go and what stays"),
    ("timbre remove harbour-noon --write", "remove one recording"),
]
TRANSCRIPTS = Path("data/transcripts")
PEOPLE = people.PATH


@dataclass(frozen=True)
class RemovalPlan:
    ids: tuple[str, ...]  # of the recordings that go
    declared: tuple[str, ...]  # those of them that data/sources.yaml names; a removal that was cut short left others
    files: tuple[Path, ...]  # that go with them
    edits: tuple[tuple[FileChange, int], ...]  # transcripts that stay, and how many of their lines are flagged drop
    left: int  # recordings that stay
    people: tuple[str, ...]  # speakers whose entry stays
    what: tuple[str, ...]  # speakers and recordings, with those of a removal that was cut short


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="+", metavar="ID", help="id of a speaker or a recording")
    parser.add_argument("--write", action="store_true", help="remove it; without this, only show what would go")


def command(args: argparse.Namespace) -> int:
    first = plan(sources.read(sources.PATH), args.what)
    print("\n".join([*told(first), *in_mlflow(first.what)]))
    if not args.write:
        print("nothing was changed; --write does it")
        return 0
    with one_editor():
        removal_plan = plan(sources.read(sources.PATH), args.what)  # as it is now, while nobody else writes
        Unfinished(removal_plan.what, removal_plan.ids, tuple(map(str, removal_plan.files))).write()
        # first what names the files, so that a run cut short leaves strangers and nothing missing
        declared = [yaml_entries.without(sources.PATH, removal_plan.declared)] if removal_plan.declared else []
        write_all([*(change for change, _ in removal_plan.edits), *declared])
        removal.delete(removal_plan.files)
        try:
            take_names(removal_plan.what)
        except TrackingError as error:
            rest = f"all else is removed; `timbre remove {' '.join(removal_plan.what)} --write` takes it out there too"
            raise TrackingError(f"{error}\n{rest}") from error
        removal.finished()
    print(
        f"`dvc repro` makes the voice without {', '.join(removal_plan.what)}" if removal_plan.left else nothing_left()
    )
    if head(Path()):
        print(f"git and DVC's cache keep the versions until now: `timbre trace {args.what[0]} --history` lists them")
    return 0


def plan(declared: Sequence[Source], named: Sequence[str]) -> RemovalPlan:
    begun = Unfinished.read()
    what = tuple(dict.fromkeys([*named, *begun.what]))
    known = {name for source in declared for name in (source.id, source.speaker)} | speakers_of_lines()
    known |= {*begun.what, *begun.ids, *everybody()}.union(*removal.takes().values())
    raise_all(SourceError, (unknown(name, known) for name in named if name not in known))
    gone = [source for source in declared if {source.id, source.speaker} & set(what)]
    left = [source for source in declared if source not in gone]
    declares = tuple(source.id for source in gone)
    ids = tuple(dict.fromkeys([*declares, *begun.ids]))
    used = {source.file for source in left} | {str(TRANSCRIPTS / f"{source.id}.tsv") for source in left}
    files = [TRANSCRIPTS / f"{source.id}.tsv" for source in gone]
    files += [Path(source.file) for source in gone if source.file and source.file not in used]
    silenced = list(flagged([TRANSCRIPTS / f"{source.id}.tsv" for source in left], what))
    there = [path for path in files if path.exists()]
    paths = tuple(dict.fromkeys([*there, *begun.files(used), *removal.traces(what, ids)]))
    return RemovalPlan(ids, declares, paths, tuple(silenced), len(left), people_of(what), what)


def people_of(what: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in what if name in everybody())


def everybody() -> set[str]:
    """Who has an entry; lost evidence keeps nobody here."""
    return set(people.parse(text_of(PEOPLE), str(PEOPLE))) if PEOPLE.exists() else set()


def in_mlflow(what: Sequence[str]) -> Iterator[str]:
    """A line for each name of a version that learnt one of these voices."""
    try:
        for alias, run, learnt in _aliases(what):
            if learnt is None:
                yield f"MLflow: whose voice {run} learnt is not known; it stays the {alias}"
            elif learnt:
                yield f"MLflow: {run} learnt {', '.join(learnt)}, and is the {alias} no more"
    except TrackingError as error:
        yield f"MLflow: {error}"


def take_names(what: Sequence[str]) -> None:
    for alias, _, learnt in _aliases(what):
        if learnt:
            from timbre.tracking.voices import take_alias

            client = tracking.connect()
            with tracking.explained(tracking.store_uri()):
                take_alias(client, alias)


def _aliases(what: Sequence[str]) -> list[tuple[str, str, list[str] | None]]:
    uri = tracking.store_uri()
    if not tracking.exists(uri):
        return []
    client = tracking.connect(uri)
    with tracking.explained(uri):
        from timbre.tracking.voices import aliases_of

        return list(aliases_of(client, what))


def speakers_of_lines() -> set[str]:
    return {line.speaker for path in files_in(TRANSCRIPTS) for line in parse(path.read_bytes(), str(path)).lines}


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


def told(removal_plan: RemovalPlan) -> Iterator[str]:
    if begun := Unfinished.read().what:
        yield f"a removal of {', '.join(begun)} was cut short; --write finishes it too"
    yield from (f"{sources.PATH}: {name} goes" for name in removal_plan.declared)
    lost = unsaved(removal_plan.files)
    yield from (
        f"{path} goes" + ", WITH CHANGES THAT GIT DOES NOT HAVE" * (str(path) in lost) for path in removal_plan.files
    )
    yield from (f"{change.path}: {plural(lines, 'line')} flagged drop" for change, lines in removal_plan.edits)
    if not removal_plan.ids and not removal_plan.edits and not removal_plan.files:
        yield "they have no recording, and their lines are dropped already"
    yield from (f"{PEOPLE}: {name} stays, with what was agreed" for name in removal_plan.people)


def unsaved(files: Sequence[Path]) -> set[str]:
    """Those that no commit could bring back as they are."""
    return set(changed_files(Path(), [str(path) for path in files])) if files else set()


def nothing_left() -> str:
    outs = " ".join(sorted(path for path in dvc_lock.outputs(WorkTree(Path())) if Path(path).exists()))
    others = "no recording is left to learn from; add others"
    return f"{others}, or remove what was made: rm -r {outs}" if outs else others
