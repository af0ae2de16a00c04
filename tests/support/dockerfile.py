"""A Dockerfile as far as ours goes, so that its steps can be carried out where there is no engine."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class ImageStage:
    """What one FROM builds."""

    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)  # instruction and its rest

    def of(self, instruction: str) -> list[str]:
        return [rest for name, rest in self.steps if name == instruction]

    def command(self, instruction: str) -> list[str]:
        """The last one of its kind, as a list of words."""
        return [str(word) for word in json.loads(self.of(instruction)[-1])]

    def copies(self) -> list[tuple[list[str], str]]:
        """Sources and target of each COPY."""
        words = [[word for word in shlex.split(rest) if not word.startswith("--")] for rest in self.of("COPY")]
        return [(line[:-1], line[-1]) for line in words]


def read(path: Path) -> dict[str, ImageStage]:
    """By name; the last one, which is built where nobody names a target, is `""` if it has none."""
    stages: dict[str, ImageStage] = {}
    text = re.sub(r"\\\n\s*", "", "\n".join(line for line in path.read_text().splitlines() if line[:1] != "#"))
    for line in filter(str.strip, text.splitlines()):
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            base, _, name = rest.partition(" AS ")
            stages[name] = ImageStage(base)
        elif stages:
            stages[list(stages)[-1]].steps.append((instruction, rest.strip()))
    return stages


def sent(ignore: Path, name: str) -> bool:
    """Whether a path is sent to the engine: ours leaves out all but what it names."""
    lines = [line for line in ignore.read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "**"
    return any(name == line[1:] or name.startswith(f"{line[1:]}/") for line in lines if line[0] == "!")
