"""LoRA by peft, for any family: an adapter on named layers, its weights, its two files, and the way into the base.

model = put_on(base, TARGETS, lora, layers=20)
...                                                  # train the weights that require a gradient
save(model, Path("models/adapter"))
base = merged(base, Path("models/adapter"))          # to speak: no cost, and no rounding of small changes
"""

from __future__ import annotations

import importlib
import json
import math
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from timbre.core.errors import ModelError
from timbre.families import lean_torch
from timbre.families.lora_learning import lighten
from timbre.families.protocol import WHOLE, Lora, Losses, Objective, Part, Turn

PROJECTIONS = r"(self_attn\.(q|k|v|o)_proj|mlp\.(gate|up|down)_proj)"
sre_parser: Any = vars(re)["_parser"]  # Python's own reader of patterns; no public module has it
SEARCHES = ("rank_pattern", "alpha_pattern", "exclude_modules", "layers_pattern", "target_parameters")
# Of a configuration of peft's, what asks for more than to add two matrices
EXTRAS = (
    "use_dora", "use_qalora", "use_bdlora", "lora_bias", "modules_to_save", "layers_to_transform", "layer_replication",
    "trainable_token_indices", "arrow_config", "kasa_config", "velora_config", "monteclora_config",
    "alora_invocation_tokens",
)  # fmt: skip
LONGEST, MOST_REPEATS = 1000, 3  # of a search for names of layers: characters; repetitions, of which ours has two
PER_LAYER = 7  # matrices of a Llama layer: four projections of attention, three of the MLP


def put_on(
    base: Any, targets: str, lora: Lora, layers: int, *, per_layer: int = PER_LAYER, fan_in_fan_out: bool = False
) -> Any:
    """peft's model around `base`, with a fresh adapter on the projections of so many Llama layers.

    `targets` matches their full names: short names, and peft's "all-linear", would wrap layers of a codec too.
    """
    peft = _peft()
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        use_rslora=lora.rslora,
        lora_dropout=lora.dropout,
        target_modules=targets,
        fan_in_fan_out=fan_in_fan_out,
    )
    model = peft.get_peft_model(base, config)
    for module in base.modules():
        if hasattr(module, "cast_input_dtype_enabled"):  # autocast takes what is learnt to half precision instead:
            module.cast_input_dtype_enabled = False  # half the memory, and no way there and back
    lighten(model)
    wrapped = [name for name, _ in base.named_modules() if name.endswith(".lora_A")]
    assert len(wrapped) == per_layer * layers, "the adapter sits on every projection and on nothing else"
    return model


def learnt(model: Any) -> list[Any]:
    return [weight for weight in model.parameters() if weight.requires_grad]


def weights(model: Any) -> dict[str, Tensor]:
    state = _peft().get_peft_model_state_dict(model, save_embedding_layers=False)
    return {name: weight.detach().cpu().clone() for name, weight in state.items()}


def set_weights(model: Any, values: dict[str, Tensor]) -> None:
    result = _peft().set_peft_model_state_dict(model, values)
    assert not result.unexpected_keys, "an adapter of another shape"


def effect(model: Any, output: Callable[[], Tensor]) -> float:
    """How far the adapter moves the numbers that `output` computes, at most."""
    weight = next(iter(model.parameters()))
    half = torch.autocast(weight.device.type, torch.bfloat16, enabled=model.get_base_model().dtype == torch.bfloat16)
    with torch.no_grad(), evaluating(model), half:
        tuned = output()
        with model.disable_adapter():
            return float((tuned - output()).abs().max())


def save(model: Any, folder: Path) -> None:
    """Weights and configuration only, the same bytes for the same adapter."""
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's card names versions, nothing of this voice
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()  # peft keeps a set, whose order changes from run to run
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def merged(base: Any, adapter: Path) -> Any:
    """The adapter added to the weights, in single precision.

    An adapter as ours are is added here, by peft's arithmetic; peft itself, and accelerate with it, take a tenth of the
    time until a voice says its first word, and have to wrap each layer first.
    """
    config = check_config(adapter)
    try:
        if is_plain(config):
            values = load_file(adapter / "adapter_model.safetensors")
            check_effect(adapter, values)
            add(base, values, config)
            return base
        with warnings.catch_warnings():  # peft would only warn, and speak with what it found
            warnings.filterwarnings("error", message="Found missing adapter keys")
            tuned = _peft().PeftModel.from_pretrained(base, str(adapter))
        check_effect(adapter, dict(tuned.named_parameters()))
        return tuned.merge_and_unload()
    except (
        OSError, ValueError, KeyError, RuntimeError, TypeError, ArithmeticError, SafetensorError, UserWarning,
    ) as error:  # fmt: skip
        reason = str(error).strip().splitlines()[0][:100]
        raise ModelError(f"{adapter} does not fit the base model ({reason}); run `dvc repro -f train`") from error


def is_plain(config: Mapping[str, Any]) -> bool:
    """Two thin matrices for each layer, and nothing that would have to be done besides."""
    return config.get("bias", "none") == "none" and not any(config.get(key) for key in EXTRAS)


def add(base: Any, values: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """An adapter's matrices to the weights of its layers, each of which must be there."""
    layers = {name: layer for name, layer in base.named_modules() if _is_targeted(name, config["target_modules"])}
    pairs = {name: [f"base_model.model.{name}.lora_{side}.weight" for side in "BA"] for name in layers}
    wanted = {key for pair in pairs.values() for key in pair}
    for complaint, keys in (("missing", wanted - values.keys()), ("superfluous", values.keys() - wanted)):
        if keys:
            raise ValueError(f"{complaint} adapter keys {min(keys)} ({len(keys)} in all)")
    rank, alpha = config["r"], config["lora_alpha"]
    scale = alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank
    for name, layer in layers.items():
        up, down = (values[key].float() for key in pairs[name])
        if down.shape[0] != rank:
            raise ValueError(f"{name} has rank {down.shape[0]}, not {rank}")
        change = up.to(layer.weight.device) @ down.to(layer.weight.device)
        layer.weight.data += (change.T if type(layer).__name__ == "Conv1D" else change) * scale


def _is_targeted(name: str, targets: str | Sequence[str]) -> bool:
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return any(name == target or name.endswith(f".{target}") for target in targets)


def check_effect(adapter: Path, values: Mapping[str, Tensor]) -> None:
    """The second matrices are zeros until something was learnt."""
    if not any(bool(weight.any()) for name, weight in values.items() if "lora_B" in name):
        raise ModelError(f"{adapter} changes nothing in the base model; run `dvc repro -f train`")


ASKS = "_torch_supports_distributed"  # of peft, whether torch can spread a weight at all


def _peft() -> Any:
    """peft asks torch.distributed.tensor whether a weight is spread over several processes, and takes it that somebody
    has imported that. One process spreads none, so peft is told not to ask: the import brings sympy."""
    lean_torch.complete()
    import peft
    from peft.tuners import tuners_utils

    if torch.distributed.is_available():
        several, asks = torch.distributed.is_initialized(), hasattr(tuners_utils, ASKS)
        if several or not asks:  # another release asks elsewhere
            importlib.import_module("torch.distributed.tensor")
        if asks:
            setattr(tuners_utils, ASKS, several)
    return peft


def check_config(adapter: Path) -> dict[str, Any]:
    """An adapter's; ModelError where a search may never end, or layers are named in a way that ours never does."""
    path, weights = adapter / "adapter_config.json", adapter / "adapter_model.safetensors"
    if not weights.is_file():  # peft would take a pickle in its place
        raise ModelError(f"{weights}: is missing; run `dvc repro -f train`")
    try:
        config = json.loads(path.read_bytes())
        names = config["target_modules"]
        odd = [key for key in SEARCHES if config.get(key)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "it is no configuration of an adapter"
        raise ModelError(f"{path}: cannot be read ({reason}); run `dvc repro -f train`") from error
    if odd:
        raise ModelError(f"{path}: {odd[0]} is set, which no adapter of ours needs; run `dvc repro -f train`")
    if isinstance(names, str) and not is_quick(names):
        raise ModelError(f"{path}: target_modules is a search that may never end; run `dvc repro -f train`")
    return dict(config)


def is_quick(pattern: str) -> bool:
    """Whether a search cannot try its repetitions against each other: each is of one character, and they are few."""
    try:
        return len(pattern) <= LONGEST and _repeats(sre_parser.parse(pattern)) <= MOST_REPEATS
    except (re.error, RecursionError, OverflowError):
        return False


def _repeats(parsed: Any) -> int:
    """How many repetitions there are; more than are allowed where one is of a group, which may match in many ways."""
    count = 0
    for operation, argument in parsed:
        if "REPEAT" in str(operation):
            count += 1 if _is_character(argument[2]) else MOST_REPEATS + 1
        else:
            count += sum(_repeats(part) for part in _subpatterns(argument))
    return count


def _is_character(parsed: Any) -> bool:
    """`a`, `.`, `\\d` or `[a-z]`."""
    return len(parsed) == 1 and str(parsed[0][0]) in ("LITERAL", "NOT_LITERAL", "ANY", "IN", "CATEGORY")


def _subpatterns(argument: Any) -> Iterator[Any]:
    if isinstance(argument, sre_parser.SubPattern):
        yield argument
    elif isinstance(argument, (tuple, list)):
        for one in argument:
            yield from _subpatterns(one)


def save_memory(base: Any) -> None:
    """Compute activations twice instead of keeping them; for a model whose embeddings are made outside, as leaves."""
    base.enable_input_require_grads = lambda: None
    base.gradient_checkpointing_enable({"use_reentrant": False})


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


class LoraVoice(Protocol):
    """What a course needs of a voice whose decoder learns by LoRA."""

    base: Any  # the model that the adapter sits on
    model: Any  # peft's model around it, once `adapt` was called

    @property
    def stacks(self) -> Sequence[Any]: ...

    def adapt(self, lora: Lora) -> None:
        """Put on a fresh adapter."""

    def losses(self, batch: Any) -> Losses: ...

    def logits(self, turns: Sequence[Turn]) -> Tensor: ...


class LoraCourse(ABC):
    """The one training of a family that learns by LoRA; the family adds how batches are made."""

    name = "adapter"
    changes: Mapping[str, Any] = {}
    main = ""
    exam_cost = 1 / 2  # through frozen weights the way back costs as much as the way there

    def __init__(self, voice: LoraVoice, lora: Lora, *, save_memory: bool) -> None:
        self.voice, self.lora, self.saving = voice, lora, save_memory

    @property
    def model(self) -> Any:
        return self.voice.model

    def meet(self, clips: Sequence[Turn]) -> None:  # noqa: B027  # most families keep nothing of them
        pass

    def begin(self) -> None:
        if self.saving:
            save_memory(self.voice.base)
        self.voice.adapt(self.lora)

    @property
    def objectives(self) -> Sequence[Objective]:
        return (Objective(self.name, learnt(self.model), self.evaluate),)

    @property
    def stacks(self) -> Sequence[Any]:
        return self.voice.stacks

    @abstractmethod
    def batch(self, dialogues: Sequence[Sequence[Turn]], seed: int, part: Part = WHOLE) -> Any: ...

    @abstractmethod
    def exam(self, dialogues: Sequence[Sequence[Turn]], part: Part = WHOLE) -> Any: ...

    def evaluate(self, exam: Any) -> Losses:
        return self.voice.losses(exam)

    def weights(self) -> dict[str, Tensor]:
        return weights(self.model)

    def set_weights(self, values: dict[str, Tensor]) -> None:
        set_weights(self.model, values)

    def saved(self, folder: Path) -> dict[str, Tensor] | None:
        check_config(folder)
        return dict(load_file(folder / "adapter_model.safetensors"))

    def effect(self, turns: Sequence[Turn]) -> float:
        return effect(self.model, lambda: self.voice.logits(turns))
