"""A process of Timbre's own imports torch without the rules for `meta`, and has them as soon as anything may ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models.test_lean_transformers import python
from tests.support.paths import ROOT

BEGIN = """
import sys
from timbre.core import running
from timbre.families import lean_torch
def here(): return lean_torch.RULES in sys.modules
def main():
    lean_torch.load()
    import torch
    numbers = torch.rand(2, generator=torch.Generator().manual_seed(3)).tolist()
    print(here(), hasattr(torch, "_meta_registrations"), numbers == NUMBERS)
"""
LATER = """
    lean_torch.complete()
    print(here(), hasattr(torch, "_meta_registrations"))
    print(torch.linalg.svd(torch.empty(3, 4, device="meta"))[0].shape)
    from torch._subclasses import FakeTensorMode
    with FakeTensorMode():
        print(torch.cumsum(torch.empty(3, 4), 0).softmax(-1).shape)
    print(torch.compile(lambda x: torch.cumsum(x, 0) + 1, backend="eager")(torch.ones(2)))
    print(torch.rand(2, generator=torch.Generator().manual_seed(3)).tolist() == NUMBERS)
"""
SPEAKS = """
import sys
from timbre import families
from timbre.core.sections import VoiceParams
from timbre.families import Lora, Request, Speaking
from timbre.families.lean_torch import RULES
def main():
    voice = families.load(VoiceParams("csm", "{base}", None), speaking=True)
    pieces = voice.stream(Request("the ferry waits", (), 0, 1.0), Speaking(0.9, 0, 1))
    print(*(piece.tobytes().hex() for piece in pieces))
    print(RULES in sys.modules)
    voice.adapt(Lora(2, 4, True, 0.0))
    print(RULES in sys.modules, voice.base.config.model_type)
"""
RUN = "from timbre.core import running\nrunning.run(main)\n"


@pytest.fixture(scope="module")
def begin() -> str:
    import torch

    numbers = torch.rand(2, generator=torch.Generator().manual_seed(3)).tolist()
    return f"NUMBERS = {numbers}\n{BEGIN}"


def test_the_rules_come_when_they_are_asked_for(begin: str, tmp_path: Path) -> None:
    said = python(begin + LATER + RUN, tmp_path).splitlines()
    assert said == [
        "False False True",
        "True True",
        "torch.Size([3, 3])",
        "torch.Size([3, 4])",
        "tensor([2., 3.])",
        "True",
    ]


def test_another_release_that_wants_the_rules_for_random_numbers_gets_them(begin: str, tmp_path: Path) -> None:
    other = begin.replace("def main", "lean_torch.GENERATORS = 'not_there'\ndef main")
    assert python(other + RUN, tmp_path).strip() == "True True True"


def test_a_program_of_somebody_else_has_all_of_torch(begin: str, tmp_path: Path) -> None:
    assert python(begin + "    print('torch is left to who asks')\n" + "import torch\nmain()\n", tmp_path).startswith(
        "True True True"
    )
    theirs = python(SPEAKS.format(base=ROOT / "models/tiny/csm") + "main()\n", tmp_path).splitlines()
    assert theirs[1:] == ["True", "True csm"]


def test_a_voice_says_the_same_without_the_rules_and_learns_with_them(tmp_path: Path) -> None:
    code = SPEAKS.format(base=ROOT / "models/tiny/csm")
    ours, theirs = (python(code + end, tmp_path).splitlines() for end in (RUN, "main()\n"))
    assert ours[1:] == ["False", "True csm"]
    assert ours[0] == theirs[0]
    assert len(ours[0]) > 1000
