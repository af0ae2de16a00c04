"""The counts of `timbre estimate` are those of torch on a random model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import shapes, wave_step
from tests.models.parity.fixture import Fixture
from tests.support.tiny_sovits import S1, random_sovits
from tests.support.tiny_xtts import CHANNELS, random_xtts
from timbre.families import Lora, Turn
from timbre.families.orpheus.shape import SNAC_24KHZ, snac
from timbre.families.sovits.courses import learnt
from timbre.families.sovits.load import load_base
from timbre.families.sovits.shape import SPEAKER_OPERATIONS, SPEAKER_WEIGHTS, STAGE2
from timbre.families.sovits.speaker_vector import CLASSIFIER, SpeakerNet
from timbre.families.xtts.shape import vocoding
from timbre.families.xtts.vocoder import LatentVocoder
from timbre.training import cost_estimate

RANK = 16
# which torch does not count by itself
ON_THE_SPOT = {torch.ops.aten.addmm_: lambda _, x, y, **__: 2 * math.prod(x) * y[-1]}


@pytest.fixture(scope="module")
def voice() -> Any:
    return shapes.csm("tiny")


@pytest.fixture(scope="module")
def step(voice: Any) -> tuple[cost_estimate.BatchShape, float, float]:
    """What is learnt from, the operations of a step as torch counts them, and the bytes kept for the way back."""
    voice.adapt(Lora(RANK, 16, True, 0.05))
    voice.model.train()
    random = np.random.default_rng(0)
    turn = Turn("The ferry waits here.", {"codes": random.integers(1, 60, (100, voice.codebooks)).astype(np.int16)})
    batch = voice.batch([[turn]] * 4, 0.25, 0)
    own = {weight.untyped_storage().data_ptr() for weight in voice.base.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept.update({storage.data_ptr(): storage.nbytes()} if storage.data_ptr() not in own else {})
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    counter = FlopCounterMode(display=False, custom_mapping=ON_THE_SPOT)
    with sdpa_kernel(SDPBackend.MATH), counter:  # others are not counted on a CPU
        voice.losses(batch).total.backward()
    with hooks:
        losses = voice.losses(batch)
    del losses
    shape = cost_estimate.BatchShape(4, voice.length([turn]), 4 * 101, len(batch.deep))
    return shape, counter.get_total_flops(), sum(kept.values())


SHAPE = cost_estimate.read_shape("csm", str(shapes.TINY))


def test_a_steps_operations_are_those_that_torch_counts(step: tuple[cost_estimate.BatchShape, float, float]) -> None:
    shape, counted, _ = step
    assert cost_estimate.learning_step(SHAPE, shape, RANK, checkpointing=False) == pytest.approx(counted, rel=0.03)


def test_what_a_step_keeps_is_what_autograd_keeps(step: tuple[cost_estimate.BatchShape, float, float]) -> None:
    shape, _, kept = step
    parts = cost_estimate.learning_memory(SHAPE, shape, RANK, half=False, checkpointing=False, small_optimiser=False)
    assert parts["activations"] + parts["logits"] == pytest.approx(kept, rel=0.2)
    less = cost_estimate.learning_memory(SHAPE, shape, RANK, half=False, checkpointing=True, small_optimiser=True)
    assert less["activations"] < parts["activations"] / 2
    assert less["adapter and optimiser"] < parts["adapter and optimiser"]


def test_the_codecs_operations_are_those_that_torch_counts(voice: Any) -> None:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        voice.base.codec_model.encode(torch.zeros(1, 1, 4 * voice.sample_rate), num_quantizers=voice.codebooks)
    assert 4 * SHAPE.codec.encoding == pytest.approx(counter.get_total_flops(), rel=0.05)


def test_the_codecs_operations_on_the_way_back_are_those_that_torch_counts(voice: Any) -> None:
    codes = torch.ones(1, voice.codebooks, int(4 * voice.frame_rate), dtype=torch.int64)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        voice.base.codec_model.decode(codes)
    assert 4 * SHAPE.codec.decoding == pytest.approx(counter.get_total_flops(), rel=0.3)


@pytest.mark.parametrize("depthwise", [True, False])
def test_snacs_operations_and_weights_are_those_that_torch_counts(depthwise: bool) -> None:
    from snac import SNAC

    sizes = {"encoder_dim": 32, "encoder_rates": [4, 8], "decoder_dim": 256, "decoder_rates": [8, 4]}
    config = SNAC_24KHZ | sizes | {"depthwise": depthwise}
    codec = SNAC(**{key: config[key] for key in config if key != "noise"}, latent_dim=None, attn_window_size=None)
    shape = snac(config)
    with torch.no_grad(), FlopCounterMode(display=False) as there:
        levels = codec.encode(torch.zeros(1, 1, 24_000))
    with torch.no_grad(), FlopCounterMode(display=False) as back:
        codec.decode(levels)
    assert shape.encoding == pytest.approx(there.get_total_flops(), rel=0.1)
    assert shape.decoding == pytest.approx(back.get_total_flops(), rel=0.1)
    assert shape.weights == pytest.approx(sum(weight.numel() for weight in codec.parameters()), rel=0.1)


def test_the_shapes_have_the_weights_of_the_models(voice: Any) -> None:
    named = [(name, weight) for name, weight in voice.base.named_parameters() if "lora" not in name]
    assert SHAPE.weights == pytest.approx(sum(w.numel() for n, w in named if "codec" not in n), rel=0.01)
    assert SHAPE.frame_rate == voice.frame_rate


def count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def listed(fixture: str, kind: str) -> int:
    """Weights of a released file, by its list of names and shapes; without those that only served to train it."""
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    rows = [(name, sizes) for name, sizes, _ in Fixture(fixture).json(kind) if not name.endswith(buffers)]
    return sum(math.prod(sizes) for name, sizes in rows if not name.startswith(CLASSIFIER))


@pytest.mark.parametrize("version", sorted(STAGE2))
def test_stage_2_of_gpt_sovits_has_the_weights_of_each_version(version: str) -> None:
    course, _, _ = wave_step.random_step(version, torch.device("meta"))
    told, stage2 = STAGE2[version], course.voice.stage2
    judges = listed(f"sovits_{'v2pro' if 'Pro' in version else 'v2'}", "state_discriminator")
    assert count(course.judges) == judges
    assert told.weights == pytest.approx(count(stage2), rel=0.002)
    assert told.training.weights == pytest.approx(sum(w.numel() for w in learnt(stage2).values()) + judges, rel=0.002)


@pytest.mark.parametrize(("version", "seconds"), [("v2", 3.0), ("v2Pro", 8.0), ("v2ProPlus", 5.0)])
def test_a_step_of_stage_2_has_the_operations_that_torch_counts(version: str, seconds: float) -> None:
    course, batch, _ = wave_step.random_step(version, torch.device("meta"), seconds=seconds)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        for objective in course.objectives:
            objective.losses(batch).total.backward()
    told = STAGE2[version].training
    assert told.segment + told.second * seconds == pytest.approx(counter.get_total_flops(), rel=0.01)


@pytest.mark.parametrize("version", ["v2", "v2Pro", "v2ProPlus"])
def test_sound_of_stage_2_has_the_operations_that_torch_counts(version: str) -> None:
    course, _, _ = wave_step.random_step(version, torch.device("meta"))
    stage2 = course.voice.stage2
    with torch.device("meta"):
        codes, text = (torch.zeros(1, count, dtype=torch.int64) for count in (50, 40))  # two seconds of sound
        voices, noise = stage2.told(torch.zeros(1, stage2.dec.cond.in_channels, 1)), torch.zeros(1, stage2.latents, 100)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        stage2.speak(codes, text, voices, noise)
    assert counter.get_total_flops() == pytest.approx(2 * STAGE2[version].speaking, rel=0.01)


def test_who_speaks_is_heard_by_the_released_network() -> None:
    with torch.device("meta"):
        network, sound = SpeakerNet(64), torch.zeros(1, 64, 80, 200)
    assert count(network) == listed("sovits_speaker", "state_speaker")
    assert count(network) == pytest.approx(SPEAKER_WEIGHTS, rel=0.002)
    network.filter_bank = lambda sound: sound.new_zeros(1, 200, 80)  # of two seconds; no product
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(sound)
    assert counter.get_total_flops() == pytest.approx(2 * SPEAKER_OPERATIONS, rel=0.03)


def test_a_narrow_gpt_sovits_is_counted_by_its_own_files(tmp_path: Path) -> None:
    folder = random_sovits(tmp_path / "narrow")
    base, shape = load_base(str(folder), None), cost_estimate.read_shape("sovits", str(folder))
    assert base.judges is not None
    assert shape.weights == pytest.approx(count(base.stage1), rel=0.01)
    assert shape.waves is not None
    part = STAGE2["v2"].weights / count(base.codec.stage2)
    assert shape.waves.weights == pytest.approx(STAGE2["v2"].training.weights / part, rel=0.01)
    assert shape.codec.encoding < 0.05 * cost_estimate.read_shape("sovits", "lj1995/GPT-SoVITS").codec.encoding
    (folder / S1).write_bytes((folder / S1).read_bytes()[:-100])
    assert cost_estimate.read_shape("sovits", str(folder)).sentence.layers == 24, "loading will say that it is damaged"


def test_an_xtts_is_counted_by_its_own_files_with_the_sound_that_it_makes(tmp_path: Path) -> None:
    shape = cost_estimate.read_shape("xtts", str(random_xtts(tmp_path)))
    vocoder = LatentVocoder(CHANNELS, 512, width=32)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        vocoder.voiced(torch.zeros(1, CHANNELS, 375), torch.zeros(1, 512))  # four seconds
    assert shape.codec.decoding == pytest.approx(counter.get_total_flops() / 4, rel=0.05)
    released = cost_estimate.read_shape("xtts", "coqui/XTTS-v2")
    assert released.codec.decoding == vocoding(1024, 512)
    assert released.codec.weights > 20 * shape.codec.weights
    (tmp_path / "model.pth").write_bytes(b"PK")
    assert cost_estimate.read_shape("xtts", str(tmp_path)).codec.weights == released.codec.weights
