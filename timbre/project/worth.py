"""The worth of a line: which clips likely harm the voice, why, and what to do about each. Read without a model.

    worth = judged(influences, examples, labels)      # a WorthRow per training clip, the most harmful first
    write(PATH, Worth(key, adapter, steps, worth))
    worth = read_current(PATH, Path("models/adapter"))  # None where nothing was computed for this adapter

Two witnesses are heard. The label check tells how far Whisper hears another text than is written. The gradients tell
how far the clip pulls the voice, and how little held-out sentences confirm it (timbre/training/influence.py). Each is
put on a scale where 1 means "listen to it", and a clip's harm is the larger of the two: what one witness is deaf to,
such as noise behind words that are right, the other one reports. benchmarks/README.md says what this finds.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import TypeAdapter, ValidationError

from timbre.core.content import file_sha256, write_atomic
from timbre.core.records import ADAPTER_WEIGHTS, Example, Label
from timbre.core.text import words

PATH = Path("reports/value.json")
DOUBTFUL = 0.1  # character error rate that counts as 1 where dataset.doubtful_cer is null
UNUSUAL = 3.0  # interquartile ranges from the median, of length and direction together, that count as 1
ENOUGH = 8  # clips; with fewer, no gradient is called unusual
Advice = Literal["correct", "re-cut", "drop", "keep"]


class ClipGradients(Protocol):
    """Of one clip, a number per moment: `timbre.training.influence.Influence`."""

    @property
    def clip(self) -> str: ...

    @property
    def losses(self) -> list[float]: ...

    @property
    def gains(self) -> list[float]: ...

    @property
    def alignments(self) -> list[float]: ...

    @property
    def norms(self) -> list[float]: ...


class PlacedLine(Protocol):
    """A line of a transcript, however it was read."""

    @property
    def start(self) -> float: ...

    @property
    def end(self) -> float: ...

    @property
    def flag(self) -> str: ...

    @property
    def text(self) -> str: ...


@dataclass(frozen=True)
class WorthRow:
    """A training clip."""

    clip: str  # id
    recording: str
    start: float  # seconds in the recording
    end: float
    text: str
    heard: str | None  # by Whisper; None where the label check has not run
    cer: float | None
    losses: list[float]  # its own, at each moment
    gains: list[float]
    alignments: list[float]
    words_harm: float  # 1 and more: Whisper hears something else
    sound_harm: float  # 1 and more: its gradient is long, and held-out sentences do not confirm it
    advice: Advice
    why: str

    @property
    def harm(self) -> float:
        return max(self.words_harm, self.sound_harm)

    @property
    def agreement(self) -> float:
        """With the held-out sentences, -1 to 1."""
        return statistics.fmean(self.alignments)


@dataclass(frozen=True)
class Worth:
    key: str  # content key of all that it follows from
    adapter: str  # SHA-256 of the adapter's weights
    steps: list[int]  # of training, at which the gradients were taken
    rows: list[WorthRow]  # the most harmful first

    @property
    def doubtful(self) -> list[WorthRow]:
        return [row for row in self.rows if row.harm >= 1]

    @property
    def helpful(self) -> list[WorthRow]:
        """Those with nothing against them that agree best with the held-out sentences, the best first."""
        return sorted((row for row in self.rows if row.advice == "keep"), key=lambda row: (-row.agreement, row.clip))


def judged(
    influences: Sequence[ClipGradients], examples: Mapping[str, Example], labels: Mapping[str, Label],
    doubtful: float = DOUBTFUL,
) -> list[WorthRow]:  # fmt: skip
    """`examples` and `labels` by clip; a clip that was not checked has the gradients as its only witness. `doubtful` is
    the character error rate that counts as 1."""
    rows = [
        _row(gradients, examples[gradients.clip], labels.get(gradients.clip), harm, doubtful)
        for gradients, harm in zip(influences, pulls(influences), strict=True)
    ]
    return sorted(rows, key=lambda row: (-row.harm, row.agreement, row.clip))


def pulls(influences: Sequence[ClipGradients]) -> list[float]:
    """How far each clip pulls the voice where held-out sentences do not: its gradient is longer than those of others as
    training begins, and points elsewhere. 1 is UNUSUAL interquartile ranges from the median, 0 the median or less."""
    if len(influences) < ENOUGH:
        return [0.0 for _ in influences]
    return [round(max(0.0, distance / UNUSUAL), 3) for distance in length_and_direction(influences)]


def length_and_direction(influences: Sequence[ClipGradients]) -> list[float]:
    """How far both are from the median, together, in interquartile ranges."""
    length = distances([gradients.norms[0] for gradients in influences])
    against = distances([-statistics.fmean(gradients.alignments) for gradients in influences])
    return [one + other for one, other in zip(length, against, strict=True)]


def distances(values: Sequence[float]) -> list[float]:
    """From their median, in interquartile ranges."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return [(value - middle) / ((high - low) or 1.0) for value in values]


def _row(gradients: ClipGradients, example: Example, label: Label | None, sound: float, doubtful: float) -> WorthRow:
    current = label if label and label.text == example.text else None
    said = round(current.cer / doubtful, 3) if current else 0.0
    advice, why = advised(example.text, current.heard if current else None, said, sound)
    return WorthRow(
        gradients.clip, example.recording, example.start, example.end, example.text,
        current.heard if current else None, current.cer if current else None,
        gradients.losses, gradients.gains, gradients.alignments, said, sound, advice, why,
    )  # fmt: skip


def advised(text: str, heard: str | None, words_harm: float, sound_harm: float) -> tuple[Advice, str]:
    """What to do, and why, as a sentence about the clip."""
    if max(words_harm, sound_harm) < 1:
        return "keep", "nothing speaks against it"
    if words_harm >= 1 and heard is not None:
        written, said = words(text), words(heard)
        if cut := _cut(written, said):
            return (
                "re-cut",
                f"Whisper does not hear “{' '.join(cut)}”; move the line's times, or take it out of the text",
            )
        if more := _cut(said, written):
            return "re-cut", f"Whisper also hears “{' '.join(more)}”; move the line's times, or write it"
        return "correct", f"Whisper hears “{heard.strip()}”"
    witness = "Whisper hears the words as written, but" if heard is not None else "No label check is at hand;"
    return "drop", (
        f"{witness} the clip pulls the voice where held-out sentences do not; "
        "listen for noise, another voice or a cut end, and record it again if it is needed"
    )


def _cut(longer: list[str], shorter: list[str]) -> list[str]:
    """The words by which one begins earlier or ends later than the other, where they are otherwise the same."""
    if len(shorter) >= len(longer) or not shorter:
        return []
    if longer[: len(shorter)] == shorter:
        return longer[len(shorter) :]
    return longer[: -len(shorter)] if longer[-len(shorter) :] == shorter else []


def lines_in(row: WorthRow, lines: Sequence[PlacedLine]) -> list[int]:
    """Indices of the recording's lines that the clip holds, those first whose words Whisper hears otherwise."""
    inside = [
        place
        for place, line in enumerate(lines)
        if line.flag != "drop" and min(line.end, row.end) - max(line.start, row.start) > (line.end - line.start) / 2
    ]
    wrong = _mistakes([words(lines[place].text) for place in inside], words(row.heard or ""))
    order = sorted(range(len(inside)), key=lambda one: (-wrong[one], one)) if row.heard else range(len(inside))
    return [inside[one] for one in order]


def _mistakes(lines: Sequence[Sequence[str]], heard: Sequence[str]) -> list[int]:
    """Words of each line that were heard otherwise."""
    owner = [place for place, line in enumerate(lines) for _ in line]
    counts = [0 for _ in lines]
    written = [word for line in lines for word in line]
    for kind, first, last, other, end in SequenceMatcher(None, written, heard, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        touched = owner[first:last] or owner[max(0, first - 1) : first] or owner[:1]
        for place in set(touched):
            counts[place] += max(last - first, end - other)
    return counts


def write(path: Path, worth: Worth) -> None:
    content = dataclasses.asdict(worth)
    write_atomic(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read(path: Path) -> Worth | None:
    """None where there is none, or one of another release."""
    try:
        content: Any = json.loads(path.read_bytes())
        return TypeAdapter(Worth).validate_python(content)
    except (OSError, ValueError, ValidationError):
        return None


def read_current(path: Path, adapter: Path) -> Worth | None:
    """What was computed for the adapter that lies here; None of another's."""
    worth = read(path)
    try:
        return worth if worth and worth.adapter == file_sha256(adapter / ADAPTER_WEIGHTS) else None
    except OSError:
        return None
