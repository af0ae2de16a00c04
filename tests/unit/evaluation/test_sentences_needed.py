"""How many sentences a wished precision needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from timbre.commands import cli
from timbre.core.errors import DataError
from timbre.evaluation import score_rows
from timbre.evaluation.score_rows import ScoreRow
from timbre.evaluation.sentences_needed import FEWEST, NeededSentences, needed

COLUMNS = "sample,condition,prompt,seed,wer,errors,words,text,heard,similarity"


def spoken(count: int, takes: int = 1) -> list[ScoreRow]:
    """Of base + cloning a tenth of the words is wrong, of tuned + cloning half of that; both find the same hard."""
    random = np.random.default_rng(3)
    lines = [COLUMNS]
    for prompt in range(count):
        hard = random.random() < 0.3
        for condition, rate, like in (("base_clone", 0.1, 0.6), ("tuned_clone", 0.05, 0.9)):
            for seed in range(takes):
                wrong = random.binomial(8, 2.5 * rate if hard else 0.35 * rate)
                similarity = like + random.normal(0, 0.05)
                row = (
                    f"{condition}-{prompt}-{seed}",
                    condition,
                    prompt,
                    seed,
                    wrong / 8,
                    wrong,
                    8,
                    "a",
                    "b",
                    similarity,
                )
                lines.append(",".join(map(str, row)))
    return score_rows.read("\n".join(lines).encode())


def by_name(rows: list[NeededSentences]) -> dict[tuple[str, str], NeededSentences]:
    return {(row.measure, row.other): row for row in rows}


def test_with_as_many_sentences_as_it_says_the_interval_is_as_wished() -> None:
    now = by_name(needed(spoken(300), 0.02))
    assert now.keys() == {(measure, other) for measure in ("wer", "similarity") for other in ("", "base_clone")}
    for key in (("wer", ""), ("wer", "base_clone")):
        row = now[key]
        assert row.sentences == 300
        assert FEWEST < row.needed < 300
        assert by_name(needed(spoken(row.needed), 0.02))[key].half == pytest.approx(0.02, rel=0.25)
    assert now["similarity", ""].needed == FEWEST, "of fewer, no interval can be relied on"


def test_half_the_interval_takes_four_times_the_sentences_and_takes_are_none() -> None:
    wide, narrow = (by_name(needed(spoken(60), half)) for half in (0.02, 0.01))
    for key, row in narrow.items():
        assert row.needed == FEWEST or row.needed == pytest.approx(4 * wide[key].needed, abs=4 + FEWEST)
    assert {row.sentences for row in needed(spoken(60, takes=3), 0.02)} == {60}


def test_one_sentence_tells_nothing_of_others() -> None:
    assert needed(spoken(1), 0.02) == []


def test_the_command_prints_them_and_refuses_what_is_no_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "params.yaml").write_text("")
    (tmp_path / "reports").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"reports/scores\.csv: is missing; no run has made it yet, `dvc repro` does"):
        cli.execute(["estimate", "--prompts", "2"])
    table = tmp_path / "reports/scores.csv"
    rows = [COLUMNS, *(f"tuned_clone-{n}-0,tuned_clone,{n},0,0.125,{n % 2},8,a,b,0.9" for n in range(30))]
    table.write_text("\n".join(rows) + "\n")
    assert cli.execute(["estimate", "--prompts", "2"]) == 0
    out = capsys.readouterr().out
    assert "sentences for intervals of ±2 of 100" in out
    assert "wrong words" in out
    table.write_text(rows[0] + "\n")
    assert cli.execute(["estimate", "--prompts"]) == 0
    assert "fewer than two sentences" in capsys.readouterr().out
    table.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="is no table of scores"):
        cli.execute(["estimate", "--prompts"])
    with pytest.raises(DataError, match="--prompts 0: is not above 0"):
        cli.execute(["estimate", "--prompts", "0"])
