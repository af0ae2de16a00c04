"""README.md of a released voice: whose it is, by what right, what it learnt, how good it is and how to speak with it.

It is the model's card on the hub, so it begins with what the hub reads. Names, licences and consents are people's
words: they are shown, and are never marks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from timbre import families
from timbre.core.records import Sample
from timbre.core.safe_text import escaped
from timbre.exchange.voice_versions import VoiceVersion
from timbre.families import WeightsLicence
from timbre.project import sources
from timbre.project.permissions import Permissions

HUB = "https://huggingface.co"
LICENCES = {  # where the text of a licence is
    "apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    "mit": "https://opensource.org/license/mit",
    "cc0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "cc-by-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "cc-by-sa-4.0": "https://creativecommons.org/licenses/by-sa/4.0/",
}
TERMS = (
    "*Base* is the model before the training, *tuned* the voice; with *cloning*, it first hears a clip of the speaker.",
    "*Wrong words* are counted by Whisper. *Similarity* is the cosine between speaker embeddings, *named* the share of",
    "samples that are nearer to the speaker than to other voices, *ended* the share that stopped by themselves and not",
    "at the length limit. Brackets are 95 % intervals.",
)


@runtime_checkable
class Mergeable(Protocol):
    """A voice whose base and adapter make one model of its own kind."""

    merged_library: str  # that loads it, as the hub names it

    def save_merged(self, folder: Path) -> None:
        """As the family's own tools read it, in 16 bits."""

    def merged_usage(self, where: str) -> Sequence[str]:
        """How others load it from `where`, a folder or OWNER/NAME: lines of Markdown."""


def card(
    version: VoiceVersion, voice: Mergeable, evidence: Sequence[str], spoken: Sequence[Sample], hub: str | None
) -> str:
    people = Permissions().people
    return "\n".join(
        [
            *_front(version, voice),
            f"# A voice: {', '.join(escaped(people[name].name) for name in version.speakers)}",
            "",
            f"Version `{version.key}`, made by Timbre. What it says is synthetic; Timbre's own commands mark it so.",
            "",
            "## Whose voice, and what they allowed",
            "",
            *_speakers(version),
            "A consent can be taken back. Who uses this is asked to look again, and to stop then.",
            "",
            "## What it learnt from",
            "",
            *_learnt(version),
            "",
            "## How good it is",
            "",
            *(["```", *evidence, "```", "", *TERMS] if evidence else ["Not measured here."]),
            "",
            *_heard(spoken),
            "## Limits",
            "",
            "It speaks as its recordings do: other languages, styles and words than theirs may be wrong. Numbers and",
            "abbreviations have to be spelled out first, as Timbre does.",
            "",
            "## Using it",
            "",
            *voice.merged_usage(hub or "merged"),
            "",
            f"In the project that made it, `timbre say 'Good morning.' --voice {version.short}` speaks with it.",
            "",
            "Sound that is made without Timbre is not marked: say that it is synthetic.",
            "",
        ]
    )


def _front(version: VoiceVersion, voice: Mergeable) -> Iterator[str]:
    licence = licence_of(version)
    languages = sorted({str(row["language"]) for row in _learnt_recordings(version) if row.get("language")})
    yield "---"
    yield f"license: {licence.id if licence and not licence.terms else 'other'}"
    if not licence or licence.terms:
        yield "license_name: see-the-card"
    yield f"language: {json.dumps(languages)}"
    if version.voice.revision:
        yield f"base_model: {json.dumps(version.voice.base)}"
    yield f"library_name: {voice.merged_library}"
    yield "pipeline_tag: text-to-speech"
    yield "tags: [text-to-speech, voice-clone, synthetic, timbre]"
    yield "---"


def _speakers(version: VoiceVersion) -> Iterator[str]:
    """A table, as a consent in a person's own words fits into no sentence. Several speakers have their numbers."""
    several = len(version.speakers) > 1
    yield "| speaker | name | consent for | given by | on |" + (" number |" if several else "")
    yield "|" + " --- |" * (6 if several else 5)
    people = Permissions().people
    for name in version.speakers:
        consent = people[name].consent
        row = [name, people[name].name, consent.use, consent.by, str(consent.when)]
        row += [str(version.speaker(name).number)] if several else []
        yield "| " + " | ".join(map(escaped, row)) + " |"
    yield ""


def _learnt(version: VoiceVersion) -> Iterator[str]:
    learnt = training_of(version)
    licences = sorted({str(row["licence"]) for row in _learnt_recordings(version) if row.get("licence")})
    yield (
        f"{learnt.get('clips', 'an unknown number of')} clips, {float(learnt.get('seconds', 0)) / 60:.1f} minutes. "
        f"Licences of the recordings: {', '.join(map(_linked, licences)) or 'not known'}."
    )
    yield ""
    licence, revision = licence_of(version), version.voice.revision
    known = _linked(licence.id) if licence else "its own licence, which Timbre does not know"
    known += f"; {licence.terms}" if licence and licence.terms else ""
    name, at = escaped(named(version)), f" at {escaped(revision)}" if revision else ""
    where = f"[{name}]({HUB}/{version.voice.base})" if revision else f"{name}, a folder of the project that made this"
    yield f"Base model: {where}{at}, under {known}. That goes on to apply to the merged weights."


def _linked(licence: str) -> str:
    address = LICENCES.get(licence.strip().lower())
    return f"[{escaped(licence)}]({address})" if address else escaped(licence)


def named(version: VoiceVersion) -> str:
    """The base as others may know it: a folder's name and not where it lies here."""
    return version.voice.base if version.voice.revision else Path(version.voice.base).name


def _heard(spoken: Sequence[Sample]) -> Iterator[str]:
    if spoken:
        yield from ("## Samples", "")
        yield from (f"- `samples/{sample.line}.flac`: {escaped(sample.text)}" for sample in spoken)
        yield from ("", "Each is marked as synthetic, in its metadata and in the sound.", "")


def _learnt_recordings(version: VoiceVersion) -> list[dict[str, Any]]:
    used = {name for names in version.speakers.values() for name in names}
    return [entry for entry in recordings() if entry.get("id") in used]


def licence_of(version: VoiceVersion) -> WeightsLicence | None:
    """Of the base's weights, as its family knows it."""
    return families.licence(version.voice)


def recordings() -> list[dict[str, Any]]:
    """The entries of data/sources.yaml."""
    path = sources.PATH
    entries = sources.plain(sources.text_of(path), str(path)) if path.exists() else []
    return [entry for entry in entries or [] if isinstance(entry, dict)]


def training_of(version: VoiceVersion) -> dict[str, float]:
    try:
        facts: dict[str, float] = json.loads((Path(version.adapter or "") / "training.json").read_bytes())
        return facts
    except (OSError, ValueError):
        return {}
