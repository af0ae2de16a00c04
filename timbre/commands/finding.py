"""What a check of `timbre doctor` finds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from timbre.core import params
from timbre.core.errors import ParamsError


@dataclass(frozen=True)
class Finding:
    level: Literal["ok", "warn", "FAIL"]
    what: str
    text: str
    todo: str = ""


Findings = Iterator[Finding]


def known_params() -> dict[str, Any]:
    """params.yaml as it stands; nothing where it cannot be read."""
    try:
        return params.load()
    except ParamsError:
        return {}  # told by the check of `params.yaml`
