"""What is judged must not have been learnt, and a voice is told from others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.paths import ROOT
from timbre.core.errors import DataError
from timbre.core.records import Example
from timbre.core.sections import GateParams
from timbre.evaluation import gates, metrics, speaker_encoder, speaker_similarity
from timbre.evaluation.metrics import Evidence, Gate, Preference, Speaker

TINY = ROOT / "models/tiny"


def example(name: str, text: str, start: float = 0.0, **changes: str) -> Example:
    made = Example(f"data/clips/{name}.flac", text, "ann", name, "talk", start, start + 3.0, 3.0)
    return replace(made, **changes)  # type: ignore[arg-type]


TRAIN = [
    example("a", "The ferry waits.", 0.0),
    example("b", "Green coffee to Oslo.", 4.0),
    replace(example("d", "Please. The early train waits. Please.", 20.0), end=40.0),
    example("e", "Nobody.", 21.0),
]


@pytest.mark.parametrize(
    ("held", "prompts", "told"),
    [
        (example("c", "The train waits.", 8.0), {"p": "Another text."}, None),
        (example("c", "the ferry waits!", 8.0), {}, "c: is for evaluation, and a of training says the same"),
        (example("c", "The train waits.", 1.0), {}, "c: is for evaluation, and shares sound with a of training"),
        (example("c", "The train waits.", 6.8), {}, None),  # of the padding's length
        (example("c", "The train waits.", 1.0, recording="walk"), {}, None),
        (example("b", "The train waits.", 90.0), {}, "b: is for evaluation, and shares sound with b"),
        (example("c", "The train waits.", 8.0), {"p": "Green coffee to Oslo"}, "prompt p: b of training says the same"),
        (example("c", "The train waits.", 8.0), {"true-c": "The train waits."}, None),
        (
            example("c", "Thanks. The early train waits.", 8.0),
            {},
            "c: is for evaluation, and d of training says the same",
        ),
        (example("c", "Please. Two words.", 8.0), {}, None),  # a common phrase is nobody's
        (example("c", "Another.", 8.0), {"p": "The early train waits!"}, "prompt p: d of training says the same"),
        (example("c", "A train.", 25.0), {}, "c: is for evaluation, and shares sound with d of training"),
    ],
)
def test_what_is_learnt_and_judged_is_told(held: Example, prompts: dict[str, str], told: str | None) -> None:
    found = list(gates.leaks(TRAIN, [held], prompts))
    assert [line.startswith(told or "?") for line in found] == ([True] if told else [])


LARGE = 4_000


def test_leaks_are_looked_for_once_per_clip() -> None:
    many = [example(f"t{n}", f"Sentence number {n} of the training set.", 4.0 * n) for n in range(LARGE)]
    rows = (example(f"h{n}", f"Sentence number {n} of the evaluation set.", 4.0 * n + 3.0) for n in range(LARGE))
    held = [replace(row, end=row.start + 1.0) for row in rows]
    comparisons = 0

    class Counted(float):
        def __lt__(self, other: float) -> bool:
            nonlocal comparisons
            comparisons += 1
            return float(self) < other

    assert not list(gates.leaks([replace(row, start=Counted(row.start)) for row in many], held, {}))
    assert comparisons < LARGE * 40, "to look at each training clip for each of evaluation would be 16 million"


def test_other_voices_are_a_file_each_or_a_folder_and_the_other_speakers_of_the_dataset(tmp_path: Path) -> None:
    for name in ("mira/0.flac", "mira/1.flac", "ben.wav", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    rows = [example(f"c{n}", "A text.", source="carl") for n in range(9)]
    found = list(speaker_similarity.other_sounds(tmp_path, rows, Path("data/clips")))
    assert {sound.entry for sound in found if sound.voice != "carl"} == {"other-mira-0", "other-mira-1", "other-ben"}
    assert sum(sound.voice == "carl" for sound in found) == speaker_similarity.CLIPS
    (tmp_path / "Up There").mkdir()
    (tmp_path / "Up There/0.flac").touch()
    with pytest.raises(DataError, match="'Up There' cannot be an id"):
        list(speaker_similarity.other_sounds(tmp_path, [], Path()))
    with pytest.raises(DataError, match=r"no such folder \(evaluate.others in params.yaml\)"):
        list(speaker_similarity.other_sounds(tmp_path / "none", [], Path()))


def test_the_ceiling_never_holds_a_clip_against_itself() -> None:
    true = [speaker_encoder.unit(np.eye(3)[n] + 0.1) for n in range(3)]
    assert (speaker_encoder.ceiling(true, true) or 1) < 0.5
    assert speaker_encoder.ceiling(true[:1], true[:1]) is None


def gates_of(value: float | None, named: float, words: float = 0.0) -> Evidence:
    numbers: dict[str, float | None] = {"words": words, "similarity": value, "named": named, "reference": 1, "ends": 1}
    return Evidence(
        gates={name: Gate(number is not None and number < 0.9, number, 0.5) for name, number in numbers.items()}
    )


def test_of_several_speakers_the_worst_decides_and_who_was_not_measured_is_the_worst() -> None:
    limits = GateParams(words=0.05, similarity=0.1, named=0.5, reference=1.0, ends=0.95, leakage=0, preferred=0.5)
    speakers = {"ann": gates_of(0.4, 0.8, words=0.01), "bob": gates_of(None, 0.3, words=0.2)}
    people = Evidence(preferences={"tuned_clone-base_clone": Preference(share_low=0.6)})
    judged = gates.of_all(speakers, people, 2, limits)
    assert judged["words"].value == 0.2
    assert judged["similarity"].value is None
    assert not judged["similarity"].passed
    assert judged["named"].value == 0.3
    assert (judged["leakage"].passed, judged["leakage"].value) == (False, 2.0)
    assert judged["preferred"].passed, "people are asked of all together"


def test_evidence_of_several_speakers_is_written_and_read_back() -> None:
    each = {"ann": gates_of(0.25, 0.5), "bob": gates_of(None, 0.75)}
    own = Speaker.mean([Speaker(0.9, 0.1), Speaker(0.7, None)])
    assert (own.ceiling, own.floor) == (pytest.approx(0.8), None)
    both = Evidence(gates=each["ann"].gates, speaker=Speaker(0.8), speakers=each)
    assert metrics.from_dict(metrics.to_dict(both)) == both
    assert "speakers" not in metrics.to_dict(each["ann"])
