"""Every measure of a voice and every gate, defined once.

MEASURES says of each measure its name, unit and direction, how the samples' rows become one number, and the sentence
that explains it. Scores, report, diff, MLflow and the documentation iterate over the table. So a new measure is a
column of `Score` (scores.py), which stages/evaluate.py fills, a row of MEASURES and a field of `Metric` (metrics.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from timbre.evaluation.aggregates import Count, Mean, Ratio, Sum

if TYPE_CHECKING:
    from timbre.evaluation.metrics import Difference, Metric

Unit = Literal["share", "cosine", "times", "count", "seconds"]


@dataclass(frozen=True)
class Measure:
    name: str  # in reports/details.json, MLflow and `timbre log --json`
    title: str  # above a column
    short: str  # where there is little room, as the field abbreviates it
    unit: Unit
    better: Literal["lower", "higher", "near 1", ""]  # "" where it says how much was measured, not how well
    total: Sum | Count | Ratio | Mean  # how the samples' rows come to one number
    explained: str = ""
    under: str = ""  # measure under which it is explained, where it shares a paragraph
    formula: str = ""  # in words, where that of `total` is not clear by itself
    code: str = ""  # where it is measured
    files: str = ""  # and from what
    digits: int = 0  # after the point, in percent where it is a share
    first: bool = False  # in every table; the others are shown where one looks for them
    compared: bool = False  # with an interval, and as a difference between conditions
    complaint: str = ""  # what is wrong with a sample …
    complains: bool = True  # … whose column has this value

    def interval(self, record: Metric | Difference) -> tuple[float | None, float | None, float | None]:
        """Value, low and high end; None for what was not measured."""
        names = (self.name, f"{self.name}_low", f"{self.name}_high")
        value, low, high = (getattr(record, name, None) for name in names)
        return value, low, high

    def bare(self, value: float) -> str:
        """Without the sign of its unit: an end of an interval beside its value."""
        return self.text(value).strip("%×")

    def text(self, value: float | None) -> str:
        """As a person reads it; a dash where it was not measured."""
        if value is None:
            return "–"
        forms = {
            "share": lambda: f"{100 * value:.{self.digits}f}%",
            "times": lambda: f"×{value:.{self.digits}f}",
            "seconds": lambda: f"{int(value + 0.5) // 60}:{int(value + 0.5) % 60:02d}",
        }
        return forms.get(self.unit, lambda: f"{value:.{self.digits}f}")()


SCORES, HEARD = "timbre/evaluation/scores.py", "timbre/evaluation/word_errors.py"
MEASURES = (
    Measure(
        "wer", "wrong words", "WER", "share", "lower", Ratio("errors", "words"),
        "Whisper writes down each sample without knowing the sentence. Both texts pass its normaliser (case, "
        "punctuation, numbers, contractions); then the fewest words to change are counted. Of each sample "
        "at most as many count as its sentence has words. A sample without sound counts as all words missed, and "
        "Whisper is not asked.",
        formula="Σ (substituted + left out + added) / Σ words of the sentences", code=f"{HEARD}, {SCORES}",
        files="reports/samples/*.flac, reports/heard/*.json, reports/scores.csv", digits=1, first=True, compared=True,
    ),
    Measure(
        "cer", "wrong characters", "CER", "share", "lower", Ratio("wrong_characters", "characters"),
        "The same with characters in the place of words: a word that is nearly right costs little.",
        formula="Σ wrong characters / Σ characters of the sentences", code=f"{HEARD}, {SCORES}",
        files="reports/heard/*.json", digits=1,
    ),
    Measure(
        "similarity", "similarity", "similarity", "cosine", "higher", Mean("similarity"),
        "A speaker encoder turns a sound into a vector that tells voices apart, whatever they say. The similarity of a "
        "sample is the cosine of its vector to the speaker’s. It is a measure of this encoder’s, not of an ear’s.",
        formula="cos(voice of the sample, mean voice of the held-out clips)",
        code="timbre/evaluation/speaker_encoder.py, timbre/evaluation/speaker_similarity.py",
        files="reports/samples/*.flac, data/dataset/eval.jsonl, data/clips, params.yaml: speaker", digits=3, first=True,
        compared=True,
    ),
    Measure(
        "named", "named", "named right", "share", "higher", Mean("named"),
        "The share of samples that are nearer to the speaker than to any other voice that is known here.",
        formula="samples nearest to the speaker / samples",
        code=f"timbre/evaluation/speaker_encoder.py, {SCORES}", files="reports/scores.csv", first=True,
    ),
    Measure(
        "pace", "pace", "pace", "times", "near 1", Mean("pace", "speech"),
        "Pace counts characters per second of speech: ×1.20 is a fifth faster than the speaker.",
        formula="characters / seconds of speech ÷ the speaker’s own", code=f"timbre/audio/delivery.py, {SCORES}",
        files="reports/scores.csv, data/clips", digits=2,
    ),
    Measure(
        "pauses", "pauses", "pauses", "share", "", Mean("pauses", "seconds"),
        "Pauses are the share of the time in which nobody speaks.", under="pace",
    ),
    Measure(
        "ended", "ended", "ended itself", "share", "higher", Mean("ended"),
        "The share of samples that the model ended by itself, before the limit that follows from the sentence’s "
        "length.",
        formula="samples with an end-of-speech frame / samples", code="stages/generate.py",
        files="reports/samples/*.json", first=True, complaint="ran into the limit on its length", complains=False,
    ),
    Measure(
        "silent", "silent", "silent", "count", "lower", Sum("silent"), "Silent are samples without sound.",
        code="timbre/audio/delivery.py, timbre/evaluation/word_errors.py",
        files="reports/scores.csv", complaint="silent",
    ),
    Measure(
        "clipped", "clipped", "clipped", "count", "lower", Sum("clipped"),
        "Clipped ones reach full scale three times in a row, as where a microphone ran out of room.",
        under="silent", complaint="clipped",
    ),
    Measure(
        "repeated", "repeats", "repeated", "count", "lower", Sum("repeated"),
        "In those that repeat themselves, words are heard again that the sentence has once.", under="silent",
        complaint="repeats itself",
    ),
    Measure(
        "looped", "loops", "looped", "count", "lower", Sum("looped"),
        "In those that loop, Whisper writes the same words four times in a row or more: often its own fault, not the "
        "voice’s.", under="silent", complaint="Whisper loops on it",
    ),
    Measure("errors", "wrong words, counted", "errors", "count", "", Sum("errors")),
    Measure("words", "words", "words", "count", "", Sum("words")),
    Measure("samples", "samples", "samples", "count", "", Count()),
    Measure("seconds", "sound", "seconds", "seconds", "", Sum("seconds")),
)  # fmt: skip
SECOND = {  # by the measure that they repeat; measured where params.yaml names a second judge
    "wer": Measure(
        "second_wer", "wrong words, second ear", "WER, second ear", "share", "lower", Ratio("second_errors", "words"),
        "Another recogniser (evaluate.second_ear) writes down the same samples. One ear has deaf spots; what both hear "
        "is the voice’s.",
        code="timbre/asr/second_ear.py, timbre/evaluation/second_opinion.py", files="reports/heard/second-*.json",
        digits=1,
    ),
    "similarity": Measure(
        "second_similarity", "similarity, second encoder", "similarity, second", "cosine", "higher",
        Mean("second_similarity"),
        "Another speaker encoder (evaluate.second_encoder) compares the same samples with the same clips. Its cosines "
        "have a scale of their own; only their order can be compared.",
        code="timbre/evaluation/second_opinion.py", files="reports/embeddings/second-*.json", digits=3,
    ),
}  # fmt: skip
BY_NAME = {measure.name: measure for measure in MEASURES}
COMPARED = tuple(measure for measure in MEASURES if measure.compared)
AMOUNTS = ("errors", "words", "samples", "seconds")  # how much was measured, not how well


@dataclass(frozen=True)
class GateRule:
    """What a gate asks; its limit stands in params.yaml, `evaluate.gates`."""

    asks: str
    unit: Unit | Literal["points"]
    relation: Literal["at least", "at most", "above"]  # of the value to the limit
    end: str = ""  # of an interval, where that is the value

    def text(self, value: float) -> str:
        forms = {
            "share": f"{100 * value:.0f}%",
            "points": f"{100 * value:+.1f} points".replace("-", "−"),
            "cosine": f"{value:+.3f}".replace("-", "−"),
        }
        return forms.get(self.unit, f"{value:.0f}")


GATES = {
    "words": GateRule(
        "tuned + cloning reads no worse than base + cloning and than base", "points", "at most", "upper end"
    ),
    "similarity": GateRule(
        "the adapter brings the voice nearer to the speaker than cloning alone", "share", "at least", "lower end"
    ),
    "named": GateRule("tuned + cloning is taken for the speaker among the known voices", "share", "at least"),
    "reference": GateRule("the clip that is cloned is the speaker's voice", "share", "at least"),
    "ends": GateRule("sentences end by themselves", "share", "at least"),
    "leakage": GateRule("nothing that is judged was learnt", "count", "at most"),
    "preferred": GateRule("people prefer tuned + cloning to base + cloning", "share", "at least", "lower end"),
}


def asks(gate: str) -> str:
    """In words; the name of a gate that this version does not know."""
    return GATES[gate].asks if gate in GATES else gate
