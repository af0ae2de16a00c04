"""transformers' core without what no voice here uses: a voice's model is imported and loaded in half of the CPU time.

    lean_transformers.load()                                  # before a model's class is imported
    from transformers import CsmForConditionalGeneration
    with lean_transformers.uncompiled():
        model = CsmForConditionalGeneration.from_pretrained(base)

Three things cost more than all the rest. Losses on pictures import scipy's optimisers and accelerate. What shards a
model imports torch.distributed.tensor, which Timbre never asks of transformers (timbre/training/distributed.py asks
torch itself). And the compiler comes with sympy and triton, though nothing here is compiled: by marks for
torch.compile, which do nothing while transformers is imported and weights are loaded; and by the device `meta`, on
which transformers makes a model before its weights come. transformers asks functions of its own whether a package is
there; while it is imported, they say no.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from timbre.families import lean_torch

os.environ.setdefault("USE_HUB_KERNELS", "NO")  # fetch no compiled library of others; transformers reads it once
COMPILER = "torch._dynamo"
MARKED = f"{COMPILER}._trace_wrapped_higher_order_op"  # the one part of it that transformers imports by name
CORE = ("loss.loss_utils", "modeling_utils", "modeling_layers", "masking_utils", "generation.utils")
UNUSED = ("is_scipy_available", "is_accelerate_available", "is_torch_distributed_available")


@functools.cache
def load() -> None:
    lean_torch.complete()
    with _large_caches():
        importlib.import_module("transformers")
    with uncompiled(), refused(*UNUSED):
        for name in CORE:
            _import(f"transformers.{name}")


@contextmanager
def _large_caches() -> Iterator[None]:
    """transformers reads the files of all its models twice, since it remembers only 128 folders of them."""
    small = functools.lru_cache

    def large(maxsize: Any = 128, typed: bool = False) -> Any:
        return functools.cache(maxsize) if callable(maxsize) else small(maxsize, typed)

    functools.lru_cache = large
    try:
        yield
    finally:
        functools.lru_cache = small


def _import(name: str) -> None:
    """As far as it goes: another release may lack it or want more, and gets that when the model's class is imported."""
    try:
        importlib.import_module(name)
    except (ImportError, AttributeError):
        sys.modules.pop(name, None)


@contextmanager
def refused(*questions: str) -> Iterator[None]:
    """transformers' own questions answered by no; a release that does not ask them is left alone."""
    from transformers import utils

    asked = [utils, utils.import_utils]
    answers = [(module, name, getattr(module, name)) for module in asked for name in questions if hasattr(module, name)]
    for module, name, _ in answers:
        setattr(module, name, lambda *_: False)  # accelerate is asked for by its version
    try:
        yield
    finally:
        for module, name, answer in answers:
            setattr(module, name, answer)


class Unmarked(ModuleType):
    """In the compiler's place: any mark gives back what it is put on."""

    class TransformGetItemToIndex:
        """The one thing that is used, and not put on something: the compiler's own, when it is needed."""

        def __new__(cls) -> Any:
            return importlib.import_module(MARKED).TransformGetItemToIndex()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return unmarked


def unmarked(function: Any = None, *_: Any, **__: Any) -> Any:
    return function if function is not None else unmarked


@contextmanager
def _memory_at_once() -> Iterator[None]:
    """A model is made in memory that nothing has been written to, until its weights come there. transformers makes it
    on the device `meta` otherwise, where torch asks sympy about every tensor's shape."""
    modeling: Any = sys.modules.get("transformers.modeling_utils")
    contexts = modeling and vars(modeling.PreTrainedModel).get("get_init_context")
    if not contexts:  # another release
        yield
        return
    import torch
    from transformers.initialization import no_init_weights

    def without_meta(cls: Any, *how: Any, **more: Any) -> list[Any]:
        given = contexts.__func__(cls, *how, **more)
        return [*(context for context in given if not isinstance(context, torch.device)), no_init_weights()]

    modeling.PreTrainedModel.get_init_context = classmethod(without_meta)
    try:
        yield
    finally:
        modeling.PreTrainedModel.get_init_context = contexts


@contextmanager
def uncompiled() -> Iterator[None]:
    """The compiler is not imported by marks meanwhile; what imports it later gets it."""
    import torch

    if COMPILER in sys.modules:  # it is here already, and costs no more
        yield
        return
    disable: Callable[..., Any] = torch.compiler.disable
    stand_ins: Sequence[ModuleType] = [Unmarked(COMPILER), Unmarked(MARKED)]
    sys.modules |= {module.__name__: module for module in stand_ins}
    torch._dynamo, torch.compiler.disable = stand_ins[0], unmarked
    try:
        with _memory_at_once():
            yield
    finally:
        torch.compiler.disable = disable
        for module in stand_ins:
            sys.modules.pop(module.__name__, None)
        vars(torch).pop("_dynamo", None)
