"""The XTTS family on a random model in the released layout: hearing, learning, speaking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.streaming import streamed
from tests.support.tiny_models import LORA
from tests.support.tiny_xtts import random_xtts
from timbre import families
from timbre.core.errors import ModelError
from timbre.core.sections import VoiceParams, XttsParams
from timbre.families import Part, Request, Speaking, Turn
from timbre.families.int8 import Int8Linear
from timbre.families.xtts import FRONT_END, SPOKEN, text
from timbre.families.xtts.gpt import STOPS

OWN = XttsParams(whole=False, text_weight=0.01)
RATE = 22_050


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_xtts(tmp_path_factory.mktemp("models") / "xtts")


@pytest.fixture
def voice(folder: Path) -> Any:
    return families.load(VoiceParams("xtts", str(folder), None))


def sound(seconds: float, seed: int = 0) -> families.Audio:
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * RATE)).astype(np.float32)


@pytest.fixture
def turns(voice: Any) -> list[Turn]:
    made = voice.encode([sound(2.4, 1), sound(3.1, 2), sound(1.5, 3)])
    texts = ("the ferry waits", "green coffee to oslo please again", "again")
    return [Turn(words, codes, "en") for words, codes in zip(texts, made, strict=True)]


def test_the_family_says_what_it_is() -> None:
    assert f"xtts {text.VERSION}" == FRONT_END
    assert SPOKEN == text.SPOKEN
    real = families.family("xtts")
    assert real.shape(real.known["coqui/XTTS-v2"]).weights == pytest.approx(441.02e6, rel=0.01)


def test_a_clip_becomes_codes_latents_of_its_halves_and_a_vector(voice: Any) -> None:
    first, second = voice.encode([sound(2.4, 1), sound(3.1, 2)])
    again = voice.encode([sound(3.1, 2)])[0]
    assert {name: (array.shape, str(array.dtype)) for name, array in first.items()} == {
        "codes": ((52, 1), "int16"), "latents": ((2, 32, 64), "float16"), "spans": ((2, 2), "int16"),
        "vector": ((512,), "float32"),
    }  # fmt: skip
    assert first["spans"].tolist() == [[0, 26], [25, 52]]
    assert all((second[name] == again[name]).all() for name in again)
    assert len(np.unique(second["codes"])) > 5, "the random codec should tell sounds apart"


@pytest.mark.parametrize("quiet", [sound(0.5), np.zeros(3 * RATE, np.float32)])
def test_a_clip_that_tells_nothing_of_a_voice_is_no_reference_and_no_lesson(voice: Any, quiet: families.Audio) -> None:
    turn = Turn("hush", voice.encode([quiet])[0], "en")
    assert "tell nothing of a voice" in voice.fits([turn])
    with pytest.raises(ModelError, match=r"'hush' is no reference: its clip's sounds are silent, or shorter than 1 s"):
        list(voice.speak([Request("again", (turn,), 0, 1.0, "en")], Speaking(0, 0, 1)))


def test_long_clips_and_texts_are_refused_with_a_reason(voice: Any, turns: list[Turn]) -> None:
    assert voice.fits([turns[0]]) is None
    long = {**turns[0].codes, "codes": np.zeros((121, 1), np.int16)}  # type: ignore[dict-item]
    assert voice.fits([Turn("a", long)]) == "take 121 codes, and the model was trained on at most 120 (5.6 s)"
    voice.most_codes = 605  # as the released one
    assert voice.fits([Turn("a", {**long, "codes": np.zeros((250, 1), np.int16)})]) is None
    longer = Turn("a", {**long, "codes": np.zeros((251, 1), np.int16)})
    assert voice.fits([longer]) == "take 251 codes, and the model was trained on at most 250 (11.6 s)"
    assert "trained on at most 200" in voice.fits([turns[0]._replace(text="a long way " * 30)])


def test_targets_leave_out_the_half_that_was_heard_in_every_row(voice: Any, turns: list[Turn]) -> None:
    made = voice.batch([[turn] for turn in turns], [0, 1, 0])
    for row, (turn, half) in enumerate(zip(turns, (0, 1, 0), strict=True)):
        start, end = turn.codes["spans"][half]  # type: ignore[index]
        told = made.learnt[row, : made.code_lengths[row]]
        assert not told[start:end].any()
        assert int(told.sum()) == len(turn.codes["codes"]) - (end - start)  # type: ignore[index]


def test_padding_and_parts_change_no_loss(voice: Any, turns: list[Turn]) -> None:
    dialogues = [[turn] for turn in turns]
    course = voice.courses(LORA, OWN)[0]
    together = course.evaluate(course.exam(dialogues))
    parts = [course.evaluate(course.exam(dialogues, Part(number, 2))) for number in (0, 1)]
    assert float(sum(part.total for part in parts)) == pytest.approx(float(together.total), rel=1e-5)
    alone = [course.evaluate(course.exam([dialogue])) for dialogue in dialogues]
    text = np.array([len(voice.text.ids(turn.text)) + 1 for turn in turns])
    codes = np.array([int(voice.batch([[turn]], [0]).learnt.sum()) + STOPS for turn in turns])
    for name, counts in (("text", text), ("codes", codes)):
        mean = np.average([float(losses.parts[name]) for losses in alone], weights=counts)
        assert float(together.parts[name]) == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize("whole", [False, True])
def test_what_was_learnt_is_saved_loaded_and_heard(
    folder: Path, voice: Any, turns: list[Turn], tmp_path: Path, whole: bool
) -> None:
    torch.manual_seed(0)
    voice.meet(turns)
    course = voice.courses(LORA, XttsParams(whole, 0.01))[0]
    course.begin()
    assert course.effect([turns[0]]) == 0
    [objective] = course.objectives
    optimiser = torch.optim.AdamW(objective.weights, 1e-3 if whole else 1e-2)
    before = float(course.evaluate(course.exam([[turn] for turn in turns])).total)
    for step in range(4):
        objective.losses(course.batch([[turn] for turn in turns], step)).total.backward()
        optimiser.step()
        optimiser.zero_grad()
    assert course.effect([turns[0]]) > 1e-3
    assert float(course.evaluate(course.exam([[turn] for turn in turns])).total) < before
    voice.save_adapter(tmp_path / "adapter")
    kept = {path.name: path.read_bytes() for path in (tmp_path / "adapter").iterdir()}
    voice.save_adapter(tmp_path / "again")
    assert kept == {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    assert kept.keys() == {"adapter_config.json", "adapter_model.safetensors", "voice.safetensors"}
    tuned = families.load(VoiceParams("xtts", str(folder), None), tmp_path / "adapter")
    apart = (tuned.logits([turns[0]]) - voice.logits([turns[0]])).abs().max()
    assert float(apart) < 0.05 if whole else 1e-4  # a whole model is kept in half precision
    request = Request("the ferry", (), 1, 1.0, "en")
    [spoken] = tuned.speak([request], Speaking(0.0, 0, 1))
    [base] = families.load(VoiceParams("xtts", str(folder), None)).speak([request], Speaking(0.0, 0, 1))
    assert spoken.sound.shape != base.sound.shape or not np.allclose(spoken.sound, base.sound)


REQUESTS = [
    Request("the ferry waits", (), 1, 0.5, "en"), Request("green coffee to oslo please again", (), 2, 1.2, "en"),
    Request("again", (), 3, 0.9),
]  # fmt: skip


@pytest.mark.parametrize("how", [Speaking(0.0, 0, 2), Speaking(0.8, 10, 2, 0.9, 5.0)])
def test_a_request_sounds_the_same_in_any_company_and_streamed(voice: Any, turns: list[Turn], how: Speaking) -> None:
    asked = [*REQUESTS, Request("coffee", (turns[0],), 4, 1.0, "en")]
    together = list(voice.speak(asked, how))
    for request, spoken in zip(asked, together, strict=True):
        [alone] = voice.speak([request], how)
        assert (alone.sound == spoken.sound).all()
        pieces, ended = streamed(voice, request, how)
        assert ended == spoken.ended
        assert len(np.concatenate(pieces)) == len(spoken.sound)
        assert np.abs(np.concatenate(pieces) - spoken.sound).max() < 1e-5
    assert len({len(spoken.sound) for spoken in together}) > 1


def test_a_stream_begins_before_its_end(voice: Any) -> None:
    pieces, _ = streamed(
        voice, Request("green coffee to oslo please again", (), 2, 5.0, "en"), Speaking(0.0, 0, 1, 1, 5)
    )
    assert len(pieces) > 2
    assert len(pieces[0]) < sum(map(len, pieces)) / 3


def test_a_long_text_is_spoken_sentence_by_sentence(voice: Any) -> None:
    sentence = "The ferry waits for green coffee."
    text = " ".join([sentence] * 12)
    [spoken] = voice.speak([Request(text, (), 1, 0.2, "en")], Speaking(0.0, 0, 2))
    [short] = voice.speak([Request(sentence, (), 1, 0.2, "en")], Speaking(0.0, 0, 2))
    parts = -(-len(text) // 250)
    assert len(spoken.sound) == parts * len(short.sound)


def test_another_language_is_refused_by_name(voice: Any) -> None:
    with pytest.raises(ModelError, match="XTTS speaks de, but its text front end is not here yet"):
        list(voice.speak([Request("hallo", (), 1, 1.0, "de")], Speaking(0.0, 0, 1)))


def test_the_ceiling_is_the_clip_s_own_codes(voice: Any, turns: list[Turn]) -> None:
    sound = voice.resound(turns[0], turns[1])
    assert len(sound) == pytest.approx(len(turns[0].codes["codes"]) * 1024 * 24_000 / RATE, abs=512)  # type: ignore[index]
    assert np.abs(sound).max() > 1e-4


def test_a_folder_without_stock_speakers_needs_a_reference(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        if file.name != "speakers_xtts.pth":
            (tmp_path / file.name).symlink_to(file)
    voice = families.load(VoiceParams("xtts", str(tmp_path), None))
    with pytest.raises(ModelError, match="speaks with a reference alone"):
        list(voice.speak(REQUESTS[:1], Speaking(0.0, 0, 1)))


def test_eight_bits_hold_the_language_model_alone_and_speak_the_same_in_any_company(
    folder: Path, voice: Any, turns: list[Turn]
) -> None:
    small: Any = families.load(VoiceParams("xtts", str(folder), None), precision="int8")
    shrunk = {name for name, module in small.networks.named_modules() if isinstance(module, Int8Linear)}
    layers = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    assert shrunk == {"gpt.mel_head"} | {f"gpt.gpt.h.{number}.{name}" for number in (0, 1) for name in layers}
    near, exact = small.logits(turns[:1]), voice.logits(turns[:1])
    assert (near - exact).norm() < 0.05 * exact.norm()
    how = Speaking(0.8, 0, 2)
    for request, spoken in zip(REQUESTS, list(small.speak(REQUESTS, how)), strict=True):
        [alone] = small.speak([request], how)
        assert (alone.sound == spoken.sound).all()
