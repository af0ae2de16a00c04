"""What is imported until a voice speaks, and that what was left out is there for whoever wants it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

UNUSED = ("torch._dynamo", "sympy", "torch.distributed.tensor", "peft", "accelerate", "scipy.optimize", "triton",
          "mlflow", "dvc", "pandas")  # fmt: skip
SPEAKS = """
import sys
from pathlib import Path
from timbre import families
from timbre.core.sections import VoiceParams
from timbre.families import Request, Speaking
adapter = Path("adapter") if Path("adapter").is_dir() else None
voice = families.load(VoiceParams("{family}", "{base}", None), adapter)
next(voice.stream(Request("the ferry waits", (), 0, 1.0), Speaking(0.9, 0, 1)))
print(*sys.modules)
from transformers.utils import is_scipy_available
print(is_scipy_available())
"""
LEARNS = """
import torch
from timbre import families
from timbre.core.sections import VoiceParams
from timbre.families import Lora
voice = families.load(VoiceParams("csm", "{base}", None))
voice.adapt(Lora(2, 4, True, 0.0))
for name, weight in voice.model.named_parameters():
    if "lora_B" in name:
        weight.data.normal_()
voice.save_adapter(__import__("pathlib").Path("adapter"))
from transformers.masking_utils import TransformGetItemToIndex
with TransformGetItemToIndex():
    print(torch.compiler.disable(len)("abc"), torch._dynamo.__file__)
"""


def python(code: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_tuned_voice_speaks_without_compiler_sharding_peft_and_scipy(tmp_path: Path) -> None:
    base = ROOT / "models/tiny/csm"
    said = python(LEARNS.format(base=base), tmp_path)  # with peft, and what was left out until then
    assert said.startswith("3 ")
    assert said.strip().endswith("torch/_dynamo/__init__.py")
    *imported, scipy = python(SPEAKS.format(family="csm", base=base), tmp_path).split()
    assert "timbre.families.csm.model" in imported
    assert not set(UNUSED) & set(imported), "of scipy, losses on pictures"
    assert scipy == "True", "it is left to others"


def test_another_release_that_lacks_a_module_is_imported_as_it_is(tmp_path: Path) -> None:
    begin = "from timbre.families import lean_transformers as lean\nlean.CORE = ('not_there', *lean.CORE)\n"
    imported = python(begin + SPEAKS.format(family="csm", base=ROOT / "models/tiny/csm"), tmp_path).split()
    assert "timbre.families.csm.model" in imported
    assert "torch._dynamo" not in imported
