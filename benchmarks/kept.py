"""What a long benchmark has computed already, so that a kill costs no more than one part of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from timbre.core.content import write_atomic


def kept(state: Path, name: str, compute: Callable[[], Any]) -> Any:
    """As an earlier call computed it, or computed now; as JSON gives it back."""
    known = json.loads(state.read_text()) if state.exists() else {}
    if name not in known:
        known |= {name: compute()}
        write_atomic(state, json.dumps(known, indent=1))
    return json.loads(json.dumps(known[name]))
