"""May this voice be heard? The one place that answers, for all that plays, embeds, speaks, promotes or exports.

    permissions = Permissions()
    permissions.check({"ann": ["noon"]})         # SourceError with a line for each voice that may not be used
    permissions.may_be_heard("ann")              # ann consented, did not take it back, and was not taken out
    permissions.may("ann", "publish")            # and the consent names this use
    permissions.holds_barred_voice("noon", 2.0, 3.5)

It reads data/speakers.yaml as it is now, whatever version a sound is of: a consent that was withdrawn today also
silences what was made last year. Who was taken out by `timbre remove` has no recording and no line that is learnt, and
is heard no more either. `withdrawn` alone bars less: the review page plays everybody who did not take the consent back,
so that a person can hear whose line it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from timbre.core.errors import DataError, SourceError, raise_all
from timbre.project import sources, speakers, transcripts
from timbre.project.speakers import Person
from timbre.project.transcripts import Line

PUBLISH = "publish"  # in the comma-separated `for` of a consent
Used = Mapping[str, Sequence[str]]
"""Speaker → the recordings that hold the voice."""


@dataclass(frozen=True)
class Permissions:
    """Of three files that people own, each read when it is first asked for."""

    sources_file: Path = Path("data/sources.yaml")
    speakers_file: Path = speakers.PATH
    transcripts_folder: Path = Path("data/transcripts")

    @cached_property
    def people(self) -> Mapping[str, Person]:
        """By speaker; nobody where nobody is written down."""
        path = self.speakers_file
        return speakers.parse(sources.text_of(path), str(path)) if path.exists() else {}

    @cached_property
    def recordings(self) -> Mapping[str, str]:
        """Declared recording → its speaker."""
        path = self.sources_file
        entries = sources.document(sources.text_of(path), str(path)) if path.exists() else None
        known = (entry for entry in entries or () if isinstance(entry, dict) and {"id", "speaker"} <= set(entry))
        return {str(entry["id"]): str(entry["speaker"]) for entry in known}

    def lines(self, recording: str) -> tuple[Line, ...] | None:
        """Of its transcript; None where nobody has begun one."""
        try:
            return transcripts.readable_lines((self.transcripts_folder / f"{recording}.tsv").read_bytes())
        except OSError:
            return None

    def withdrawn(self, speaker: str) -> bool:
        person = self.people.get(speaker)
        return person is not None and not person.allowed

    def may_be_heard(self, speaker: str) -> bool:
        person = self.people.get(speaker)
        return person is not None and person.allowed and speaker in self._taking_part

    def may(self, speaker: str, use: str) -> bool:
        """Whether the consent, which was not withdrawn, names this use."""
        person = self.people.get(speaker)
        return person is not None and person.allowed and use in person.uses

    def objections(self, used: Used, to: str = "") -> Iterator[str]:
        """A line for every voice that nobody allowed, or whose consent was withdrawn; `to` begins each line."""
        return (to + problem for problem in speakers.problems(self.people, used, str(self.speakers_file)))

    def check(self, used: Used, to: str = "") -> None:
        raise_all(SourceError, self.objections(used, to))

    def holds_barred_voice(self, recording: str, start: float, end: float) -> bool:
        """Whether somebody who may not be heard speaks between these seconds, or nobody knows who does."""
        if recording not in self.recordings:
            return True
        lines = self.lines(recording)
        if lines is None:
            return not self.may_be_heard(self.recordings[recording])
        return any(line.start < end and start < line.end and not self.may_be_heard(line.speaker) for line in lines)

    def withdrawn_stretches(self, recording: str) -> list[tuple[float, float]]:
        """Seconds of the lines whose speaker took the consent back."""
        lines = self.lines(recording) or ()
        return [(line.start, line.end) for line in lines if self.withdrawn(line.speaker)]

    @cached_property
    def _taking_part(self) -> frozenset[str]:
        lines = (line for recording in self.recordings for line in self.lines(recording) or ())
        return frozenset(line.speaker for line in lines if line.flag != "drop") | set(self.recordings.values())


def of_adapter(adapter: Path, dataset: Path = Path("data/dataset")) -> Used:
    """Whose voices an adapter learnt, as it says itself; of one that does not, the speakers of the dataset here."""
    try:
        said = json.loads((adapter / "training.json").read_bytes()).get("speakers")
        if said is not None:
            return {str(speaker): [str(name) for name in names] for speaker, names in said.items()}
    except (OSError, ValueError, AttributeError):
        pass
    return of_dataset(dataset)


def of_dataset(dataset: Path) -> Used:
    """Whose voices the clips of a dataset hold; nobody's where there is none."""
    used: dict[str, dict[str, None]] = {}
    for path in (dataset / "train.jsonl", dataset / "eval.jsonl"):
        try:
            rows = [json.loads(row) for row in path.read_text(encoding="utf-8").splitlines() if row]
            for row in rows:
                used.setdefault(str(row["source"]), {})[str(row["recording"])] = None
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: cannot be read ({error}); `dvc repro dataset` makes it anew") from error
    return {speaker: list(names) for speaker, names in sorted(used.items())}
