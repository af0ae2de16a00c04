"""Kernels of Triton without a GPU: its interpreter runs them, program by program."""

from __future__ import annotations

import importlib.util
import os
from functools import cache
from types import ModuleType

from tests.support.paths import ROOT


@cache
def kernels() -> ModuleType:
    """timbre.families.fused_kernels, a copy: whether a kernel is interpreted is decided when its module is read."""
    path = ROOT / "timbre/families/fused_kernels.py"
    spec = importlib.util.spec_from_file_location("interpreted_kernels", path)
    assert spec
    assert spec.loader
    module, before = importlib.util.module_from_spec(spec), os.environ.get("TRITON_INTERPRET")
    os.environ["TRITON_INTERPRET"] = "1"
    try:
        spec.loader.exec_module(module)
    finally:
        if before is None:
            del os.environ["TRITON_INTERPRET"]
        else:
            os.environ["TRITON_INTERPRET"] = before
    return module
