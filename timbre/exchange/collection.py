"""What an export takes along: the dataset's rows by split, whose voices they are, and by what right.

Reads data/dataset, data/clips, data/sources.yaml and data/speakers.yaml. A voice whose owner has not allowed its use
is not gathered; publishing needs more: `publish` among the uses that a person's consent is for.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import soundfile
from tqdm import tqdm

from timbre import audio
from timbre.audio import BLOCK
from timbre.core.errors import DataError, raise_all
from timbre.core.records import Example
from timbre.exchange.dataset_rows import examples
from timbre.project import sources
from timbre.project import speakers as people
from timbre.project.permissions import PUBLISH, Permissions, used_by
from timbre.project.sources import Source
from timbre.project.speakers import Person
from timbre.versions import dvc_lock
from timbre.versions.snapshot import WorkTree

SPLITS = ("train", "eval")
NO_LICENCE = {"", "?", "-", "none", "no", "tbd", "todo", "unknown", "unlicensed"}  # said, and nothing allowed by it


@dataclass(frozen=True)
class Collection:
    root: Path  # of the repository, where the rows' paths begin
    splits: dict[str, list[Example]]
    sources: dict[str, Source]  # by id, only those that rows are from
    people: dict[str, Person]  # by id, only those who speak
    version: str  # DVC's hash of data/dataset

    @property
    def rows(self) -> list[Example]:
        return [row for rows in self.splits.values() for row in rows]

    @property
    def rates(self) -> list[int]:
        """Hz; more than one where recordings have rates of their own."""
        return sorted({audio.rate_of(self.root / row.audio) for row in self.rows})

    def language(self, row: Example) -> str:
        return self.sources[row.recording].language


def gather(root: Path = Path()) -> Collection:
    tables = {split: root / f"data/dataset/{split}.jsonl" for split in SPLITS}
    splits = {split: examples(table) for split, table in tables.items()}
    rows = [row for split in splits.values() for row in split]
    missing = (f"{row.audio}: is missing; `dvc pull`, or `dvc repro chunk`" for row in rows)
    raise_all(
        DataError, (message for message, row in zip(missing, rows, strict=True) if not audio.is_there(root / row.audio))
    )
    declared = {source.id: source for source in sources.read(root / "data/sources.yaml")}
    named = list(dict.fromkeys(row.recording for row in rows))
    gone = [name for name in named if name not in declared]
    if gone:
        raise DataError(f"data/dataset: holds {', '.join(gone)}, which data/sources.yaml does not; `dvc repro dataset`")
    everybody, used = people.read(root / people.PATH), used_by((row.source, row.recording) for row in rows)
    allowed = Permissions(root / "data/sources.yaml", root / people.PATH, root / "data/transcripts")
    allowed.check(used, taking_part=True)
    return Collection(
        root, splits, {name: declared[name] for name in named}, {name: everybody[name] for name in used}, _version(root)
    )


def _version(root: Path) -> str:
    work = WorkTree(root)
    here = str(dvc_lock.folder_md5(work, "data/dataset"))
    if dvc_lock.read(work).outs.get("data/dataset", here) != here:
        raise DataError("data/dataset: is not what dvc.lock names; `dvc repro dataset`, or `dvc checkout`")
    return here


def unpublishable(collection: Collection) -> Iterator[str]:
    """A line for everything that forbids to hand the collection to others."""
    for person in collection.people.values():
        if PUBLISH not in person.uses:
            yield (
                f"{people.PATH}:{person.line}: {person.id}: the consent is for {person.consent.use!r}; publishing "
                f"needs `{PUBLISH}` among its uses, separated by commas, and their owner to agree"
            )
    for source in collection.sources.values():
        if source.licence.strip().casefold() in NO_LICENCE:
            yield f"data/sources.yaml: {source.id}: licence {source.licence!r} allows nobody anything; name one"


def write_wavs(collection: Collection, folder: Path) -> None:
    """Every clip as wavs/<id>.wav, sample for sample."""
    (folder / "wavs").mkdir(parents=True)
    for row in tqdm(collection.rows, desc="export", unit="clip", dynamic_ncols=True):
        clip = soundfile.SoundFile(io.BytesIO(audio.file_bytes(collection.root / row.audio)))
        wav = soundfile.SoundFile(folder / f"wavs/{row.id}.wav", "w", clip.samplerate, 1, "PCM_16")
        with clip, wav:
            for block in clip.blocks(BLOCK, dtype="int16"):
                wav.write(block)


def without_bars(collection: Collection) -> tuple[dict[str, str], list[str]]:
    """Text by clip where | parts the fields, and a remark on those that had one."""
    texts = {row.id: " ".join(row.text.replace("|", " ").split()) for row in collection.rows}
    count = sum("|" in row.text for row in collection.rows)
    return texts, [f"{count} texts have a |, which this format cannot hold: written as a space"] if count else []
