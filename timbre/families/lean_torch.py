"""torch without its rules for tensors on the device `meta`, which is a quarter of its import.

    lean_torch.load()        # before torch is imported, in a process that only speaks
    lean_torch.complete()    # before anything else that may ask for them: transformers, the compiler

torch writes in Python what shape each operation gives on a device that holds no numbers, and brings its decompositions
and a second copy of its functions for that. Models are laid out there before their weights come, and programs traced
for a compiler; to speak with weights that were read from a file does neither. Only a process of Timbre's own leaves
them out: in anybody else's, all of torch is there.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from timbre.core import running

RULES = "torch._meta_registrations"
GENERATORS = "_set_generator_metaclass"  # of torch's core: what the rules call, too, before random numbers can be drawn


def load() -> None:
    """Import torch, whole where it is here already or the process is not ours."""
    if "torch" in sys.modules or not running.is_ours():
        return
    stand_in = ModuleType(RULES)
    sys.modules[RULES] = stand_in
    try:
        torch = importlib.import_module("torch")
    finally:
        if sys.modules.get(RULES) is stand_in:
            del sys.modules[RULES]
    if vars(torch).get("_meta_registrations") is stand_in:
        del torch._meta_registrations
    try:
        if prepare := getattr(torch._C, GENERATORS, None):
            prepare(importlib.import_module("torch._opaque_base").OpaqueBaseMeta)
        torch.Generator()
    except (ImportError, AttributeError, RuntimeError, TypeError):  # another release wants more
        complete()


def complete() -> None:
    """Have the rules from now on; nothing where they are here."""
    importlib.import_module(RULES)
