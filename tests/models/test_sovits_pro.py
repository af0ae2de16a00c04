"""GPT-SoVITS v2Pro and v2ProPlus on random models: who speaks is heard beside the style, learnt, kept and exported."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.streaming import streamed
from tests.support.tiny_models import LORA
from tests.support.tiny_sovits import S1, S2D, S2G, random_sovits
from timbre import audio, families
from timbre.core.content import write_atomic
from timbre.core.errors import ModelError
from timbre.core.sections import SovitsParams, VoiceParams
from timbre.families import Request, Speaking, Turn
from timbre.families.sovits import load
from timbre.families.sovits.exporting import export
from timbre.families.sovits.shape import SPEAKERS
from timbre.families.sovits.stage2 import Stage2

OWN = SovitsParams(
    stage2=True, stage2_learning_rate=1e-4, stage2_epochs=2, text_rate=0.4, mel_weight=45, divergence_weight=1.0
)
RATE = 32_000
GREEDY = Speaking(0.0, 0, 1)
WIDTH = 2560  # of the random speaker network's vector


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As upstream publishes it."""
    made = random_sovits(tmp_path_factory.mktemp("models") / "pro", "v2Pro")
    (made / "v2Pro").mkdir()
    (made / S2G).rename(made / "v2Pro" / "s2Gv2Pro.pth")
    (made / S2D).rename(made / "v2Pro" / "s2Dv2Pro.pth")
    (made / S1).rename(made / "s1v3.ckpt")
    return made


@pytest.fixture
def voice(folder: Path) -> Any:
    return loaded(folder)


def loaded(folder: Path, adapter: Path | None = None) -> Any:
    return families.load(VoiceParams("sovits", str(folder), None), adapter)


@pytest.fixture
def turns(voice: Any, tmp_path: Path) -> list[Turn]:
    made = []
    for number, words in enumerate(("the ferry waits", "green coffee please")):
        path = tmp_path / f"{number}.flac"
        samples = np.random.default_rng(number).normal(0, 0.1, int((3.2 + number / 3) * RATE)).astype(np.float32)
        write_atomic(path, audio.flac_bytes(samples, RATE))
        made.append(Turn(words, voice.encode([audio.read(path, RATE)[0]])[0], "en", clip=path))
    return made


def with_another_speaker(turn: Turn) -> Turn:
    assert turn.codes
    other = np.random.default_rng(1).normal(0, 30, WIDTH).astype(np.float16)  # as large as real features
    return turn._replace(codes={**turn.codes, "speaker": other})


def apart(one: families.Audio, other: families.Audio) -> float:
    assert one.shape == other.shape
    return float(np.abs(one - other).max() / np.abs(one).max())


def test_a_clip_also_becomes_the_speaker_s_vector(voice: Any, turns: list[Turn]) -> None:
    assert turns[0].codes
    assert turns[0].codes["speaker"].shape == (WIDTH,)
    assert turns[0].codes["speaker"].dtype == np.float16
    quiet = voice.encode([np.zeros(3 * RATE, np.float32)])[0]
    assert quiet.keys() == {"codes"}
    assert "tell nothing of a voice" in voice.fits([Turn("hush", quiet, "en")])


def test_who_speaks_is_heard_streamed_and_in_the_ceiling(voice: Any, turns: list[Turn]) -> None:
    request = Request("The ferry waits.", (turns[0],), 1, 0.6)
    [spoken] = voice.speak([request], GREEDY)
    pieces, _ = streamed(voice, request, GREEDY)
    assert (np.concatenate(pieces) == spoken.sound).all()
    [other] = voice.speak([request._replace(context=(with_another_speaker(turns[0]),))], GREEDY)
    assert apart(spoken.sound, other.sound) > 0.01
    again, elsewhere = (voice.resound(turn, None) for turn in (turns[0], with_another_speaker(turns[0])))
    assert apart(again, elsewhere) > 0.01


def test_stage_2_learns_what_to_make_of_the_vector_and_is_exported(
    folder: Path, voice: Any, turns: list[Turn], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    dialogues = [[turn] for turn in turns]
    first, second = voice.courses(LORA, OWN)
    for course in (first, second):
        course.meet(turns)
        course.begin()
    first.set_weights({name: 0.05 * torch.randn(weight.shape) for name, weight in first.weights().items()})
    generator = second.objectives[-1]
    made = second.batch(dialogues, 0)
    assert made.batch.speaker.shape == (2, WIDTH)
    before = voice.stage2.sv_emb.weight.detach().clone()
    optimiser = torch.optim.AdamW(generator.weights, 1e-3)
    generator.losses(made).total.backward()
    optimiser.step()
    assert not torch.equal(voice.stage2.sv_emb.weight, before)
    assert not any(weight.requires_grad for weight in voice.codec.speakers.parameters())

    voice.save_adapter(tmp_path / "adapter")
    tuned = loaded(folder, tmp_path / "adapter")
    [own] = tuned.speak([Request("coffee please", (), 1, 0.6)], GREEDY)  # in the mean voice of the clips
    with torch.inference_mode():
        mean = torch.stack([voice.codec.style(audio.read(turn.clip, RATE)[0], turn)[0] for turn in turns]).mean(0)
    assert torch.allclose(tuned.style, mean[0, :, 0], atol=1e-3)
    assert len(own.sound)

    ckpt, pth = export(tuned, tmp_path / "exported", "marina")
    assert pth.read_bytes()[:2] == b"05"
    assert ckpt.read_bytes()[:2] == b"PK"
    base = load.read_file(folder / "v2Pro" / "s2Gv2Pro.pth")
    file = load.read_file(pth)
    assert file.weight.keys() == {key for key in base.weight if not key.startswith("enc_q.")}
    for name in ("chinese-hubert-base", "sv"):
        (tmp_path / "exported" / name).symlink_to(folder / name)
    again = loaded(tmp_path / "exported")
    [spoken] = again.speak([Request("coffee please", (turns[0],), 1, 0.6)], GREEDY)
    [expected] = tuned.speak([Request("coffee please", (turns[0],), 1, 0.6)], GREEDY)
    assert apart(expected.sound, spoken.sound) < 0.05


@pytest.mark.parametrize(
    ("begun", "said", "width", "version"),
    [
        ("", "v2Pro", 512, "v2Pro"), ("", "v2ProPlus", 768, "v2ProPlus"), ("v2ProPlus", "v2", 768, "v2ProPlus"),
        ("", "", 512, "v2Pro"), ("", "", 768, "v2ProPlus"),
    ],
)  # fmt: skip
def test_the_version_is_told_by_the_first_bytes_the_config_or_the_vocoder(
    begun: str, said: str, width: int, version: str
) -> None:
    file = load.SovitsFile({load.SPEAKER_KEY: torch.zeros(1, 1)}, {}, Path("s2G.pth"), begun)
    sizes = {"version": said, "upsample_initial_channel": width}
    assert load.version_of(file, {key: value for key, value in sizes.items() if value}) == version


def test_a_v2_that_says_it_is_a_v2pro_is_refused() -> None:
    file = load.SovitsFile({}, {}, Path("s2G.pth"), "v2Pro")
    with pytest.raises(ModelError, match=r"s2G\.pth says v2Pro, its weights are of v2"):
        load.version_of(file, {})


def test_v2proplus_loads_and_is_exported_with_its_own_first_bytes(tmp_path: Path) -> None:
    voice = loaded(random_sovits(tmp_path / "plus", "v2ProPlus"))
    assert voice.stage2.version == "v2ProPlus"
    assert "`GPT_weights_v2ProPlus`" in voice.merged_usage("merged")[0]
    _, pth = export(voice, tmp_path / "exported", "marina")
    assert pth.read_bytes()[:2] == b"06"
    assert load.read_file(pth).begun == "v2ProPlus"


def test_a_vocoder_of_v2proplus_makes_as_many_samples_of_a_frame() -> None:
    """Its first kernel has 20 samples, not 16."""
    sizes = {
        "inter_channels": 8, "hidden_channels": 8, "filter_channels": 8, "n_heads": 2, "n_layers": 2, "kernel_size": 3,
        "upsample_rates": [10, 8, 2, 2, 2], "upsample_initial_channel": 32,
        "upsample_kernel_sizes": [20, 16, 8, 2, 2], "gin_channels": 16, "version": "v2ProPlus",
    }  # fmt: skip
    model = Stage2({"model": sizes, "train": {"segment_size": 6400}}, 10, 7)
    assert model.dec(torch.zeros(1, 8, 5), torch.zeros(1, 16, 1)).shape == (1, 5 * 640)


FOREIGN = b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R."


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), r"v2Pro also hears who speaks, and .*ep4\.ckpt is missing; fetch sv/.*GPT-SoVITS"),
        (lambda path: path.write_bytes(path.read_bytes()[:9000]), r"is damaged or cut off \(.*\); download it again"),
        (lambda path: path.write_bytes(FOREIGN), r"pickles posix\.system, a class that such a file has no need of"),
        (lambda path: torch.save({"a": torch.zeros(1)}, path), r"lacks conv1\.weight; is it another model's file"),
        (lambda path: torch.save([1], path), r"holds no table of weights"),
        (lambda path: edited(path, lambda state: state.pop("fuse34.local_att.0.bias")), r"lacks fuse34\.local_att"),
        (lambda path: edited(path, lambda state: state.update(x=torch.zeros(1))), r"has more than this model: x"),
    ],
)
def test_a_speaker_network_that_cannot_be_used_is_one_line(
    folder: Path, tmp_path: Path, spoil: Callable[[Path], Any], message: str
) -> None:
    shutil.copytree(folder / "sv", tmp_path / "sv")
    spoil(tmp_path / SPEAKERS)
    stage2 = load.stage2_of(load.read_file(folder / "v2Pro" / "s2Gv2Pro.pth"))
    with pytest.raises(ModelError, match=message) as caught:
        load.speakers_of(tmp_path / SPEAKERS, stage2)
    assert "\n" not in str(caught.value)


def edited(path: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    state = torch.load(path, weights_only=True)
    edit(state)
    torch.save(state, path)


def test_a_vector_of_another_width_is_refused(folder: Path) -> None:
    stage2 = load.stage2_of(load.read_file(folder / "v2Pro" / "s2Gv2Pro.pth"))
    stage2.sv_emb = torch.nn.Linear(20_480, 512)
    with pytest.raises(ModelError, match="makes vectors of 2560, and stage 2 hears 20480; take the released one"):
        load.speakers_of(folder / SPEAKERS, stage2)


def test_stage_2_is_trained_against_the_discriminators_that_it_was_published_with(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "both")
    (tmp_path / "both" / S2D).write_bytes(b"of a v2")
    assert load.judges_of(tmp_path / "both", tmp_path / "both/v2Pro/s2Gv2Pro.pth") == (
        tmp_path / "both" / "v2Pro" / "s2Dv2Pro.pth"
    )
    with pytest.raises(ModelError, match=r"has several discriminators \(s2D2333k\.pth, s2Dv2Pro\.pth\)"):
        load.judges_of(tmp_path / "both", tmp_path / "both" / "marina.pth")
