"""What Whisper heard becomes numbers: by known answers, and with a small random Whisper where one must listen."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soundfile

from stages import evaluate
from tests.outs import RATE, SENTENCES, write_samples
from timbre import whisper
from timbre.errors import DataError
from timbre.records import Sample


def sample(text: str, **changes: object) -> Sample:
    made = Sample("base-p-0", "base", "p", text, 0, None, None, "b", 2.0, True, "k")
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "heard", "errors", "words", "diff"),
    [
        ("The ferry waits.", "the ferry waits", 0, 3, "the ferry waits"),
        ("The ferry waits.", "The berry waits!", 1, 3, "the [-ferry-] {+berry+} waits"),
        ("The ferry waits.", "Ferry waits.", 1, 3, "[-the-] ferry waits"),
        ("The ferry waits.", "The old ferry waits here.", 2, 3, "the {+old+} ferry waits {+here+}"),
        ("The ferry waits.", "", 3, 3, "[-the ferry waits-]"),
        ("It's at pier five.", "It is at pier 5.", 0, 5, "it is at pier 5"),
        ("Harbour.", "Our bear.", 2, 1, "{+our+} [-harbor-] {+bear+}"),
    ],
)
def test_a_score_counts_the_words_that_differ(said: str, heard: str, errors: int, words: int, diff: str) -> None:
    score = evaluate.score(sample(said), heard, silent=False)
    assert (score.errors, score.words, score.diff) == (errors, words, diff)
    assert score.wer == round(errors / words, 4)


def test_a_condition_weighs_words_and_not_samples() -> None:
    scores = [
        evaluate.score(sample("Harbour."), "Ferry.", silent=False),
        evaluate.score(sample("The old ferry waits for the morning train again today."), "", silent=True),
        evaluate.score(
            sample("The quiet train leaves the station.", ended=False), "The quiet train leaves the station.", False
        ),
    ]
    metric = evaluate.summarise(scores)
    assert (metric.errors, metric.words, metric.wer) == (11, 17, round(11 / 17, 4))
    assert (metric.samples, metric.silent, metric.ended) == (3, 1, 0.6667)


def test_the_rate_is_that_of_jiwer_alone() -> None:
    random = np.random.default_rng(3)
    words = ["the", "a", "ferry", "train", "waits", "leaves", "at", "for", "old", "silver", "station", "harbour"]
    said = [" ".join(random.choice(words, 8)) for _ in range(50)]
    heard = [" ".join(w if random.random() < 0.7 else random.choice(words) for w in text.split()) for text in said]
    metric = evaluate.summarise([evaluate.score(sample(a), b, False) for a, b in zip(said, heard, strict=True)])
    said, heard = ([whisper.normalise(text) for text in texts] for texts in (said, heard))
    assert metric.wer == round(jiwer.wer(said, heard), 4)
    assert metric.cer == round(jiwer.cer(said, heard), 4)


def test_a_prompt_without_words_is_refused() -> None:
    with pytest.raises(DataError, match=r"prompt p: '…' has no words to be heard; mend data/prompts.tsv"):
        evaluate.score(sample("…"), "", silent=False)


def test_every_condition_must_speak_every_prompt(tmp_path: Path) -> None:
    write_samples(tmp_path)
    (tmp_path / "tuned-ferry-0.json").unlink()
    (tmp_path / "base-train-0.flac").unlink()
    with pytest.raises(DataError) as error:
        evaluate.read_samples(tmp_path)
    assert "tuned-ferry-0.json: missing, while other conditions speak this prompt" in str(error.value)
    assert "base-train-0.flac: missing" in str(error.value)


def test_no_samples_at_all_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no samples"):
        evaluate.read_samples(tmp_path)


@pytest.fixture
def listening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with samples, and a Whisper that hears noise."""
    import torch
    from whisper.model import ModelDimensions, Whisper

    torch.manual_seed(0)
    dims = ModelDimensions(80, 1500, 32, 2, 1, 51864, 64, 32, 2, 1)
    torch.save({"dims": dims.__dict__, "model_state_dict": Whisper(dims).state_dict()}, tmp_path / "whisper.pt")
    write_samples(tmp_path / "samples", {name: SENTENCES[name] for name in ("ferry", "one")})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluate, "read", lambda section, schema: whisper.Params("whisper.pt"))
    flags = "--samples samples --out heard --scores scores.csv --wer wer.csv --metrics metrics.json"
    monkeypatch.setattr("sys.argv", ["evaluate", *flags.split()])
    return tmp_path


def test_only_new_samples_are_heard_and_what_is_written_is_stable(
    listening: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    silence = np.zeros(RATE, np.float32)
    soundfile.write(listening / "samples/tuned-one-0.flac", silence, RATE, subtype="PCM_16")
    evaluate.main()
    assert "8 computed" in capsys.readouterr().out
    names = ("scores.csv", "wer.csv", "metrics.json")
    before = {name: (listening / name).read_bytes() for name in names}

    evaluate.main()
    assert "0 computed, 8 kept" in capsys.readouterr().out
    assert before == {name: (listening / name).read_bytes() for name in names}

    metrics = json.loads(before["metrics.json"])
    assert list(metrics) == ["base", "base_clone", "tuned", "tuned_clone"]
    assert {"wer", "cer", "samples", "ended"} <= set(metrics["base"])
    assert metrics["tuned"]["silent"] == 1
    with (listening / "scores.csv").open() as lines:
        rows = {row["sample"]: row for row in csv.DictReader(lines)}
    assert len(rows) == 8
    assert (rows["tuned-one-0"]["heard"], rows["tuned-one-0"]["wer"]) == ("", "1.0"), "Whisper invents words in silence"

    soundfile.write(listening / "samples/base-ferry-0.flac", silence, RATE, subtype="PCM_16")
    evaluate.main()
    assert "1 computed, 7 kept" in capsys.readouterr().out


def test_another_whisper_hears_everything_again(listening: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate.main()
    checkpoint = listening / "whisper.pt"
    import torch

    content = torch.load(checkpoint)
    content["model_state_dict"]["decoder.positional_embedding"] += 1
    torch.save(content, checkpoint)
    capsys.readouterr()
    evaluate.main()
    assert "8 computed" in capsys.readouterr().out
