"""The counts of `timbre estimate` are those of torch on a random model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import shapes
from timbre.families import Lora, Turn
from timbre.training import cost_estimate

RANK = 16


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
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # others are not counted on a CPU
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


def test_the_shapes_have_the_weights_of_the_models(voice: Any) -> None:
    named = [(name, weight) for name, weight in voice.base.named_parameters() if "lora" not in name]
    assert SHAPE.weights == pytest.approx(sum(w.numel() for n, w in named if "codec" not in n), rel=0.01)
    assert SHAPE.frame_rate == voice.frame_rate
