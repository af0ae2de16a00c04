"""What will stop a later stage is told before the stages before it take their hours."""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil
from typing import Literal

import pytest

from tests.support.paths import ROOT
from timbre.core import params
from timbre.project import obstacles
from timbre.project.prompts import Prompt


@pytest.mark.parametrize(
    ("optimiser", "gpu", "package", "told"),
    [
        ("adamw", None, None, []),
        ("adamw_8bit", "/usr/bin/nvidia-smi", object(), []),
        ("adamw_8bit", None, object(), ["adamw_8bit needs a CUDA device; `train` stops here, so set adamw"]),
        ("adamw_8bit", "/usr/bin/nvidia-smi", None, ["adamw_8bit needs bitsandbytes"]),
    ],
)
def test_an_optimiser_that_this_machine_cannot_run(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    optimiser: Literal["adamw", "adamw_8bit"],
    gpu: str | None,
    package: object,
    told: list[str],
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: gpu)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: package)
    settings = params.read(ROOT / "params.yaml")
    train = dataclasses.replace(settings.train, optimiser=optimiser)
    obstacles.tell(dataclasses.replace(settings, train=train))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(told)
    assert all(part in line for part, line in zip(told, lines, strict=True))


def test_a_prompt_in_a_language_that_the_family_does_not_speak() -> None:
    prompts = [Prompt("ferry", "domain", "The ferry."), Prompt("gruss", "hard", "Guten Tag.", language="de")]
    assert list(obstacles.unspoken(prompts, "csm", None)) == []
    (line,) = obstacles.unspoken(prompts, "xtts", ("en", "fr"))
    assert "gruss is in `de`, and xtts speaks only en, fr" in line
