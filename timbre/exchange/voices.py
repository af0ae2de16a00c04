"""Who speaks: the names that a dataset has for its voices, and the ids that they get here."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator

from timbre.editing import yaml_entries


class ImportedVoices:
    """Ids for names as they come; what cannot be decided is told at the end, once and not once per row."""

    def __init__(self, speaker: str | None) -> None:
        self.speaker = speaker  # whose voice it is throughout, where the user says so
        self.sentences: Counter[str] = Counter()  # name in the dataset, "" where it has none → sentences

    def id_of(self, name: str) -> str:
        self.sentences[name] += 1
        return self.speaker or _id(name)

    def problems(self) -> Iterator[str]:
        named = sorted(name for name in self.sentences if name)
        if self.speaker and len(named) > 1:
            yield (
                f"--speaker {self.speaker}: the data name {len(named)} voices ({_few(named)}); leave it out to keep "
                "them apart, or add --speaker-column '' if they are all the same person"
            )
        if not self.speaker and self.sentences[""]:
            yield f"{self.sentences['']} sentences do not say who speaks; add --speaker"
        ids: dict[str, str] = {}
        for name in named:
            if not self.speaker and (other := ids.setdefault(_id(name), name)) != name:
                yield f"the voices {other!r} and {name!r} would both be {_id(name)}; rename one in the data"

    def most(self) -> str:
        """Who speaks most, as an id."""
        return self.speaker or _id(self.sentences.most_common(1)[0][0])

    def people(self) -> dict[str, str]:
        """Id → name of everybody who speaks."""
        return {self.speaker: self.speaker} if self.speaker else {_id(name): name for name in self.sentences}

    def shown(self) -> str:
        """As in: `Ann Smith → ann-smith (120), bob (80)`."""
        if self.speaker:
            return self.speaker
        each = [(name, _id(name), count) for name, count in self.sentences.most_common()]
        texts = [f"{new if name == new else f'{name} → {new}'} ({count})" for name, new, count in each]
        return _few(texts)


def _id(name: str) -> str:
    if not name:
        return "unnamed"
    return (
        yaml_entries.slug(name) or f"voice-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
    )  # a name in another script


def _few(items: list[str], most: int = 8) -> str:
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")
