"""GPT-SoVITS' files: loaded strictly, and one clear line for what is damaged, foreign or of another version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.tiny_sovits import S1, S2D, S2G, random_sovits
from timbre.core.errors import ModelError
from timbre.families.sovits import load


@pytest.fixture(scope="module", params=["v2", "v2Pro"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_sovits(tmp_path_factory.mktemp("models") / request.param, request.param)


def test_released_files_load_without_upstream_s_classes(folder: Path) -> None:
    first = load.stage1_of(load.read_file(folder / S1))
    second = load.stage2_of(load.read_file(folder / S2G))
    judges = load.discriminators_of(load.read_file(folder / S2D), folder.name)
    assert len(first.h.layers) == 2
    assert second.pro == (folder.name == "v2Pro")
    assert len(judges.discriminators) == (8 if second.pro else 6)


def test_an_exported_voice_speaks_and_says_that_it_cannot_be_trained(folder: Path, tmp_path: Path) -> None:
    saved = change(folder / S2G, lambda weight: [weight.pop(key) for key in list(weight) if key.startswith("enc_q.")])
    torch.save(saved, tmp_path / "voice.pth")
    if folder.name == "v2Pro":  # in place of the zip file's first two bytes
        (tmp_path / "voice.pth").write_bytes(b"05" + (tmp_path / "voice.pth").read_bytes()[2:])
    file = load.read_file(tmp_path / "voice.pth")
    assert load.exported(file)
    model = load.stage2_of(file)
    assert model.enc_q is None
    voice = torch.zeros(1, 512, 1), torch.zeros(1, 512, 1)
    sound = model.speak(torch.tensor([[1, 2]]), torch.tensor([[3]]), voice, torch.zeros(1, 16, 4))
    assert sound.shape == (1, 2 * 1280)


def change(path: Path, edit: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    file = load.read_file(path)
    weight = dict(file.weight)
    edit(weight)
    return {"weight": weight, "config": file.config}


def begun(head: bytes) -> Callable[[Path], bytes]:
    return lambda path: head + path.read_bytes()[2:]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.read_bytes()[:5000], r"is damaged or cut off \(.*\); download it again"),
        (lambda path: b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.", r"pickles posix\.system, a class that"),
        (lambda path: b"", r"is damaged or cut off"),
        (lambda path: b"version https://git-lfs.github.com/spec/v1\n", "is no file that torch saved"),
        (begun(b"02"), r"is of GPT-SoVITS v3; only v2, v2Pro and v2ProPlus are supported here"),
        (begun(b"04"), r"is of GPT-SoVITS v4 with LoRA; only v2, v2Pro and v2ProPlus are supported here"),
        (begun(b"00"), r"is of GPT-SoVITS v1; only v2, v2Pro and v2ProPlus are supported here"),
    ],
)
def test_a_file_that_is_damaged_or_of_another_version(
    folder: Path, tmp_path: Path, damage: Callable[[Path], bytes], message: str
) -> None:
    (tmp_path / S2G).write_bytes(damage(folder / S2G))
    with pytest.raises(ModelError, match=message) as caught:
        load.read_file(tmp_path / S2G)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda weight: weight.update({"cfm.estimator.x": torch.zeros(1)}),
            "v3 or v4, which make sound in another way",
        ),
        (lambda weight: weight.update({"enc_p.text_embedding.weight": torch.zeros(322, 32)}), "322 phones.*v1"),
        (lambda weight: weight.pop("flow.flows.0.pre.bias"), r"lacks flow\.flows\.0\.pre\.bias \(1 in all\)"),
        (lambda weight: weight.update({"flow.x": torch.zeros(1)}), r"has more than this model: flow\.x"),
        (lambda weight: weight.update({"prelu.weight": torch.zeros(9)}), r"more than .*: prelu|another shape of prelu"),
        (lambda weight: weight.pop("quantizer.vq.layers.0._codebook.embed"), r"lacks quantizer\.vq"),
    ],
)
def test_weights_that_do_not_fit(
    folder: Path, tmp_path: Path, edit: Callable[[dict[str, Any]], Any], message: str
) -> None:
    torch.save(change(folder / S2G, edit), tmp_path / S2G)
    with pytest.raises(ModelError, match=message) as caught:
        load.stage2_of(load.read_file(tmp_path / S2G))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [S1, S2D])
def test_the_other_files_are_read_as_carefully(folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes((folder / name).read_bytes()[:9000])
    with pytest.raises(ModelError, match=r"is damaged or cut off \(.*\); download it again"):
        load.read_file(tmp_path / name)
    with pytest.raises(ModelError, match=r"gone\.pth is missing"):
        load.read_file(tmp_path / "gone.pth")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (S1, {"n_layer": 3}, r"lacks h\.layers\.2\..* \(12 in all\); is it of another version"),
        (S1, {"hidden_dim": 32}, r"has another shape of "),
        (S1, {"hidden_dim": "wide"}, r"its config describes no such model \("),
        (S2G, {"n_layers": 4}, r"lacks enc_p\.encoder2\."),
        (S2G, {"gin_channels": 256}, r"has another shape of "),
        (S2G, {"upsample_rates": 10}, r"its config describes no such model \("),
        (S2G, {"filter_channels": None}, r"its config describes no such model \("),
        (S2G, {"kernel_size": "DELETED"}, r"its config lacks model\.kernel_size; is it of this stage"),
    ],
)
def test_a_config_of_another_model_is_one_line(folder: Path, name: str, change: dict[str, Any], message: str) -> None:
    file = load.read_file(folder / name)
    model = {key: value for key, value in (file.config["model"] | change).items() if value != "DELETED"}
    changed = file._replace(config=file.config | {"model": model})
    with pytest.raises(ModelError, match=message) as caught:
        (load.stage1_of if name == S1 else load.stage2_of)(changed)
    assert "\n" not in str(caught.value)


def test_discriminators_of_another_version_are_one_line(folder: Path) -> None:
    other = "v2" if folder.name == "v2Pro" else "v2Pro"
    with pytest.raises(ModelError, match=f"as the discriminators of {other}, (lacks|has more)"):
        load.discriminators_of(load.read_file(folder / S2D), other)


def test_stage_1_s_file_is_not_taken_for_stage_2_s(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"is it another model's file|of this stage"):
        load.stage2_of(load.read_file(folder / S1))
    with pytest.raises(ModelError, match="of this stage"):
        load.stage1_of(load.read_file(folder / S2G))
