"""What in params.yaml will stop a later stage on this machine, told before hours are spent on those before it.

Nothing of torch is loaded: it would take longer than most of the stages that ask.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Collection, Iterator, Sequence

from timbre.core.safe_text import warn
from timbre.core.sections import Settings
from timbre.project.prompts import Prompt


def obstacles(settings: Settings) -> Iterator[str]:
    if settings.train.optimiser == "adamw_8bit":
        if not shutil.which("nvidia-smi"):
            yield "train.optimiser: adamw_8bit needs a CUDA device; `train` stops here, so set adamw"
        elif importlib.util.find_spec("bitsandbytes") is None:
            yield "train.optimiser: adamw_8bit needs bitsandbytes; `pip install -c constraints.txt '.[gpu]'`"


def unspoken(prompts: Sequence[Prompt], family: str, spoken: Collection[str] | None) -> Iterator[str]:
    """A line per prompt in a language that the family does not speak; None speaks what its training brings."""
    for prompt in prompts:
        if spoken is not None and prompt.language is not None and prompt.language not in spoken:
            yield (
                f"data/prompts.tsv: {prompt.id} is in `{prompt.language}`, and {family} speaks only "
                f"{', '.join(spoken)}; take the prompt out, or another voice.family"
            )


def tell(settings: Settings) -> None:
    for obstacle in obstacles(settings):
        warn(obstacle)
