"""May this voice be heard? The one place that answers, for all that plays, embeds, speaks, promotes or exports.

    permissions = Permissions()
    permissions.check({"ann": ["noon"]})         # SourceError with a line for each voice that may not be used
    permissions.check_adapter(Path("models/adapter"))     # the same for the voices that it learnt
    permissions.check_stage(Path("data/dataset"))         # the same for those of a stage's clips
    permissions.may_be_heard("ann")              # ann consented, did not take it back, and was not taken out
    permissions.may("ann", "publish")            # and the consent names this use
    permissions.holds_barred_voice("noon", 2.0, 3.5)

It reads data/speakers.yaml as it is now, whatever version a sound is of: a consent that was withdrawn today also
silences what was made last year. Who was taken out by `timbre remove` has no recording and no line that is learnt, and
is heard no more either. `withdrawn` alone bars less: the review page plays everybody who did not take the consent back,
so that a person can hear whose line it is.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from timbre.core.errors import DataError, SourceError, raise_all
from timbre.project import sources, speakers, transcripts
from timbre.project.speakers import Person
from timbre.project.transcripts import Line

PUBLISH, SERVE = "publish", "serve"  # in the comma-separated `for` of a consent
DATASET = Path("data/dataset")
SPEAKERS = "speakers"  # in training.json: whose voices the adapter learnt, and from which recordings
NUMBERS = "numbers"  # beside it: each one's number, where that is not 0 for all
PAGE = re.compile(r'<meta name="timbre:voices" content="([^"<>]*)">')
HEAD = 4096  # characters of a page in which that stands
Used = Mapping[str, Sequence[str]]
"""Speaker → the recordings that hold the voice."""


@dataclass(frozen=True)
class Permissions:
    """Of three files that people own, each read when it is first asked for."""

    sources_file: Path = sources.PATH
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
        entries = sources.plain(sources.text_of(path), str(path)) if path.exists() else None
        complete = (entry for entry in entries or () if isinstance(entry, dict) and {"id", "speaker"} <= set(entry))
        return {str(entry["id"]): str(entry["speaker"]) for entry in complete}

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
        return self._allowed(speaker) and speaker in self._taking_part

    def _allowed(self, speaker: str) -> bool:
        person = self.people.get(speaker)
        return person is not None and person.allowed

    def may(self, speaker: str, use: str) -> bool:
        """Whether the consent, which was not withdrawn, names this use."""
        person = self.people.get(speaker)
        return person is not None and person.allowed and use in person.uses

    def objections(self, used: Used, to: str = "") -> Iterator[str]:
        """A line for every voice that nobody allowed, or whose consent was withdrawn; `to` begins each line."""
        return (to + problem for problem in speakers.problems(self.people, used, str(self.speakers_file)))

    def check(self, used: Used, to: str = "", *, taking_part: bool = False) -> None:
        """`taking_part` also asks that nobody was taken out: of what is made from the work tree as it is."""
        asked = used if taking_part else ()  # to know who takes part, each transcript is read
        gone = [speaker for speaker in asked if self._allowed(speaker) and not self.may_be_heard(speaker)]
        left = [f"{to}{name}: was taken out; `dvc repro` makes the voice without" for name in gone]
        raise_all(SourceError, [*self.objections(used, to), *left])

    def check_learnt(self, used: Used, name: str, *, taking_part: bool = False) -> None:
        """Of the voices that a version learnt; one of which nobody knows whose voice it learnt is not heard."""
        if not used:
            raise SourceError(f"{name}: whose voice it learnt is not known; bring its training.json, or train it anew")
        self.check(used, f"{name}: ", taking_part=taking_part)

    def check_use(self, used: Used, name: str, use: str) -> None:
        """`check_learnt`, and that each consent names this use."""
        self.check_learnt(used, name)
        lacking = (speaker for speaker in used if not self.may(speaker, use))
        where = f"add it to the uses in {self.speakers_file}, if the person agrees"
        raise_all(SourceError, (f"{name}: {speaker} did not consent to `{use}`; {where}" for speaker in lacking))

    def check_adapter(self, adapter: Path, dataset: Path = DATASET) -> None:
        """Of the work tree's adapter; one of which nobody knows whose voice it learnt is not heard."""
        used = of_adapter(adapter, dataset)
        if not used:
            raise SourceError(
                f"{adapter}: whose voice it learnt is not known, as its training.json does not say and {dataset} "
                "is not here; `dvc pull` brings it, `dvc repro train` makes it"
            )
        self.check(used, f"{adapter}: ", taking_part=True)

    def check_stage(self, dataset: Path, adapter: Path | None = None) -> None:
        """Of a stage that learns or speaks: the voices of its clips, and those that its adapter learnt.

        `segment` has asked before; but a run may begin later, after a consent was withdrawn.
        """
        learnt = of_adapter(adapter, None) if adapter else {}
        self.check({**learnt, **of_dataset(dataset)}, taking_part=True)

    def check_page(self, page: Path) -> None:
        """Of a report: the voices whose sound is in it."""
        voices = of_page(page)
        if voices is None:
            raise DataError(f"{page}: does not say whose voices are in it; `dvc repro report` makes it anew")
        why = "who may not be heard any more; `dvc repro report` makes the page without"
        raise_all(
            SourceError, (f"{page}: holds the voice of {name}, {why}" for name in voices if not self.may_be_heard(name))
        )

    def holds_barred_voice(self, recording: str, start: float, end: float) -> bool:
        """Whether somebody who may not be heard speaks between these seconds, or nobody knows who does."""
        if recording not in self.recordings:
            return True
        return not all(map(self.may_be_heard, self.voices_in(recording, start, end)))

    def voices_in(self, recording: str, start: float, end: float) -> list[str]:
        """Who speaks between these seconds of a declared recording; its speaker, where nobody wrote a transcript."""
        lines = self.lines(recording)
        if lines is None:
            return [self.recordings[recording]]
        return list(dict.fromkeys(line.speaker for line in lines if line.start < end and start < line.end))

    def withdrawn_stretches(self, recording: str) -> list[tuple[float, float]]:
        """Seconds of the lines whose speaker took the consent back."""
        if all(person.allowed for person in self.people.values()):
            return []  # without reading the transcript: a player asks for every part of a sound
        lines = self.lines(recording) or ()
        return [(line.start, line.end) for line in lines if self.withdrawn(line.speaker)]

    @cached_property
    def _taking_part(self) -> frozenset[str]:
        lines = (line for recording in self.recordings for line in self.lines(recording) or ())
        return frozenset(line.speaker for line in lines if line.flag != "drop") | set(self.recordings.values())


def of_adapter(adapter: Path, dataset: Path | None = DATASET) -> Used:
    """Whose voices an adapter learnt, as it says itself; of one that does not, the speakers of its dataset."""
    try:
        speakers = of_training((adapter / "training.json").read_bytes())
    except OSError:
        speakers = None
    if speakers is None:
        return of_dataset(dataset) if dataset else {}
    return speakers


def of_training(content: bytes) -> Used | None:
    """As a training.json says; None where it does not."""
    try:
        speakers = json.loads(content)[SPEAKERS]
        return {str(speaker): [str(name) for name in names] for speaker, names in speakers.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def numbers_of_adapter(adapter: Path) -> dict[str, int]:
    """The numbers that an adapter knows its speakers by; whoever is not named has 0."""
    try:
        numbers = json.loads((adapter / "training.json").read_bytes()).get(NUMBERS, {})
        return {str(speaker): int(number) for speaker, number in numbers.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def of_page(page: Path) -> list[str] | None:
    """Whose voices are in a report; None where it does not say, as one of before does not."""
    with page.open(encoding="utf-8", errors="replace") as stream:
        match = PAGE.search(stream.read(HEAD))
    return html.unescape(match[1]).split() if match else None


def of_dataset(dataset: Path) -> Used:
    """Whose voices the clips of a dataset hold; nobody's where there is none."""
    voices: list[tuple[str, str]] = []
    for path in (dataset / "train.jsonl", dataset / "eval.jsonl"):
        try:
            voices += _voices(path.read_bytes())
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: cannot be read ({error}); `dvc repro dataset` makes it anew") from error
    return used_by(voices)


def of_tables(*contents: bytes) -> Used:
    """As `of_dataset`, of tables that are no files here."""
    return used_by(voice for content in contents for voice in _voices(content))


def used_by(voices: Iterable[tuple[str, str]]) -> Used:
    """Of pairs of speaker and recording."""
    used: dict[str, dict[str, None]] = {}
    for speaker, recording in voices:
        used.setdefault(speaker, {})[recording] = None
    return {speaker: list(names) for speaker, names in sorted(used.items())}


def _voices(content: bytes) -> Iterator[tuple[str, str]]:
    rows = (json.loads(row) for row in content.split(b"\n") if row)
    yield from ((str(row["source"]), str(row["recording"])) for row in rows)
