"""The GPT-SoVITS family on a random model in the released layout: hearing, learning in two courses, speaking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.streaming import streamed
from tests.support.tiny_models import LORA
from tests.support.tiny_sovits import random_sovits
from timbre import audio, families
from timbre.core.content import write_atomic
from timbre.core.errors import ModelError
from timbre.core.sections import SovitsParams, VoiceParams
from timbre.families import Part, Request, Speaking, Turn
from timbre.families.int8 import Int8Linear
from timbre.families.sovits import FRONT_END, SPOKEN, load, text
from timbre.families.sovits.exporting import export

OWN = SovitsParams(
    stage2=True, stage2_learning_rate=1e-4, stage2_epochs=2, text_rate=0.4, mel_weight=45, divergence_weight=1.0
)
RATE = 32_000
TEXTS = ("the ferry waits", "green coffee to Oslo please again", "again and again")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_sovits(tmp_path_factory.mktemp("models") / "sovits")


@pytest.fixture
def voice(folder: Path) -> Any:
    return families.load(VoiceParams("sovits", str(folder), None))


def sound(seconds: float, seed: int = 0) -> families.Audio:
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * RATE)).astype(np.float32)


def clip(voice: Any, folder: Path, words: str, samples: families.Audio) -> Turn:
    path = folder / f"{words.replace(' ', '-')}.flac"
    write_atomic(path, audio.flac_bytes(samples, RATE))
    return Turn(words, voice.encode([audio.read(path, RATE)[0]])[0], "en", clip=path)


@pytest.fixture
def turns(voice: Any, tmp_path: Path) -> list[Turn]:
    return [clip(voice, tmp_path, words, sound(3.2 + i / 3, i)) for i, words in enumerate(TEXTS)]


def test_the_family_says_what_it_is() -> None:
    assert f"sovits {text.VERSION}" == FRONT_END
    assert SPOKEN == text.LANGUAGES
    real = families.family("sovits")
    assert real.shape(real.known["lj1995/GPT-SoVITS"]).weights == pytest.approx(77.6e6, rel=0.01)


def test_a_clip_becomes_codes_and_those_of_a_prompt(voice: Any) -> None:
    together = voice.encode([sound(3.2, 1), sound(1.0, 2)])
    assert [len(made["codes"]) for made in together] == [79, 24]
    assert len(together[0]["prompt"]) == len(together[0]["codes"]) + 8
    assert (together[1]["codes"] == voice.encode([sound(1.0, 2)])[0]["codes"]).all()


def test_a_clip_that_tells_nothing_is_no_lesson(voice: Any) -> None:
    for quiet in (np.zeros(3 * RATE, np.float32), sound(0.5)):
        assert "tell nothing of a voice" in voice.fits([Turn("hush", voice.encode([quiet])[0], "en")])


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (sound(2.0), "'hush' is no reference: its clip has 2.0 s, and GPT-SoVITS needs 3 to 10"),
        (np.zeros(4 * RATE, np.float32), "'hush' is no reference: its clip is silent"),
    ],
)
def test_a_reference_too_short_or_silent_is_refused(
    voice: Any, tmp_path: Path, samples: families.Audio, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        list(voice.speak([Request("again", (clip(voice, tmp_path, "hush", samples),), 0, 1.0)], Speaking(0, 0, 1)))


def test_padding_and_parts_change_no_loss(voice: Any, turns: list[Turn]) -> None:
    course = voice.courses(LORA, OWN)[0]
    dialogues = [[turn] for turn in turns]
    together = course.evaluate(course.exam(dialogues))
    parts = [course.evaluate(course.exam(dialogues, Part(number, 2))) for number in (0, 1)]
    assert float(sum(part.total for part in parts)) == pytest.approx(float(together.total), rel=1e-5)
    alone = [float(course.evaluate(course.exam([dialogue])).total) for dialogue in dialogues]
    counts = [len(turn.codes["codes"]) + 1 for turn in turns]  # type: ignore[index]
    assert float(together.total) == pytest.approx(np.average(alone, weights=counts), rel=1e-5)


def test_two_courses_learn_and_are_saved_loaded_heard_and_exported(
    folder: Path, voice: Any, turns: list[Turn], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    first, second = voice.courses(LORA, OWN)
    dialogues = [[turn] for turn in turns]
    for course in (first, second):
        course.meet(turns)
        course.begin()
        assert course.effect(turns[:1]) == 0
        trained(course, dialogues)
        assert course.effect(turns[:1]) > 1e-4
    assert [objective.name for objective in second.objectives] == ["judges", "generator"]
    voice.save_adapter(tmp_path / "adapter")
    kept = {path.name: path.read_bytes() for path in (tmp_path / "adapter").iterdir()}
    voice.save_adapter(tmp_path / "again")
    assert kept == {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    assert kept.keys() == {
        "adapter_config.json", "adapter_model.safetensors", "stage2.safetensors", "voice.safetensors"
    }  # fmt: skip

    tuned = families.load(VoiceParams("sovits", str(folder), None), tmp_path / "adapter")
    assert float((tuned.logits(turns[:1]) - voice.logits(turns[:1])).abs().max()) < 1e-4
    request = Request("coffee please", (turns[0],), 1, 1.0)
    [spoken] = tuned.speak([request], Speaking(0.0, 0, 1))
    [without] = tuned.speak([request._replace(context=())], Speaking(0.0, 0, 1))
    assert spoken.sound.shape != without.sound.shape or not np.allclose(spoken.sound, without.sound)

    ckpt, pth = export(tuned, tmp_path / "exported", "marina")
    stage1, stage2 = load.stage1_of(load.read_file(ckpt)), load.stage2_of(load.read_file(pth))
    assert stage2.enc_q is None
    for ours, again in ((tuned.base, stage1), (tuned.stage2, stage2)):
        own = ours.state_dict()
        for name, value in again.state_dict().items():
            assert torch.allclose(value, own[name], atol=2e-3), name
    base = load.read_file(folder / "s1bert25hz.ckpt"), load.read_file(folder / "s2G2333k.pth")
    assert load.read_file(ckpt).weight.keys() == base[0].weight.keys()
    assert load.read_file(pth).weight.keys() == {key for key in base[1].weight if not key.startswith("enc_q.")}


def trained(course: Any, dialogues: list[list[Turn]]) -> None:
    before = float(course.evaluate(course.exam(dialogues)).total)
    optimisers = [torch.optim.AdamW(objective.weights, 3e-3) for objective in course.objectives]
    for step in range(3):
        batch = course.batch(dialogues, step)
        for objective, optimiser in zip(course.objectives, optimisers, strict=True):
            optimiser.zero_grad()
            objective.losses(batch).total.backward()
            optimiser.step()
            optimiser.zero_grad()
    assert float(course.evaluate(course.exam(dialogues)).total) < before


def test_stage_2_learns_segments_of_the_recording_itself(voice: Any, turns: list[Turn]) -> None:
    course = voice.courses(LORA, OWN)[1]
    made = course.batch([[turn] for turn in turns], 5)
    for row, (turn, start) in enumerate(zip(turns, made.batch.starts, strict=True)):
        recorded = audio.read(turn.clip, RATE)[0]  # type: ignore[arg-type]
        assert (made.recorded[row].numpy() == recorded[start * 640 : start * 640 + 6_400]).all()
        frames = int(made.batch.frames[row])
        assert frames == len(recorded) // 640
        assert not made.batch.magnitudes[row, :, frames:].any()
    assert course.batch([[turn] for turn in turns], 5).batch.starts == made.batch.starts
    assert course.exam([[turn] for turn in turns]).batch.starts == [(len(sound_of(t)) // 640 - 10) // 2 for t in turns]
    parts = [course.evaluate(course.exam([[turn] for turn in turns], Part(number, 3))) for number in range(3)]
    whole = course.evaluate(course.exam([[turn] for turn in turns]))
    assert float(sum(part.total for part in parts)) == pytest.approx(float(whole.total), rel=1e-4)


def test_a_step_of_stage_2_goes_through_the_generator_once(
    voice: Any, turns: list[Turn], monkeypatch: pytest.MonkeyPatch
) -> None:
    course = voice.courses(LORA, OWN)[1]
    course.begin()
    judges, generator = course.objectives
    batch, other = (course.batch([[turn] for turn in turns], seed) for seed in (5, 6))
    learn, ways = voice.stage2.learn, []
    monkeypatch.setattr(voice.stage2, "learn", lambda batch: ways.append(batch) or learn(batch))

    def gradients(losses: families.Losses) -> list[torch.Tensor]:
        losses.total.backward()
        assert all(weight.grad is None for weight in judges.weights), "they learn nothing while the generator does"
        made = [weight.grad.clone() for weight in generator.weights if weight.grad is not None]
        course.model.zero_grad()
        return made

    alone = gradients(generator.losses(batch))
    judges.losses(batch).total.backward()
    assert all(weight.grad is not None for weight in judges.weights)
    course.model.zero_grad()
    assert len(ways) == 2
    again = gradients(generator.losses(batch))
    assert len(ways) == 2, "what was judged is what the generator learns by"
    assert len(alone) > 100
    assert all(torch.equal(one, two) for one, two in zip(alone, again, strict=True))
    judges.losses(other)
    assert all(torch.equal(one, two) for one, two in zip(alone, gradients(generator.losses(batch)), strict=True))
    assert len(ways) == 4, "another batch's sound is not taken"


def sound_of(turn: Turn) -> families.Audio:
    assert turn.clip
    return audio.read(turn.clip, RATE)[0]


def test_the_parts_that_read_text_learn_more_slowly(voice: Any) -> None:
    _, generator = voice.courses(LORA, OWN)[1].objectives
    share, slow = generator.slower
    names = {id(weight): name for name, weight in voice.stage2.named_parameters()}
    assert share == 0.4
    assert {names[id(weight)].split(".")[1] for weight in slow} == {"text_embedding", "encoder_text", "mrte"}


@pytest.mark.parametrize("how", [Speaking(0.0, 0, 2, 1, 1.35), Speaking(1.0, 15, 2, 1.0, 1.35)])
def test_a_request_sounds_the_same_in_any_company_and_streamed(voice: Any, turns: list[Turn], how: Speaking) -> None:
    asked = [
        Request("The ferry waits. Green coffee to Oslo!", (turns[0],), 1, 0.8),
        Request("please", (turns[1],), 2, 1.3), Request("again", (), 3, 0.6),
    ]  # fmt: skip
    together = list(voice.speak(asked, how))
    for request, spoken in zip(asked, together, strict=True):
        [alone] = voice.speak([request], how)
        assert (alone.sound == spoken.sound).all()
        pieces, ended = streamed(voice, request, how)
        assert ended == spoken.ended
        assert (np.concatenate(pieces) == spoken.sound).all()
    assert len(together[1].sound) > RATE / 4


def test_the_ceiling_is_the_clip_s_own_codes(voice: Any, turns: list[Turn]) -> None:
    assert len(voice.resound(turns[0], None)) == len(turns[0].codes["codes"]) * 1280  # type: ignore[index]


def test_an_exported_voice_speaks_and_learns_its_first_stage_alone(
    folder: Path, voice: Any, turns: list[Turn], tmp_path: Path
) -> None:
    export(voice, tmp_path, "marina")
    (tmp_path / load.HUBERT).symlink_to(folder / load.HUBERT)
    again = families.load(VoiceParams("sovits", str(tmp_path), None))
    [spoken] = again.speak([Request("please", (turns[0],), 2, 0.5)], Speaking(0.0, 0, 1))
    assert len(spoken.sound)
    with pytest.raises(ModelError, match=r"was exported to speak .* cannot be trained further"):
        again.courses(LORA, OWN)


def test_eight_bits_hold_stage_1_alone_and_speak_the_same_in_any_company(
    folder: Path, voice: Any, turns: list[Turn]
) -> None:
    small: Any = families.load(VoiceParams("sovits", str(folder), None), precision="int8")
    shrunk = {name for name, module in small.base.named_modules() if isinstance(module, Int8Linear)}
    layers = ("self_attn.in_proj", "self_attn.out_proj", "linear1", "linear2")
    assert shrunk == {"ar_predict_layer"} | {f"h.layers.{number}.{name}" for number in (0, 1) for name in layers}
    assert not any(isinstance(module, Int8Linear) for module in small.stage2.modules())
    near, exact = small.logits(turns[:1]), voice.logits(turns[:1])
    assert (near - exact).norm() < 0.05 * exact.norm()
    asked = [Request("please", (turns[1],), 2, 0.5), Request("again", (), 3, 0.3)]
    how = Speaking(1.0, 15, 2, 1.0, 1.35)
    for request, spoken in zip(asked, list(small.speak(asked, how)), strict=True):
        [alone] = small.speak([request], how)
        assert (alone.sound == spoken.sound).all()


def test_what_the_family_cannot_load_is_one_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"has no \*\.ckpt; is it a folder of GPT-SoVITS"):
        families.load(VoiceParams("sovits", str(tmp_path / "empty"), None))
