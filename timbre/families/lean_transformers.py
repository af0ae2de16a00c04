"""transformers' core, imported without scipy's optimisers: CSM loads in a sixth less time.

    lean_transformers.load()                                  # before a model's class is imported
    from transformers import CsmForConditionalGeneration

Losses on pictures, which no voice uses, import them with every model. transformers asks a function of its own whether
scipy is there; while its losses are imported, it says no.
"""

from __future__ import annotations

import functools

ASKED = "is_scipy_available"


@functools.cache
def load() -> None:
    from transformers import utils

    before = getattr(utils, ASKED, None)
    if before is None:  # another release, which asks otherwise
        return
    setattr(utils, ASKED, lambda: False)
    try:
        import transformers.loss.loss_utils  # noqa: F401
    finally:
        setattr(utils, ASKED, before)
