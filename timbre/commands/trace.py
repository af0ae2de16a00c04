"""Show where a sound comes from, and what was made from it.

Goes back from a sample, a clip, the adapter, a line of a transcript or any sound file that the voice spoke to the
prompt, the parameters, the clips, the lines, the seconds of the recording, its source, licence and consent. Goes
forward from a recording or a speaker to the clips, the adapter and the samples. It reads small tables from the work
tree, git and DVC's cache, and says what it cannot reach.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
from pathlib import Path

from timbre.audio.sound_marks import is_sound_file, spoken_by
from timbre.commands.options import add_json
from timbre.commands.place import given_place
from timbre.core.errors import DataError, TimbreError, TrackingError
from timbre.core.safe_text import harmless, print_json
from timbre.trace import past, text
from timbre.trace.facts import Adapter, Forward, Past, Trace, TracedSample
from timbre.trace.follow import NotHere, follow
from timbre.tracking import offline
from timbre.versions import version_ids
from timbre.versions.dvc_outs import Outs
from timbre.versions.snapshot import changed_files, head, open_snapshot
from timbre.versions.tables import ADAPTER
from timbre.versions.traced import TracedVersion

EXAMPLES = [
    ("timbre trace tuned-bridge-0", "everything that made a sample"),
    ("timbre trace data/transcripts/harbour-noon.tsv:14", "the clip that holds a line"),
    ("timbre trace announcement.mp3", "which version spoke a file, by its metadata or the mark in the sound"),
    ("timbre trace d3979b06", "a version by its id, as other commands print it; likewise a commit or a run"),
    ("timbre trace adapter --every", "every clip that the adapter was trained on"),
    ("timbre trace marina --history", "what was made from a voice, in older versions too"),
]

ADAPTER_NAME = "adapter"


def arguments(parser: argparse.ArgumentParser) -> None:
    who = (
        "sample, clip, sound file, recording, version, or speaker (speaker:ID if a recording has that id); default: "
        "the adapter"
    )
    parser.add_argument("what", nargs="?", default="adapter", type=given_place, metavar="WHAT", help=who)
    parser.add_argument("--rev", metavar="VERSION", help="look into this commit, branch or tag (the work tree)")
    parser.add_argument(
        "--history", action="store_true", help="recording or speaker: list each adapter trained on it, on any branch"
    )
    parser.add_argument("--every", action="store_true", help="list all clips and samples, not only the first few")
    add_json(parser, ", with nothing shortened")


def command(args: argparse.Namespace) -> int:
    what, revision = args.what, args.rev
    if is_sound_file(Path(), what) and not is_output(what):
        spoken = spoken_by(Path(what), version_ids.known(Path()))
        print(harmless(spoken.line(what)), file=sys.stderr if args.json else sys.stdout)
        if spoken.key is None:
            return 0 if spoken.said or spoken.mark else 1
        what, revision = ADAPTER_NAME, spoken.commit or revision
    try:
        traced = trace(Path(), what, revision, args.history)
    except NotHere:
        if revision is not None or (named := version_named(Path(), what)) is None:
            raise
        traced = trace(Path(), ADAPTER_NAME, named, args.history)
    if args.json:
        print_json(as_json(traced))
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        print(text.draw(traced, args.every, width))
    return 0


def version_named(root: Path, what: str) -> str | None:
    """What `--rev` takes for a version that is named by commit, branch, tag, its id, or as MLflow knows it."""
    try:
        return open_version(root, what)
    except DataError:
        key = key_in_mlflow(what)
        return open_version(root, key) if key else None


def open_version(root: Path, name: str) -> str:
    with open_snapshot(root, name):
        return name


def key_in_mlflow(name: str) -> str | None:
    """The id of the version of a run or an alias."""
    from timbre.exchange import voice_versions

    try:
        return voice_versions.key_of_run(name)
    except TrackingError:
        return None


def of_version(root: Path, key: str) -> str | None:
    """What is known of a version's adapter, as text; None where nothing can be read here of a version of this key."""
    try:
        version = version_ids.find(root, key, committed=False)
        return text.draw(trace(root, ADAPTER_NAME, version.commit, False)) if version else None
    except (TimbreError, OSError):  # a folder without git, as in a container
        return None


def is_output(path: str) -> bool:
    """A sample or a clip of the pipeline, which its tables know better than any mark."""
    return Path(path).parts[:1] in (("data",), ("reports",))


def trace(root: Path, what: str, revision: str | None, with_history: bool) -> Trace:
    with open_snapshot(root, revision) as snapshot, open_snapshot(root, None) as today:
        version = TracedVersion(snapshot, Outs(root), today)
        older: list[Past] = []
        try:
            target = follow(version, what)
            if with_history:
                older = _history(root, target, version.missing)
        except NotHere:
            older = list(past.adapters(root, {what}, what, version.missing)) if with_history else []
            if not older:
                raise
            target = Forward(what, None, ())
        digest = version.lock.outs.get(ADAPTER) if _by_adapter(target) else None
        runs = list(offline.runs(root, ADAPTER, digest, version.missing, patient=with_history))
        missing = version.gaps()
        commit = snapshot.commit or head(root)
    changed = 0 if revision else len({*changed_files(root, new=False), *changed_files(root, ("data",))})
    return Trace(commit, changed, target, tuple(runs), tuple(older), missing)


def _by_adapter(target: object) -> bool:
    if isinstance(target, Forward):
        return any(use.adapter for use in target.uses)
    return isinstance(target, Adapter) or (isinstance(target, TracedSample) and target.adapter is not None)


def _history(root: Path, target: object, missing: list[str]) -> list[Past]:
    if not isinstance(target, Forward):
        raise DataError("--history is of a recording or a speaker; `timbre log` is the voice's own")
    if target.voice:
        return list(past.adapters(root, set(), target.name, missing))
    return list(past.adapters(root, {target.name}, None, missing))


def as_json(traced: Trace) -> dict[str, object]:
    target = traced.found
    forward = "speaker" if isinstance(target, Forward) and target.voice else "recording"
    kind = forward if isinstance(target, Forward) else type(target).__name__.removeprefix("Traced").lower()
    return {"kind": kind, **dataclasses.asdict(traced)}
