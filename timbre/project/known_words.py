"""Models that were made for a few words, as the demo's are, and what to tell whoever brings them other speech.

`corpus.json` beside such a model lists its words; a real model has no such file.

    known = of_model("models/tiny/whisper.pt")   # None of a real model
    known.unknown("The tide comes in.")          # comes, in, tide
    configured()                                 # of the models that params.yaml names

Whisper writes whatever it hears in the words that it knows, so a draft of other speech looks right. It is unsure of
them, though: its probability of the demo's words is 0.99, and of the same sound played backwards 0.48.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from timbre.core import params
from timbre.core.errors import ParamsError
from timbre.core.text import words

CORPUS = "corpus.json"
SURE = 0.8  # mean probability of a draft's words, below which it was other speech
REMEDY = "`cp presets/csm-1b.yaml params.yaml` takes models for real speech, see docs/real-models.md"


@dataclass(frozen=True)
class KnownWords:
    model: str
    words: frozenset[str]

    def unknown(self, text: str) -> list[str]:
        return sorted(set(words(text)) - self.words)

    @property
    def told(self) -> str:
        return f"{self.model} knows only the {len(self.words)} words of the demo"

    def foreign(self, recording: str, sure: float | None) -> str | None:
        """One line about a draft whose words have this mean probability; None of one that the model could hear."""
        if sure is None or sure >= SURE:
            return None
        return f"{recording}: {self.told}, and is {sure:.0%} sure of what it wrote here; {REMEDY}"


def of_model(model: str) -> KnownWords | None:
    """None where no file says that the model knows these words alone."""
    try:
        listed = json.loads((Path(model).parent / CORPUS).read_bytes())["words"]
        return KnownWords(model, frozenset(str(word).casefold() for word in listed))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def configured() -> list[KnownWords]:
    """Of Whisper and of the voice, where they know a few words only; none where params.yaml cannot be read."""
    return [known for known in (listener(), voice()) if known]


def _named(section: str, key: str) -> KnownWords | None:
    try:
        values = params.load().get(section)
    except ParamsError:
        return None
    return of_model(str(values.get(key))) if isinstance(values, dict) else None


def listener() -> KnownWords | None:
    """The Whisper that writes the drafts, where it knows a few words only."""
    return _named("whisper", "model")


def voice() -> KnownWords | None:
    return _named("voice", "base")


def note() -> str | None:
    """One line for whoever adds a recording; None where real models are configured."""
    known = configured()
    return f"note: {known[0].told}, and hears and says nothing else; {REMEDY}" if known else None
