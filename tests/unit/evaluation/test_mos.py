"""What DNSMOS thinks of samples, at its boundary: what it is given, what is kept, and that nothing hangs on it."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.dnsmos import Given, judged, put_in_place
from tests.support.fake_outputs import write_samples
from timbre.commands import summary
from timbre.evaluation import mos

PROMPTS = {"ferry": "The captain stops the night ferry again.", "one": "Harbour."}
SOUND = np.full(24_000, 0.25, np.float32)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Given:
    return put_in_place(monkeypatch)


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.setitem(sys.modules, "speechmos", None)


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    write_samples(tmp_path / "reports/samples", PROMPTS)
    return tmp_path / "reports/samples"


def test_it_hears_16_khz_within_full_scale_and_its_overall_opinion_counts(given: Given) -> None:
    loud = np.where(np.arange(24_000) // 120 % 2, 1.0, -1.0).astype(np.float32)  # resampled, it overshoots
    assert [mos.predicted(loud, 24_000), mos.predicted(SOUND, 24_000)] == [2.125, 2.25]
    assert len(given[0]) == 16_000


def test_a_sample_without_sound_is_the_worst_and_not_a_clean_line(given: Given) -> None:
    assert mos.predicted(np.zeros(24_000, np.float32), 24_000) == 1
    assert not given


def test_only_new_samples_are_judged_and_a_condition_has_the_mean_of_its_own(given: Given, samples: Path) -> None:
    assert judged(samples) == {"base": 2.188, "base_clone": 2.438, "tuned": 2.688, "tuned_clone": 2.938}
    before = (samples.parent / "mos.json").read_bytes()
    judged(samples)
    assert len(given) == 8
    assert (samples.parent / "mos.json").read_bytes() == before
    (samples / "tuned-one-0.flac").write_bytes((samples / "base-one-0.flac").read_bytes())
    assert mos.read(samples.parent / "mos.json", samples) == {}, "opinions on other samples are not shown"
    assert judged(samples)["tuned"] == round((2.625 + 3.125) / 2, 3)
    assert len(given) == 9


def test_without_the_package_nothing_is_written_and_nothing_shown(
    given: Given, missing: Callable[[], None], samples: Path
) -> None:
    missing()
    assert mos.predicted(SOUND, 24_000) is None
    assert judged(samples) == {}
    assert not (samples.parent / "mos.json").exists()


def test_what_was_judged_stays_when_the_package_goes(given: Given, missing: Callable[[], None], samples: Path) -> None:
    before = judged(samples)
    missing()
    assert judged(samples) == before


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"base-ferry-0": 3}', '{"base-ferry-0": {"sha256": "0"}}'])
def test_a_damaged_file_is_as_good_as_none(given: Given, samples: Path, content: str) -> None:
    (samples.parent / "mos.json").write_text(content)
    assert mos.read(samples.parent / "mos.json", samples) == {}
    assert len(judged(samples)) == 4


def test_the_summary_shows_opinions_only_where_there_are_some(
    given: Given, samples: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(samples.parent.parent)
    Path("reports/metrics.json").write_text(json.dumps({"base": {"wer": 0.5}, "tuned_clone": {"wer": 0.25}}))
    summary.command(Namespace(readme=False, json=False))
    assert "DNSMOS" not in capsys.readouterr().out
    judged(samples)
    summary.command(Namespace(readme=False, json=False))
    shown = "opinion of 1 to 5 that DNSMOS predicts: base 2.19; base + cloning 2.44; tuned 2.69; tuned + cloning 2.94"
    assert shown in capsys.readouterr().out
