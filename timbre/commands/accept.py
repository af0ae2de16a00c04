"""Turn Whisper's drafts into transcripts that you can edit.

Writes data/transcripts/<id>.tsv from data/drafts/<id>.json. A transcript that exists stays as it is, because it belongs
to a person. If one of the recordings has no usable draft, nothing is written.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

from timbre.core.errors import DataError, TranscriptError, raise_all
from timbre.editing.owned_files import FileChange, write_all
from timbre.project import known_words, sources, transcripts

EXAMPLES = [
    ("timbre accept harbour-noon", "write data/transcripts/harbour-noon.tsv from its draft"),
    ("timbre accept --all", "the same for every recording without a transcript"),
]


def arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("id", nargs="*", default=[], help="ids of recordings, as in data/sources.yaml")
    which.add_argument("--all", action="store_true", help="all recordings without a transcript")


def command(args: argparse.Namespace) -> int:
    data = Path("data")
    declared = {source.id: source for source in sources.read(data / "sources.yaml")}
    target = {name: data / "transcripts" / f"{name}.tsv" for name in declared}
    chosen = [name for name in declared if not target[name].exists()] if args.all else list(dict.fromkeys(args.id))
    raise_all(DataError, (_unknown(name, list(declared)) for name in chosen if name not in declared))
    raise_all(
        TranscriptError,
        (
            f"{target[name]}: is there already, and yours; edit it, or remove it first"
            for name in chosen
            if target[name].exists()
        ),
    )
    recordings = sources.recordings([declared[name] for name in chosen], data / "raw")
    seeds = {
        recording.id: transcripts.seed(data / f"drafts/{recording.id}.json", recording) for recording in recordings
    }
    contents = {target[name]: transcripts.checked_content(seed, target[name]) for name, seed in seeds.items()}
    write_all([FileChange(path, None, content) for path, content in contents.items()])
    for name, transcript in seeds.items():
        print(f"{target[name]}: {len(transcript.lines)} lines from the draft; flag what you heard as right with ok")
    for line in unheard(seeds, data / "drafts"):
        print(line)
    if not seeds:
        print("every recording has a transcript; nothing written")
    return 0


def unheard(names: Iterable[str], drafts: Path) -> Iterator[str]:
    """A line per recording whose speech the configured Whisper does not know."""
    if known := known_words.listener():
        sure = {name: transcripts.read_draft(drafts / f"{name}.json").sure for name in names}
        warnings = (known.foreign(name, value) for name, value in sure.items())
        yield from (f"warning: {line}" for line in warnings if line)


def _unknown(name: str, declared: list[str]) -> str:
    return f"{name}: no such recording in data/sources.yaml; there are {', '.join(declared)}"
