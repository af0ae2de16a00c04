"""The benchmarks' common form: what their tables say, and that the README shows the last results."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import cleaning, gpu, learning, real_speech, table, value
from benchmarks.table import ResultTable, TimedRow
from tests.support.paths import ROOT
from tests.support.segment_factory import heard
from timbre import families
from timbre.core import params
from timbre.core.records import Clip, Label, Recording, Segment, SpeakerTurn
from timbre.core.sections import VoiceParams
from timbre.families import Turn
from timbre.mapping import warm
from timbre.training.batches import Utterance
from timbre.training.influence import Influence

SPEAKING = ResultTable(
    "a minute of speech",
    [
        TimedRow("generate", [60.0, 40.0, 50.0], amount=60),
        TimedRow("lean loop", [10.0, 20.0], amount=120, limit=3.0, extra={"peak MB": 1234.0}),
        TimedRow("on a GPU", skipped="there is none here"),
    ],
    baseline="generate",
    rate="× real time",
)


def test_a_row_shows_its_median_spread_rate_ratio_and_share_of_the_limit() -> None:
    assert table.markdown(SPEAKING).splitlines() == [
        "| a minute of speech | s, median (lowest–highest) | × real time | speed against generate | peak MB | limit, s "
        "| of the limit |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| generate | 50 (40–60) | 1.2 | 1× |  |  |  |",
        "| lean loop | 15 (10–20) | 8 | 6.67× | 1,230 | 3 | 20% |",
        "| on a GPU | – |  |  |  |  |  |",
        "",
        "Not measured: on a GPU; there is none here.",
    ]


BURN = """
import os, sys, time
if os.fork():
    os._exit(0)
while time.process_time() < 0.2:
    pass
open(sys.argv[1], "w").write(str(time.process_time()))
"""


def test_cpu_of_a_process_that_outlived_its_parent_is_counted_once_it_has_ended(tmp_path: Path) -> None:
    before = table.cpu_of_children()
    subprocess.run([sys.executable, "-IS", "-c", BURN, str(tmp_path / "used"), table.WARM], check=True)
    used = table.cpu_of_children() - before
    assert used >= float((tmp_path / "used").read_text()), "it was waited for"
    assert table.WARM == warm.MODULE


def test_times_are_compared_where_a_table_says_so_and_short_ones_are_milliseconds() -> None:
    shown = table.markdown(
        ResultTable("step", [TimedRow("a", [0.01]), TimedRow("b", [0.0305])], baseline="a", compares="time")
    )
    assert shown.splitlines()[0] == "| step | ms | time against a |"
    assert shown.splitlines()[3] == "| b | 30.5 | 3.05× |"


def test_a_result_is_read_back_as_it_was_written_with_what_follows_from_it(tmp_path: Path) -> None:
    facts = table.machine()
    table.write(tmp_path / "a.json", facts, [SPEAKING])
    assert table.read(tmp_path / "a.json") == (facts, [SPEAKING._replace(rows=_listed(SPEAKING.rows))])
    lean = json.loads((tmp_path / "a.json").read_text())["tables"][0]["rows"][1]
    assert (lean["median"], lean["rate"], lean["ratio"], lean["share_of_limit"]) == (15, 8, 6.667, 0.2)


def _listed(rows: list[TimedRow]) -> list[TimedRow]:
    """As JSON knows sequences."""
    return [row._replace(seconds=list(row.seconds) or ()) for row in rows]


def test_machine_facts_tell_no_name_and_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    import platform

    facts = table.machine()
    assert {"cpu", "cores", "memory_gb", "system", "load", "python"} <= set(facts)
    text = json.dumps(facts)
    assert platform.node() not in text.split('"')
    assert "/" not in text.replace("N/A", "")


def test_each_part_is_written_as_soon_as_it_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "--rounds", "5", "--out", str(tmp_path)])

    def measure() -> object:
        yield SPEAKING
        assert len(table.read(tmp_path / "made.json")[1]) == 1
        raise RuntimeError("the second part fails")

    with pytest.raises(RuntimeError):
        table.record("made", measure(), tmp_path)
    facts, tables = table.read(tmp_path / "made.json")
    assert (len(tables), facts["command"]) == (1, "python -m benchmarks.made --rounds 5")


def test_calls_race_turn_by_turn_after_a_warm_up() -> None:
    order: list[str] = []
    seconds = table.race({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, runs=2)
    assert order == ["a", "b"] * 3
    assert {name: len(runs) for name, runs in seconds.items()} == {"a": 2, "b": 2}


def test_the_readme_shows_every_result_as_it_was_last_measured() -> None:
    text = table.README.read_text()
    assert text == table.fill(text), "run `python -m benchmarks.table`"
    shown = set(re.findall(r"<!-- results ([\w-]+) -->", text))
    assert {path.stem for path in table.RESULTS.glob("*.json")} <= shown, "a result without a place in the README"


def test_the_readme_names_every_benchmark_and_no_other() -> None:
    named = set(re.findall(r"`python -m benchmarks\.(\w+)", table.README.read_text()))
    runnable = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if "def main()" in path.read_text()}
    assert named == runnable


def test_the_table_of_the_gpu_goes_on_after_a_part_that_fails_or_takes_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm: Path
) -> None:
    parts = (gpu.GpuRun("nowhere", 60), gpu.GpuRun("encoding", 120, ["--clips", "2", "--seconds", "1"]))
    monkeypatch.setattr(gpu, "PARTS", parts)
    monkeypatch.setattr(sys, "executable", str(warm / "python"))
    line = "gpu --device cpu --size tiny --runs 1 --parts nowhere encoding --out"
    monkeypatch.setattr(sys, "argv", [*line.split(), str(tmp_path)])
    gpu.main()
    lost, codec, *_ = table.read(tmp_path / "gpu.json")[1]
    assert "No module named benchmarks.nowhere" in lost.rows[0].skipped
    assert [row.name for row in codec.rows] == ["each clip whole", "one at once", "4 at once", "16 at once"]
    assert all(row.seconds and row.amount and row.limit for row in codec.rows)


def test_a_part_of_the_gpus_table_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert gpu.attempt(command, 0.2, tmp_path / "errors") == "its 0 s were over"


def test_the_gpus_last_table_holds_the_fastest_of_ours_against_what_one_would_do_instead_and_the_limit() -> None:
    speech = [
        TimedRow("generate, one by one", [0.4], 0.08),
        TimedRow("Timbre, bf16, 1 at once", [0.02], 0.08, 0.004),
        TimedRow("Timbre, bf16, 16 at once", [0.064, 0.032, 0.128], 16 * 0.08, 0.008),
        TimedRow("Timbre, bf16, 64 at once", skipped="the time was over"),
    ]
    alone = ResultTable("steps", [TimedRow("ours", [1.0])], baseline="of others")
    made = gpu.summary([ResultTable("speech", speech, baseline="generate, one by one"), alone])
    one, many = made.rows
    assert (one.name, one.seconds, one.limit) == ("speech: Timbre, bf16, 1 at once", [0.25], 0.05)
    assert one.extra == {"instead": "generate, one by one", "instead, s": 5.0, "times as fast": 20.0}
    assert (many.name, many.extra["times as fast"]) == ("speech: Timbre, bf16, 16 at once", 100.0)
    assert gpu.summary([]).rows[0].skipped, "a run in which every part failed says so"


def test_the_epoch_that_a_gpu_learns_names_every_parameter_of_training() -> None:
    assert learning.epoch_params(8, half=True).batch == 8


def test_the_documented_recipe_is_fed_what_the_processor_makes(tmp_path: Path) -> None:
    from transformers import CsmProcessor

    from benchmarks.recipes import TalkClip, Way, documented, dress, step
    from tests.support.tiny_models import SAMPLE_RATE, random_csm

    voice: Any = families.load(VoiceParams("csm", str(random_csm(tmp_path / "csm")), None))
    sounds = [np.random.default_rng(n).normal(0, 0.1, n * SAMPLE_RATE // 5).astype(np.float32) for n in (3, 5)]
    texts = ["the ferry waits", "green coffee please"]
    codes = [codes["codes"] for codes in voice.encode(sounds)]
    clips = [TalkClip(*parts) for parts in zip(texts, sounds, codes, strict=True)]
    processor = CsmProcessor.from_pretrained(tmp_path / "csm")
    for clip in clips:
        talk = [{"role": "0", "content": [{"type": "text", "text": clip.text}, {"type": "audio", "path": clip.sound}]}]
        theirs = processor.apply_chat_template(talk, tokenize=True, return_dict=True, output_labels=True)
        mine = documented(voice, [clip])
        assert set(mine) == set(theirs)
        assert all((mine[name] == theirs[name]).all() for name in mine)
    for raw in (True, False):
        way = Way("", raw=raw)
        dress(voice, way)
        weights = [weight for weight in voice.model.parameters() if weight.requires_grad]
        step(voice, way, torch.optim.AdamW(weights, 1e-3), clips, 0)
        assert all(weight.abs().max() > 0 for weight in weights), "both recipes teach all of the adapter"
        voice.model = voice.base = voice.model.unload()


def test_the_benchmark_of_value_counts_what_is_named_and_what_mending_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = [*value.KINDS, *[""] * 36]
    true = [Utterance(f"clip{place}", "ann", 1.0, Turn("The ferry waits.")) for place in range(40)]
    clips = [
        clip._replace(turn=Turn("A spoilt clip.")) if kind else clip for clip, kind in zip(true, kinds, strict=True)
    ]
    labels = {
        clip.id: Label(clip.id, "noon", 0.0, 1.0, clip.turn.text, "", 0.2 * (kind in value.KINDS[:3]), None)
        for clip, kind in zip(clips, kinds, strict=True)
    }
    draw = value.PlantedDraw(true, clips, kinds, labels)
    found = [
        Influence(
            clip.id,
            [4.0, 3.0],
            [0.1, 0.1],
            [0.1 + 0.01 * (place % 5)] * 2,
            [9.0 if place == 3 else 1 + 0.1 * (place % 3)] * 2,
        )
        for place, clip in enumerate(clips)
    ]
    monkeypatch.setattr(value, "STATE", tmp_path / "value.json")
    learnt = value.TaughtVoice(4.4, 1.0, found)
    ranked = value.RankedDraw("draw 0", params.read(ROOT / "params.yaml"), draw, learnt)
    both, check, *_, lot = value.found([ranked]).rows
    assert (both.name, both.extra["precision and recall at k"]) == ("label check and gradients", "1.00")
    assert (check.extra["precision and recall at k"], check.extra["noise, at its k"]) == ("0.75", "0.00")
    assert lot.extra["precision and recall at k"] == "0.10"

    trainings = []

    def taught(settings: Any, clips: Any) -> value.TaughtVoice:
        trainings.append(clips)
        spoilt = sum(clip.turn.text == "A spoilt clip." for clip in clips)
        return value.TaughtVoice(4.0 + 0.1 * spoilt, 1.0, [])

    monkeypatch.setattr(value, "taught", taught)
    rows = value.mended([ranked]).rows
    changes = {row.name: str(row.extra["held-out loss"]).partition(" ")[0] for row in rows}
    assert changes["named mended"] == changes["named dropped"] == changes["all errors mended"] == "−0.4000"
    by_lot = float(changes["drawn by lot dropped"].replace("−", "-"))
    assert by_lot > -0.25
    named = float(changes["named dropped − drawn by lot dropped"].replace("−", "-"))
    assert named == pytest.approx(-0.4 - by_lot)
    assert value.mended([ranked]).rows == rows
    assert len(trainings) == 4, "the next call goes on from what is kept"


def test_what_is_taken_from_a_voice_is_noise_and_its_loudness_is_not() -> None:
    draw = np.random.default_rng(0)
    voice, noise = draw.standard_normal((2, 16_000)).astype(np.float32)
    noise -= np.dot(noise, voice) / np.dot(voice, voice) * voice
    mixed = voice + 0.1 * noise / np.sqrt(np.mean(noise**2)) * np.sqrt(np.mean(voice**2))
    assert cleaning.fidelity(mixed, voice) == pytest.approx(20, abs=0.01)
    assert cleaning.fidelity(3 * mixed, voice) == pytest.approx(20, abs=0.01)
    assert cleaning.fidelity(np.where(np.arange(16_000) % 2, voice, 0), voice) == pytest.approx(0, abs=0.3)


def test_own_lines_that_are_left_out_and_others_lines_that_are_kept_are_counted() -> None:
    lines = [cleaning.MixedTurn(0, 4, "ann"), cleaning.MixedTurn(5, 8, "bob"), cleaning.MixedTurn(9, 12, "ann")]
    right = [SpeakerTurn(0, 4, 1), SpeakerTurn(5, 8, 2), SpeakerTurn(9, 12, 1)]
    assert cleaning.decided(lines, right, "ann", alone=False) == (0, 2, 0, 1)
    assert cleaning.decided(lines, [SpeakerTurn(0, 12, 1)], "ann", alone=False) == (0, 2, 1, 1)
    torn = [SpeakerTurn(0, 8, 1), SpeakerTurn(9, 12, 2)]
    assert cleaning.decided(lines, torn, "ann", alone=False) == (1, 2, 1, 1)


def test_a_clip_that_ends_within_a_sentence_could_end_with_it_unless_that_is_too_long() -> None:
    said = [(0, 4, "One, two,"), (4.2, 8, "three."), (8.4, 12, "Four,"), (12.2, 16, "five,"), (16.2, 20, "six.")]
    lines = [Segment("talk", start, end, "ann", text) for start, end, text in said]
    about = Recording("talk", "ann", "en", "", "", "", "", 16_000, 21.0)
    draft = real_speech.RealDraft(about, lines, heard(lines, until=21))
    limits = replace(params.read(real_speech.PRESET).chunk, max_seconds=10.0)

    def clip(end: float, text: str) -> Clip:
        return Clip("", "talk", "ann", 0, end, [[0, end]], end, text)

    assert not real_speech.within_too_long(clip(4.1, "One, two,"), draft, limits), "eight seconds fit"
    assert real_speech.within_too_long(clip(12.1, "Four,"), draft, limits), "twelve do not"
    cut = [(clip(4.1, "One, two,"), draft), (clip(8.1, "Three."), draft), (clip(12.1, "Four,"), draft)]
    assert real_speech.ended(cut, limits) == "1 end with a sentence, of 2 that could"
