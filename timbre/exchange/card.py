"""README.md of an export: whose voices these are, by what right, from which recordings and which version.

It is the dataset's card on the hub, so it begins with what the hub reads. Names and licences are people's words: they
are shown, and are never marks. Evidence of a consent stays at home.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from timbre.core.records import Example
from timbre.core.safe_text import escaped, redacted, visible
from timbre.core.text import words
from timbre.exchange.collection import Collection

KNOWN = (  # that the hub has a name for, as people write them
    "cc0-1.0", "cc-by-2.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "cc-by-nd-4.0", "mit", "apache-2.0", "pddl", "odc-by", "odbl", "unlicense",
)  # fmt: skip


def card(collection: Collection, hub: bool) -> str:
    """`hub` adds how `datasets` finds the splits."""
    rows, people = collection.rows, collection.people.values()
    names = ", ".join(escaped(person.name) for person in people)
    return "\n".join(
        [
            *_front(collection, hub),
            f"# A voice: {names}",
            "",
            f"{len(rows)} clips, {_minutes(rows)} of speech with their text, made by Timbre.",
            "",
            *_table(["split", "clips", "length", "words"], (_split(*item) for item in collection.splits.items())),
            "## Whose voice, and what they allowed",
            "",
            *_table(
                ["speaker", "name", "clips", "length", "consent for", "given by", "on"],
                (
                    [p.id, p.name, len(spoken), _minutes(spoken), p.consent.use, p.consent.by, p.consent.when]
                    for p in people
                    for spoken in [[row for row in rows if row.source == p.id]]
                ),
            ),
            "A consent can be taken back. Who uses this is asked to look here again, and to stop then.",
            "",
            "## From which recordings",
            "",
            *_table(
                ["recording", "language", "licence", "from", "clips", "length"],
                (
                    [source.id, source.language, source.licence, redacted(source.origin), len(used), _minutes(used)]
                    for source in collection.sources.values()
                    for used in [[row for row in rows if row.recording == source.id]]
                ),
            ),
            "## Which version",
            "",
            f"`data/dataset` with DVC's hash `{collection.version}`. A clip's name is the hash of its sound.",
            "",
            *(_loading() if hub else []),
        ]
    )


def _front(collection: Collection, hub: bool) -> Iterator[str]:
    licences = sorted({source.licence.strip() for source in collection.sources.values()})
    yield "---"
    if len(licences) == 1 and licences[0].lower() in KNOWN:
        yield f"license: {licences[0].lower()}"
    else:
        yield "license: other"
        yield f"license_name: {_quoted(', '.join(licences))}"
    yield f"language: {json.dumps(sorted({source.language for source in collection.sources.values()}))}"
    yield 'task_categories: ["text-to-speech", "automatic-speech-recognition"]'
    yield f"pretty_name: {_quoted('A voice: ' + ', '.join(person.name for person in collection.people.values()))}"
    if hub:
        yield "configs:\n- config_name: default\n  data_files:"
        yield from (f"  - split: {split}\n    path: data/{split}-*.parquet" for split in collection.splits)
    yield "---"


def _quoted(text: str) -> str:
    """As YAML reads it back, whatever people wrote: JSON in quotes is YAML."""
    return json.dumps(visible(text), ensure_ascii=False)


def _split(name: str, rows: Sequence[Example]) -> list[object]:
    return [name, len(rows), _minutes(rows), sum(len(words(row.text)) for row in rows)]


def _table(head: list[str], rows: Iterator[list[object]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + " --- |" * len(head)
    yield from ("| " + " | ".join(escaped(str(cell)) for cell in row) + " |" for row in rows)
    yield ""


def _minutes(rows: Sequence[Example]) -> str:
    seconds = sum(row.seconds for row in rows)
    return f"{seconds / 3600:.1f} h" if seconds >= 7200 else f"{seconds / 60:.1f} min"


def _loading() -> list[str]:
    return [
        "## Reading it",
        "",
        "```python",
        'rows = datasets.load_dataset("OWNER/NAME", split="train")   # or the folder that holds this file',
        'samples, rate = soundfile.read(io.BytesIO(rows[0]["audio"]["bytes"]))',
        "```",
        "",
    ]
