"""`timbre estimate`: what it answers for each model and device, and where it says that a figure comes from."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT
from timbre.commands import cli, estimate
from timbre.core import errors
from timbre.families.sovits.shape import SPEAKERS, STAGE2
from timbre.training import cost_estimate, timing


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    presets = ("presets/csm-1b.yaml", "presets/orpheus-3b.yaml")
    for name in ("params.yaml", *presets, "data/prompts.tsv", "models/tiny/csm/config.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("stages", "timbre"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(estimate, "this_machine", lambda: cost_estimate.cpu(2, 24e9))
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert cli.execute(["estimate", "--json", *arguments]) == 0
    return dict(json.loads(capsys.readouterr().out))


def growth(capsys: pytest.CaptureFixture[str], stage: str, *arguments: str, at: float = 5) -> float:
    """Seconds of the stage for as many minutes again: without what it takes to start and to load a model."""
    once, twice = (run(capsys, "--minutes", str(minutes), *arguments)["stages"] for minutes in (at, 2 * at))
    return float(twice[stage]["seconds"]) - float(once[stage]["seconds"])


def test_the_tiny_orpheus_is_known_with_its_codec(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in (
        "presets/tiny-orpheus.yaml",
        "models/tiny/orpheus/config.json",
        "models/tiny/orpheus/snac/config.json",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    own = cost_estimate.read_shape("orpheus", "models/tiny/orpheus")
    assert (own.frame_rate, own.codes) == (87.5, 1024)
    orpheus = ("--model", "tiny-orpheus")
    before, encoded = run(capsys, *orpheus, "--minutes", "5")["stages"], growth(capsys, "encode", *orpheus)
    (root / "models/tiny/orpheus/snac/config.json").unlink()
    public = cost_estimate.read_shape("orpheus", "models/tiny/orpheus")
    assert public.codec.weights == pytest.approx(19.84e6, rel=0.05), "the public one"
    after = run(capsys, *orpheus, "--minutes", "5")["stages"]
    assert growth(capsys, "encode", *orpheus) > 2 * encoded
    assert after["generate"]["seconds"] > before["generate"]["seconds"] + 10, "its sound costs more"


def test_a_larger_dataset_costs_more_and_a_faster_device_less(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small, large, fast = (
        run(capsys, "--model", "csm-1b", "--minutes", minutes, "--device", device)["stages"]
        for minutes, device in (("25", "cpu"), ("250", "cpu"), ("25", "h200"))
    )
    for stage in ("fetch", "transcribe", "chunk", "check", "encode"):
        few, many = (growth(capsys, stage, "--model", "csm-1b", "--device", "cpu", at=at) for at in (25, 250))
        assert many == pytest.approx(10 * few, rel=0.05)
    assert large["train"]["seconds"] > 10 * small["train"]["seconds"], "evaluations grow in length and in number"
    assert fast["train"]["seconds"] < small["train"]["seconds"] / 50
    assert fast["generate"]["seconds"] < small["generate"]["seconds"] / 20
    assert all(fast[stage]["seconds"] <= small[stage]["seconds"] for stage in small)


def test_each_stage_of_the_pipeline_has_a_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    lines = run(capsys, "--minutes", "5")["stages"]
    assert set(lines) == set(stages)
    assert all(line["seconds"] >= min(cost_estimate.START.values()) for line in lines.values())


def test_more_points_to_listen_to_cost_more(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def listening() -> float:
        return float(run(capsys, "--minutes", "5")["stages"]["listen"]["seconds"])

    three, text = listening(), (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(re.sub(r"(?m)^  points: 3", "  points: 9", text))
    assert listening() - cost_estimate.START["voice"] == pytest.approx(
        4 * (three - cost_estimate.START["voice"]), abs=0.1
    )


def test_a_family_says_itself_how_much_of_a_frame_it_learns(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def seconds(model: str) -> tuple[float, float]:
        preset = root / f"presets/{model}.yaml"
        before = run(capsys, "--model", model, "--minutes", "5", "--device", "cpu")["stages"]["train"]["seconds"]
        preset.write_text(preset.read_text().replace("depth_share: 0.0625", "depth_share: 0.5"))
        return before, run(capsys, "--model", model, "--minutes", "5", "--device", "cpu")["stages"]["train"]["seconds"]

    few, many = seconds("csm-1b")
    assert many > 1.2 * few
    few, many = seconds("orpheus-3b")
    assert few == many, "csm.depth_share is another family's"


def test_an_unknown_model_is_told_which_there_are(root: Path) -> None:
    with pytest.raises(errors.DataError, match="there are tiny, csm-1b, orpheus-3b"):
        cli.execute(["estimate", "--model", "csm-2b", "--minutes", "5"])


def test_a_published_model_has_the_weights_that_it_has() -> None:
    large = cost_estimate.read_shape("csm", "sesame/csm-1b")
    assert large.weights + large.codec.weights == pytest.approx(1.63e9, rel=0.01)
    with pytest.raises(cost_estimate.ModelError, match="name a folder"):
        cost_estimate.read_shape("csm", "nobody/a-voice")


@pytest.mark.parametrize(("model", "weights"), [("xtts", 440), ("sovits", 77)])
def test_the_other_families_answer_by_their_presets(
    root: Path, capsys: pytest.CaptureFixture[str], model: str, weights: int
) -> None:
    shutil.copy(ROOT / f"presets/{model}.yaml", root / "presets")
    found = run(capsys, "--model", model, "--minutes", "30", "--device", "4090")
    assert f"{weights} million weights" in found["voice"]
    assert ("train stage 2" in found["stages"]) == (model == "sovits")
    assert all(line["seconds"] > 0 for line in found["stages"].values())
    preset = root / f"presets/{model}.yaml"
    preset.write_text(preset.read_text().replace("  stage2: true", "  stage2: false"))
    without = run(capsys, "--model", model, "--minutes", "30", "--device", "4090")
    assert "train stage 2" not in without["stages"]
    assert sum(without["memory_gb"].values()) <= sum(found["memory_gb"].values())


def gpt_sovits(folder: Path, *files: str) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"PK")
    return folder


@pytest.mark.parametrize(
    ("files", "weights"),
    [
        (("gsv-v2final-pretrained/s2G2333k.pth",), 51.3e6),
        (("v2Pro/s2Gv2Pro.pth", SPEAKERS), 79.4e6),
        (("v2Pro/s2Gv2ProPlus.pth", SPEAKERS), 98.3e6),
        (("gsv-v2final-pretrained/s2G2333k.pth", "v2Pro/s2Gv2ProPlus.pth", SPEAKERS), 51.3e6),
        ((SPEAKERS,), 79.4e6),
    ],
)
def test_a_gpt_sovits_is_known_by_its_files(tmp_path: Path, files: tuple[str, ...], weights: float) -> None:
    shape = cost_estimate.read_shape("sovits", str(gpt_sovits(tmp_path / "base", *files)))
    assert shape.codec.weights == pytest.approx(weights + 94.4e6 + (45.6e6 if weights > 52e6 else 0))


def test_an_exported_v2proplus_is_known_by_how_it_begins(tmp_path: Path) -> None:
    folder = gpt_sovits(tmp_path / "base", "marina.pth", SPEAKERS)
    (folder / "marina.pth").write_bytes(b"06")
    assert cost_estimate.read_shape("sovits", str(folder)).waves == STAGE2["v2ProPlus"].training


@pytest.mark.parametrize("version", list(STAGE2))
def test_a_gpt_sovits_that_is_not_here_yet_is_known_by_its_name(version: str) -> None:
    name = "models/gpt-sovits" + ("" if version == "v2" else f"-{version.lower()}")
    assert cost_estimate.read_shape("sovits", name).waves == STAGE2[version].training


def test_a_v2proplus_costs_more_to_encode_and_to_learn(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(ROOT / "presets/sovits.yaml", root / "presets")
    asked = ("--model", "sovits", "--minutes", "30", "--device", "cpu")
    small = run(capsys, *asked)
    gpt_sovits(root / "models/gpt-sovits", "v2Pro/s2Gv2ProPlus.pth", SPEAKERS)
    large = run(capsys, *asked)
    for stage in ("encode", "train stage 2"):
        assert large["stages"][stage]["seconds"] > 1.3 * small["stages"][stage]["seconds"]
    assert large["stages"]["train"] == small["stages"]["train"], "their first stages are alike"
    assert sum(large["memory_gb"].values()) > sum(small["memory_gb"].values())


def test_without_a_dataset_one_says_how_many_minutes(root: Path) -> None:
    with pytest.raises(errors.DataError, match="or say --minutes"):
        cli.execute(["estimate"])
    with pytest.raises(errors.DataError, match="not above 0"):
        cli.execute(["estimate", "--minutes", "0"])


def test_what_the_last_run_measured_here_is_taken_and_said_and_nothing_elses(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = run(capsys, "--minutes", "5")["stages"]
    assert {line["source"] for line in before.values()} == {"computed"}
    (root / "models/adapter").mkdir()
    (root / f"models/adapter/{timing.WEIGHTS}").write_bytes(b"weights")
    timing.write(root / "models/speed.json", root / "models/adapter", [{"step": 1, "seconds": 100.0}])
    (root / "reports").mkdir()
    (root / "reports/speed.json").write_text('{"real_time_factor": 2.0, "samples": 4}')
    after = run(capsys, "--minutes", "5")["stages"]
    assert {name for name, line in after.items() if line["source"] != "computed"} == {"train", "generate"}
    assert after["train"]["seconds"] > 100 * 40
    assert after["train"]["source"] == "measured in the last run, over 1 step"
    assert after["generate"]["source"] == "measured in the last run, over 4 samples"
    for other in (["--device", "h200"], ["--model", "csm-1b"]):
        lines = run(capsys, "--minutes", "5", *other)["stages"].values()
        assert {line["source"] for line in lines} == {"computed"}, "of another device or model"


def test_what_was_not_measured_is_said_with_what_it_rests_on(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.execute(["estimate", "--minutes", "5", "--model", "csm-1b", "--device", "h200"]) == 0
    text = capsys.readouterr().out
    assert text.count("(computed, not measured)") >= 6
    assert "basis   the maker's figures; that 33% of them is reached is assumed and was not measured" in text
    assert "87 GFLOP/s of each core" in run(capsys, "--minutes", "5")["basis"]


def test_a_processor_is_taken_as_fast_as_it_is(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    estimate.core_speed.cache_clear()
    assert 1e8 < estimate.core_speed() < 1e13, "between an old telephone and no core that there is"
    asked = ("--minutes", "5", "--device", "cpu")
    speed = f"{estimate.core_speed() / 1e9:.0f} GFLOP/s of each core"
    assert run(capsys, *asked)["basis"].startswith(speed), "measured once"


def test_a_faster_core_helps_a_large_model_and_no_small_one() -> None:
    slow, fast = (cost_estimate.cpu(2, 24e9, core) for core in (50e9, 100e9))
    assert fast.pace(1e9) == pytest.approx(2 * slow.pace(1e9))
    assert fast.pace(1e6) == slow.pace(1e6)


def test_a_base_in_a_folder_is_hashed_and_loaded_by_each_stage(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = run(capsys, "--minutes", "5")["stages"]
    with (root / "models/tiny/csm/weights.safetensors").open("wb") as stream:
        stream.truncate(round(10 * cost_estimate.HASHED))
    after = run(capsys, "--minutes", "5")["stages"]
    longer = {name for name, line in after.items() if line["seconds"] == pytest.approx(before[name]["seconds"] + 10)}
    assert longer == {"encode", "train", "generate", "listen", "evaluate"}


def test_each_other_voice_is_embedded(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = run(capsys, "--minutes", "5")["stages"]["evaluate"]["seconds"]
    for number in range(100):
        path = root / f"models/tiny/voices/voice-{number}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    after = run(capsys, "--minutes", "5")["stages"]["evaluate"]["seconds"]
    least = cost_estimate.EARS["models/tiny/speaker"].least
    assert after - before == pytest.approx(100 * least, rel=0.05)


def test_slots_that_no_sentence_fills_compute_too(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two prompts in four conditions: four samples of each voice."""
    shutil.copy(ROOT / "presets/csm-1b.yaml", root / "presets")
    (root / "data/prompts.tsv").write_text("id\tkind\ttext\none\tdomain\tWait here.\ntwo\tdomain\tGo on.\n")
    preset = root / "presets/csm-1b.yaml"
    text = preset.read_text().replace("true_prompts: 3", "true_prompts: 0")

    def seconds(slots: int) -> float:
        preset.write_text(re.sub(r"(?ms)(^generate:.*?^  batch:) \d+", rf"\1 {slots}", text))
        lines = run(capsys, "--model", "csm-1b", "--minutes", "5", "--device", "cpu")["stages"]
        return float(lines["generate"]["seconds"])

    assert seconds(4) < seconds(24) - 1


def test_where_memory_does_not_suffice_it_says_what_to_change(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = cost_estimate.Device("small", 71e12, 35e12, 9e11, 4.5e9, True, 0.33, 0.33, 0)
    monkeypatch.setitem(cost_estimate.DEVICES, "3090", small)
    arguments = ["--model", "csm-1b", "--minutes", "60", "--device", "3090"]
    assert run(capsys, *arguments)["advice"] == ["train.batch: 4, with train.accumulation: 2"]
    preset = root / "presets/csm-1b.yaml"
    preset.write_text(preset.read_text().replace("gradient_checkpointing: true", "gradient_checkpointing: false"))
    assert run(capsys, *arguments)["advice"][0] == "train.gradient_checkpointing: true"
    assert cli.execute(["estimate", *arguments]) == 0
    assert "does not fit; change train.gradient_checkpointing: true, then" in capsys.readouterr().out
    assert run(capsys, *arguments[:-1], "h200")["advice"] == []
