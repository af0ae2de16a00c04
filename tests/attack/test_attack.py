"""A seeded share of `make attack`: hostile inputs end in one line, soon, and change nothing on the terminal."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.attack import entrances, harness, voices
from tests.attack.hostile import Hostile
from timbre.project import opinions

INPUTS, SEED = 210, 13
SECONDS = 30  # of the processor for one input; what hangs takes for ever, and a busy machine is no finding


@pytest.fixture
def ways_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[harness.Entrance]:
    monkeypatch.chdir(tmp_path)
    quiet = {"disable": True, "n": 0, "total": None}  # bars write carriage returns, which are no finding
    monkeypatch.setattr("tqdm.std.tqdm.__init__", lambda bar, rows=(), **_: vars(bar).update(quiet, iterable=rows))
    return entrances.entrances(tmp_path)


def test_no_hostile_input_ends_in_a_traceback_a_hang_or_a_control_character(
    ways_in: list[harness.Entrance], tmp_path: Path
) -> None:
    findings = harness.run(ways_in, INPUTS, SEED, lambda *_: None, SECONDS)
    assert not findings, harness.described(findings)


def test_the_harness_finds_each_of_the_three() -> None:
    def endless(hostile: Hostile) -> None:
        while True:
            pass

    attacks = {
        "traceback": lambda hostile: {}["missing"],
        "hang": endless,
        "raw": lambda hostile: sys.stderr.write("\x1b[2J"),
        "": lambda hostile: print("\x1b[2J"),
    }
    for kind, attack in attacks.items():
        finding = harness.attempt(harness.Entrance("x", attack), 1, 0.5)
        assert (finding.kind if finding else "") == kind


def test_every_entrance_is_met_by_a_short_run(ways_in: list[harness.Entrance]) -> None:
    assert {entrance.name for entrance, _ in harness.plan(ways_in, INPUTS, SEED)} == {one.name for one in ways_in}


def test_the_answers_of_a_listener_come_to_the_file_time_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written: list[object] = []
    monkeypatch.setattr(opinions, "add", lambda listener, rows: written.append(rows))
    attack = harness.Entrance("listening", voices.listening_requests())
    for seed in range(60):
        harness.attempt(attack, seed, SECONDS)
    assert len(written) > 3
