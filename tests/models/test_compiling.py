"""What a GPU compiles, compiled for this processor: the same codes from fewer kernels, and a voice without a compiler.

How many kernels a GPU launches is not known here. What is counted is what torch's compiler makes of a step for a
processor, beside the operations that the uncompiled step computes with: a launch each on a GPU, or several.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from tests.support.tiny_models import kept, write_random_adapter
from timbre.families import Request, Speaking, Turn, compiling, llama
from timbre.families.compiling import Compiled
from timbre.families.csm import decode
from timbre.families.csm.decode import Decoder, Weights
from timbre.families.csm.depth import CompiledDepth
from timbre.families.lora_rows import RowAdapters
from timbre.families.sampling import RowSampling

HOW = Speaking(0.8, 10, 2)
REQUESTS = (
    Request("the ferry waits", (), seed=1, seconds=1.0),
    Request("again", (Turn("the train", kept(30)),), seed=2, seconds=1.0),
)
CALL = re.compile(r"^\s*(?:\w+ = )?(?:cpp_fused\w*|extern_kernels\.\w+|torch\.ops\.\S+)\(", re.MULTILINE)
COMPUTES_NOTHING = (
    "view", "_unsafe_view", "narrow", "slice", "select", "unbind", "split", "unsqueeze", "permute", "transpose", "t",
    "expand", "detach", "alias", "as_strided", "empty", "new_empty", "empty_like",
)  # fmt: skip


@pytest.fixture
def compiler() -> Iterator[None]:
    """For a processor, in this process alone, and nothing kept from an earlier test."""
    if shutil.which("g++") is None:
        pytest.skip("the compiler's code for a processor needs g++")
    import torch._dynamo
    from torch._inductor import config
    from torch._inductor.utils import fresh_cache

    torch._dynamo.reset()
    with config.patch({"compile_threads": 1, "cpp.simdlen": 1}), fresh_cache():
        yield
    torch._dynamo.reset()


class Computed(TorchDispatchMode):
    """Counts the operations that compute something."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += function.overloadpacket.__name__ not in COMPUTES_NOTHING
        return function(*args, **(kwargs or {}))


def decoder(voice: Any, *, compiled: bool) -> tuple[Decoder, int]:
    """Both sentences have begun in it; the places that the longer one takes."""
    made = Decoder(voice.base, HOW, compiled=compiled)
    return made, max(made.admit(slot, voice.sentence(request), {}) for slot, request in enumerate(REQUESTS))


@pytest.fixture
def laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products and norms are those of a GPU."""
    for module in (llama, decode):
        monkeypatch.setattr(module, "product", lambda weight: partial(F.linear, weight=weight))
    monkeypatch.setattr(llama, "normed", _normed)


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch, laid_out: None) -> Iterator[None]:
    """Traced as on a GPU; carried out by torch's own operations, which takes no compiler of C++."""
    import torch._dynamo
    from torch._dynamo.utils import counters

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def _normed(by: Any) -> Any:
    weight = by.weight.detach()
    return partial(torch.rms_norm, normalized_shape=weight.shape, weight=weight, eps=by.variance_epsilon)


def graphs() -> int:
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])


def assert_same_frames(plain: Decoder, fused: Decoder, longest: int) -> None:
    for step in range(8):
        assert fused.frames(longest + 1 + step).tolist() == plain.frames(longest + 1 + step).tolist()
    assert not Compiled.fails, "each is one graph, or it would not have been compiled"
    # Sums come in another order: the last of seven digits of single precision, after some layers and frames.
    assert (fused.state - plain.state).norm() < 1e-5 * plain.state.norm()


def test_a_compiled_frame_says_the_same_codes_and_all_layers_and_codebooks_share_what_is_compiled(
    voice: Any, traced: None
) -> None:
    (plain, longest), (fused, _) = decoder(voice, compiled=False), decoder(voice, compiled=True)
    assert isinstance(fused.depth, CompiledDepth)
    assert type(plain.depth) is not CompiledDepth
    assert_same_frames(plain, fused, longest)
    # A layer's step of the backbone, of the depth decoder's first two positions and of any other; what lies between.
    assert graphs() == 3 + 2


def test_the_slots_of_a_gpus_server_say_the_same_codes_compiled(
    voice: Any, folder: Path, traced: None, tmp_path: Path
) -> None:
    write_random_adapter(folder, tmp_path / "adapter", seed=1)
    made = []
    for compiled in (False, True):
        adapters = RowAdapters(2, 4, voice.base.backbone_model.norm.weight, own=True)
        sampling = RowSampling(2, torch.device("cpu"))
        weights = Weights(voice.base, adapters)
        slots = Decoder(voice.base, HOW, weights=weights, sampling=sampling, compiled=compiled)
        adapters.load("one", tmp_path / "adapter")
        adapters.use(0, "one")
        sampling.set(0, Speaking(0.8, 10, 2))
        sampling.set(1, Speaking(0.0, 0, 2), 0.9)
        longest = max(slots.admit(slot, voice.sentence(request), {}) for slot, request in enumerate(REQUESTS))
        made.append(slots)
    assert isinstance(made[1].depth, CompiledDepth)
    assert_same_frames(*made, longest)
    assert graphs() == 3 + 2


def test_a_compiled_layer_computes_the_same_with_fewer_kernels(voice: Any, laid_out: None, compiler: None) -> None:
    from torch._inductor.utils import run_and_get_code

    depth = decoder(voice, compiled=True)[0].depth
    assert isinstance(depth, CompiledDepth)
    stack, width = depth.stack, voice.base.depth_decoder.config.hidden_size
    x = torch.randn(2, width, generator=torch.Generator().manual_seed(0))
    given = stack.layers[0], stack.cache[0], x, depth.places[1]
    assert stack.compiled
    with torch.inference_mode():
        before = stack.cache.normal_().clone()
        state, [code] = run_and_get_code(stack.compiled, *given)
        written, stack.cache[:] = stack.cache.clone(), before
        with Computed() as eager:
            expected = stack.compiled.plain(*given)
    assert not Compiled.fails
    assert torch.allclose(state, expected, atol=1e-6)
    assert torch.allclose(written, stack.cache, atol=1e-6)
    assert not torch.equal(written, before)
    kernels = CALL.findall(code.partition("def call(")[2])
    assert (len(kernels), eager.count) == (9, 20)
    assert not any("copy_" in kernel for kernel in kernels), "of the whole cache, to write one place"


def test_without_a_compiler_a_voice_speaks_on_and_one_line_says_why(
    voice: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*_: Any, **__: Any) -> Any:
        raise RuntimeError("Failed to find C compiler. Please specify via CC environment variable.\n\nand more")

    monkeypatch.setattr(torch, "compile", missing)
    monkeypatch.setattr(Compiled, "fails", "")
    (plain, longest), (fused, _) = decoder(voice, compiled=False), decoder(voice, compiled=True)
    for step in range(3):
        assert fused.frames(longest + 1 + step).tolist() == plain.frames(longest + 1 + step).tolist()
    assert capsys.readouterr().err.splitlines() == [
        "the decode loop runs uncompiled, which is slower (Failed to find C compiler. Please specify via CC "
        "environment variable); mend that, or set TIMBRE_COMPILE=0 to see this no more"
    ]


def test_only_a_gpu_compiles_and_the_environment_can_forbid_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert (compiling.is_wanted(cpu), compiling.is_wanted(gpu)) == (False, True)
    monkeypatch.setenv(compiling.SWITCH, "0")
    assert not compiling.is_wanted(gpu)
