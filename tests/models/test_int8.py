"""Weights in 8 bits: near to single precision, smaller, and no row another in other company."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.pytorch_utils import Conv1D

from tests.support.paths import ROOT
from tests.support.tiny_models import CODEBOOKS, kept
from timbre import families
from timbre.core.errors import ModelError, ParamsError
from timbre.core.sections import VoiceParams
from timbre.families import Request, Speaking, Turn, int8
from timbre.families.compiling import Compiled
from timbre.families.csm.decode import Decoder
from timbre.families.csm.eight_bits import Int8Heads, shrink
from timbre.families.int8 import Int8Linear, Int8Weights, joint
from timbre.families.llama import joined


@pytest.fixture
def voice(folder: Path) -> Any:
    return families.load(VoiceParams("csm", str(folder), None), precision="int8")


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("here", [True, False], ids=["of this processor", "of one without VNNI"])
def test_a_layer_is_near_to_single_precision(monkeypatch: pytest.MonkeyPatch, here: bool) -> None:
    levels = int8.levels() if here else 63  # 127 overflow where the processor has no VNNI
    error = 0.02 if levels == 127 else 0.04
    monkeypatch.setattr(int8, "levels", lambda: levels)
    weight = random(83, 130) * torch.logspace(-3, 1, 83)[:, None]  # each output has a scale of its own …
    x = random(300, 130) * torch.logspace(-6, 6, 300)[:, None]  # … and so has each row
    x[0] = 0
    expected = x @ weight.T
    away, size = Int8Linear(weight)(x) - expected, x.norm(dim=1)[:, None] * weight.norm(dim=1)
    assert (away.abs() <= error * size / 130**0.5 * 4).all()
    assert (away.abs().mean() / expected.abs().mean()) < error


def test_a_row_is_the_same_to_the_last_bit_in_any_company() -> None:
    layer, x = Int8Linear(random(83, 130)), random(40, 130) * torch.logspace(-3, 3, 40)[:, None]
    together = layer(x)
    for count in (1, 2, 8, 16):
        assert torch.equal(layer(x[:count]), together[:count])
    assert torch.equal(layer(x.view(4, 10, 130)).view(40, 83), together)


def test_a_bias_is_added_in_single_precision_and_a_gpt_2_s_layer_lies_the_other_way() -> None:
    layers = torch.nn.ModuleDict({"plain": torch.nn.Linear(130, 83), "gpt": Conv1D(83, 130)})
    torch.nn.init.normal_(layers["gpt"].bias)
    x = random(5, 130)
    exact = {name: layer(x).detach() for name, layer in layers.items()}
    int8.replace(layers)
    for name, layer in layers.items():
        assert isinstance(layer, Int8Linear)
        assert (layer(x) - exact[name]).norm() < 0.02 * exact[name].norm()
        assert torch.equal(layer(x[:1]), layer(x)[:1])
        assert torch.equal(layer(torch.zeros(1, 130))[0], layer.bias)


def test_the_heads_are_told_apart() -> None:
    weight, x = random(3, 64, 50), random(2, 64)
    for number, head in enumerate(Int8Heads(weight).each):
        assert (head(x) - x @ weight[number]).norm() < 0.02 * (x @ weight[number]).norm()


def test_layers_of_one_input_are_one_layer_and_each_still_answers_alone(voice: Any, folder: Path) -> None:
    exact: Any = families.load(VoiceParams("csm", str(folder), None), precision="fp32")
    x = random(3, 32)
    attention, plain = (one.base.backbone_model.layers[1].self_attn for one in (voice, exact))
    parts = [getattr(attention, name) for name in ("q_proj", "k_proj", "v_proj")]
    assert torch.equal(joined(*parts)(x), torch.cat([part(x) for part in parts], -1))
    assert (attention.k_proj(x) - plain.k_proj(x)).norm() < 0.02 * plain.k_proj(x).norm()
    assert joint(parts) is parts[0].whole
    assert joint(parts[:2]) is joint([*parts[1:], parts[0]]) is joint([plain.q_proj]) is None


def test_every_layer_of_both_decoders_is_shrunk_and_the_rest_is_not(voice: Any) -> None:
    layers = [module for module in voice.base.modules() if isinstance(module, Int8Linear)]
    # Two layers in each: q, k and v in one, o, gate and up in one, down; the backbone's head, the depth's projection.
    assert len(layers) == 2 * 2 * 4 + 2 + CODEBOOKS - 1
    left = [name for name, module in voice.base.named_modules() if type(module) is torch.nn.Linear]
    assert all(name.startswith("codec_model.") for name in left)
    assert {layer.packed.nbytes for layer in layers} == {layer.shape.numel() for layer in layers}  # a byte each
    assert {weight.dtype for weight in voice.base.parameters()} == {torch.float32}


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_sentence_comes_out_the_same_in_any_company(voice: Any, temperature: float) -> None:
    reference = Turn("the train", voice.encode([random(8000).numpy()])[0])
    requests = [
        Request("the ferry waits", (), seed=1, seconds=0.48),
        Request("green coffee to oslo please again", (reference,), seed=2, seconds=0.2),
        Request("again", (reference, reference), seed=3, seconds=0.48),
    ]
    together = list(voice.speak_codes(requests, Speaking(temperature, top_k=10, slots=3)))
    for request, spoken in zip(requests, together, strict=True):
        [alone] = voice.speak_codes([request], Speaking(temperature, top_k=10, slots=1))
        assert spoken.codes.tolist() == alone.codes.tolist()


def test_a_torch_without_the_kernels_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> torch.Tensor:
        raise RuntimeError("could not create a primitive")

    monkeypatch.setattr(int8, "_multiply", missing)
    int8.levels.cache_clear()
    with pytest.raises(ModelError, match="use fp32 or bf16"):
        Int8Linear(random(4, 4))
    int8.levels.cache_clear()


def test_on_a_gpu_weights_alone_are_in_8_bits_and_near_to_what_a_cpu_makes_of_them() -> None:
    weight = random(83, 130) * torch.logspace(-3, 1, 83)[:, None]  # each output has a scale of its own
    x = random(40, 130)
    layer, exact = Int8Weights(weight, bias := random(83)), x @ weight.T
    # Half a step of each weight, over 130 that err by chance, and the scale's last digit of eight bits.
    step = weight.abs().amax(1) / 127
    assert ((layer(x) - bias - exact).abs() <= 4 * step * x.norm(dim=1)[:, None] / 12**0.5).all()
    on_cpu = Int8Linear(weight)(x)
    assert (layer(x) - bias - on_cpu).norm() < 0.02 * on_cpu.norm()
    scale = layer.scale.clone()
    assert torch.equal(layer.bfloat16().scale.float(), scale), "a model is brought to 16 bits after it is shrunk"
    assert (layer.whole.dtype, int(layer.whole.abs().max())) == (torch.int8, 127)
    assert int8.kind_for(torch.device("cuda")) is Int8Weights


def test_a_gpus_voice_in_8_bits_speaks_compiled_as_it_does_uncompiled(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch._dynamo

    exact: Any = families.load(VoiceParams("csm", str(folder), None), precision="fp32")
    small: Any = families.load(VoiceParams("csm", str(folder), None), precision="fp32")
    shrink(small.base, Int8Weights)
    turns = (Turn("the ferry waits", kept(9)),)
    logits, expected = (voice.logits(turns) for voice in (small, exact))
    assert 0 < (logits - expected).norm() < 0.02 * expected.norm()

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    plain, fused = (Decoder(small.base, Speaking(0.8, 10, 1), compiled=compiled) for compiled in (False, True))
    for decoder in (plain, fused):
        longest = decoder.admit(0, small.sentence(Request("the ferry waits", (), seed=1, seconds=1.0)), {})
    frames = [[decoder.frames(longest + 1 + step).tolist() for step in range(5)] for decoder in (plain, fused)]
    assert not Compiled.fails
    assert frames[0] == frames[1]
    assert (fused.state - plain.state).norm() < 1e-5 * plain.state.norm()


def test_a_gpus_voice_in_8_bits_is_nearly_half_as_large(folder: Path) -> None:
    """For csm-1b, by its shape: 1.95 GB instead of 3.11, and 4.6 GB read for a frame instead of 9.1."""
    voice: Any = families.load(VoiceParams("csm", str(folder), None), precision="fp32")
    decoders = voice.base.backbone_model.layers, voice.base.depth_decoder.model.layers
    before = sum(weight.numel() for layers in decoders for weight in layers.parameters() if weight.ndim == 2)
    shrink(voice.base, Int8Weights)
    voice.base.bfloat16()
    layers = [module for part in decoders for module in part.modules() if isinstance(module, Int8Weights)]
    assert sum(layer.whole.nbytes for layer in layers) == before
    assert sum(layer.scale.nbytes for layer in layers) == 2 * sum(layer.shape[0] for layer in layers)


def test_families_without_8_bits_on_a_gpu_are_told_to_choose_another_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for family in ("orpheus", "xtts", "sovits"):
        with pytest.raises(ModelError, match="here is a GPU: choose auto or bf16"):
            families.load(VoiceParams(family, str(ROOT / "models/tiny" / family), None), precision="int8")


def test_nothing_is_learnt_in_8_bits(tmp_path: Path) -> None:
    from timbre.core.params import read

    path = tmp_path / "params.yaml"
    before, section, after = Path("params.yaml").read_text().partition("\ntrain:\n")
    path.write_text(before + section + after.replace("precision: auto", "precision: int8", 1))
    with pytest.raises(ParamsError, match=r"train\.precision: 'int8' is not one of auto, fp32, bf16$"):
        read(path)
