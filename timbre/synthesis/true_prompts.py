"""Prompts taken from held-out clips: the speaker's own recording of them exists, so that one can compare."""

from __future__ import annotations

from collections.abc import Sequence

from timbre.core.records import Example
from timbre.core.text import words
from timbre.project.prompts import TRUE, Prompt
from timbre.synthesis.reference import order


def true_prompts(rows: Sequence[Example], speaker: str, prompts: Sequence[Prompt], count: int) -> list[Prompt]:
    """Sentences of clips for evaluation, each once, and none that is a prompt already."""
    spoken = {tuple(words(prompt.text)) for prompt in prompts}
    chosen: list[Prompt] = []
    for row in sorted((row for row in rows if row.source == speaker), key=order):
        if len(chosen) < count and tuple(words(row.text)) not in spoken:
            spoken.add(tuple(words(row.text)))
            chosen.append(Prompt(f"{TRUE}{row.id}", "true", row.text, row.id, row.language))
    return chosen
