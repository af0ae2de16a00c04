"""CSM learns on a random model: its losses, its adapter, and what neither depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.tiny_models import (
    CODEBOOKS,
    CSM,
    LORA,
    adapted,
    codes,
    kept,
    sound,
)
from timbre import families
from timbre.core.sections import VoiceParams
from timbre.families import Part, Turn


def test_the_losses_and_gradients_of_the_parts_add_up_to_those_of_the_whole(voice: Any) -> None:
    voice.adapt(LORA)
    talks = [[Turn("the ferry waits", kept(frames, frames))] for frames in (5, 30, 9)]

    def learn(*parts: Part) -> tuple[list[float], list[float]]:
        losses = [voice.losses(voice.batch(talks, 0.3, 7, part)) for part in parts]
        voice.model.zero_grad()
        for part in losses:
            part.total.backward()
        grads = [weight.grad.norm().item() for weight in voice.model.parameters() if weight.requires_grad]
        every = [[part.total, *part.parts.values()] for part in losses]
        return [sum(parts).item() for parts in zip(*every, strict=True)], grads

    losses, grads = learn(Part(0, 1))
    for of in (2, 3, 5):  # the last two of five processes have no row
        parted, summed = learn(*(Part(number, of) for number in range(of)))
        assert parted == pytest.approx(losses, rel=1e-5)
        assert summed == pytest.approx(grads, rel=1e-3, abs=1e-6)


def test_as_many_frames_as_codebooks_are_learnt_from_like_any_others(voice: Any) -> None:
    talk = [Turn("the ferry", kept(CODEBOOKS - 1))]  # and the end
    found = [voice.losses(voice.batch([talk] * times, 1.0, 0)).parts["depth_decoder"].item() for times in (1, 3)]
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def test_losses_from_codes_equal_those_of_the_documented_recipe_from_audio(voice: Any) -> None:
    from transformers import CsmProcessor

    waves = [sound(1.0, 5), sound(0.6, 6)]
    texts = ["the ferry waits", "green coffee please"]
    processor = CsmProcessor.from_pretrained(voice.base.config.name_or_path)
    for wave, text in zip(waves, texts, strict=True):
        talk = [{"role": "0", "content": [{"type": "text", "text": text}, {"type": "audio", "path": wave}]}]
        theirs = voice.base(**processor.apply_chat_template(talk, tokenize=True, return_dict=True, output_labels=True))
        mine = voice.losses(voice.batch([[Turn(text, voice.encode([wave])[0])]], depth_share=1.0, seed=0))
        assert mine.parts["backbone"].item() == pytest.approx(theirs.backbone_loss.item(), abs=1e-5)
        assert mine.parts["depth_decoder"].item() == pytest.approx(theirs.depth_decoder_loss.item(), abs=1e-5)


def test_only_the_last_turn_is_learnt_and_its_end_always(voice: Any) -> None:
    batch = voice.batch([[Turn("the ferry", kept(6)), Turn("waits", kept(8, 1))], [Turn("again", kept(3))]], 0.0, 0)
    size = batch.ids.shape[1]
    assert [(batch.said // size == row).sum() for row in (0, 1)] == [9, 4]  # frames and end
    said = batch.codes.flatten(0, 1)[batch.said]
    assert said[:9].tolist() == [*codes(8, 1).tolist(), [0] * CODEBOOKS]
    assert said[9:].tolist() == [*codes(3).tolist(), [0] * CODEBOOKS]
    assert batch.deep.tolist() == [batch.said[8].item(), batch.said[12].item()]
    some = voice.batch([[Turn("the ferry", kept(400))]], 0.25, 1)
    assert 70 < len(some.deep) < 130
    assert set(some.deep.tolist()) <= set(some.said.tolist())


def test_an_evaluation_in_pieces_finds_the_losses_of_training(voice: Any) -> None:
    for frames in (3, 40):  # fewer than pieces, and more
        batch = voice.batch([[Turn("the ferry", kept(frames))]], 1.0, 0)
        whole = voice.losses(batch)
        with torch.no_grad():
            pieces = voice.losses(batch)
        assert pieces.parts["depth_decoder"].item() == pytest.approx(whole.parts["depth_decoder"].item(), abs=1e-5)
        assert pieces.parts["codebook/2-4"].item() == pytest.approx(whole.parts["codebook/2-4"].item(), abs=1e-5)


def test_padding_changes_no_loss(voice: Any) -> None:
    short, long = [Turn("again", kept(5))], [Turn("the ferry waits", kept(40, 2))]
    alone = [voice.losses(voice.batch([one], 1.0, 0)).parts["backbone"].item() for one in (short, long)]
    together = voice.losses(voice.batch([short, long], 1.0, 0)).parts["backbone"].item()
    assert together == pytest.approx((6 * alone[0] + 41 * alone[1]) / 47, abs=1e-5)


def test_an_adapter_sits_on_the_decoders_alone_and_changes_nothing_at_first(voice: Any) -> None:
    course = adapted(voice, LORA)
    trained = [name for name, weight in voice.model.named_parameters() if weight.requires_grad]
    assert len(trained) == 2 * 7 * (2 + 2)
    assert not [name for name in trained if "codec" in name or "lora" not in name]
    turns = [Turn("the ferry waits", kept(5))]
    assert course.effect(turns) == 0
    weights = {name: torch.ones_like(weight) for name, weight in course.weights().items()}
    course.set_weights(weights)
    assert course.effect(turns) > 0


def test_an_adapter_is_the_same_bytes_twice_and_works_merged_as_it_did_unmerged(folder: Path, tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        torch.manual_seed(3)
        voice: Any = families.load(VoiceParams("csm", str(folder), None))
        course = adapted(voice, LORA)
        course.set_weights({n: torch.randn(w.shape) * 0.1 for n, w in course.weights().items()})
        voice.save_adapter(tmp_path / name)
        made.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert made[0] == made[1]
    assert set(made[0]) == {"adapter_config.json", "adapter_model.safetensors"}
    tuned: Any = families.load(VoiceParams("csm", str(folder), None), adapter=tmp_path / "a")
    batch = tuned.batch([[Turn("the ferry", kept(9))]], 1.0, 0)
    voice.model.eval()
    assert tuned.losses(batch).total.item() == pytest.approx(voice.losses(batch).total.item(), abs=1e-4)
    plain: Any = families.load(VoiceParams("csm", str(folder), None))
    assert abs(plain.losses(batch).total.item() - tuned.losses(batch).total.item()) > 1e-3


@pytest.mark.parametrize("rslora", [True, False])
def test_an_adapter_is_merged_to_the_bytes_that_peft_makes(folder: Path, tmp_path: Path, rslora: bool) -> None:
    voice: Any = families.load(VoiceParams("csm", str(folder), None))
    course = adapted(voice, LORA._replace(rslora=rslora))
    course.set_weights({n: torch.randn(w.shape) * 0.1 for n, w in course.weights().items()})
    voice.save_adapter(tmp_path)
    theirs = voice.model.merge_and_unload().state_dict()
    ours: Any = families.load(VoiceParams("csm", str(folder), None), adapter=tmp_path)
    mine = ours.base.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(weight, theirs[name]) for name, weight in mine.items())


def test_gradient_checkpointing_gives_the_same_gradients(folder: Path) -> None:
    gradients = []
    for saving in (False, True):
        torch.manual_seed(0)
        voice: Any = families.load(VoiceParams("csm", str(folder), None))
        (course,) = voice.courses(LORA, CSM, save_memory=saving)
        course.begin()
        voice.model.train()
        voice.losses(voice.batch([[Turn("the ferry", kept(9))]], 1.0, 0)).total.backward()
        gradients.append([w.grad.clone() for w in voice.model.parameters() if w.requires_grad])
    for plain, saved in zip(*gradients, strict=True):
        assert torch.allclose(plain, saved, atol=1e-6)
    assert max(gradient.abs().max().item() for gradient in gradients[0]) > 0


@pytest.mark.parametrize(
    ("codebooks", "names"),
    [
        (2, ["2"]),
        (4, ["2-4"]),
        (8, ["2-4", "5-8"]),
        (32, ["2-4", "5-8", "9-16", "17-32"]),
        (10, ["2-4", "5-8", "9-10"]),
    ],
)
def test_the_depth_loss_is_told_by_groups_that_cover_its_codebooks(codebooks: int, names: list[str]) -> None:
    from timbre.families.csm.losses import group_losses, groups

    found = groups(codebooks)
    assert list(found) == names
    covered = [place for part in found.values() for place in range(codebooks - 1)[part]]
    assert covered == list(range(codebooks - 1))
    each = torch.rand(codebooks - 1, 5, requires_grad=True)
    losses = group_losses(each)
    weights = {name: len(range(codebooks - 1)[part]) for name, part in found.items()}
    assert sum(losses[n] * weights[n] for n in names) / (codebooks - 1) == pytest.approx(each.mean().item(), abs=1e-5)
    assert not any(loss.requires_grad for loss in losses.values()), "nothing is learnt from what is only shown"
