"""How one sentence is asked of a voice, and the file that its sound becomes."""

from __future__ import annotations

import numpy as np

from timbre import audio
from timbre.core.content import content_key
from timbre.core.sections import GenerateParams
from timbre.families import Audio, Request, Speaking, Turn

SILENCE = 0.1  # seconds in the file of a sentence without sound, so that every player opens it


def request(
    text: str, params: GenerateParams, *, seed: int, context: tuple[Turn, ...] = (), like: Turn | None = None
) -> Request:
    """The sentence with its limit in seconds, which grows with the text; in the language and by the speaker of `like`,
    or of what was said before it."""
    seconds = params.cap_seconds + params.cap_seconds_per_character * len(text)
    like = like or (context[-1] if context else None)
    return Request(text, context, seed, seconds, *((like.language, like.speaker) if like else ()))


def prompt_seed(seed: int, prompt: str) -> int:
    """The seed of one prompt's take: other prompts with the same seed draw other numbers."""
    return int(content_key(seed, prompt), 16) % 2**63


def speaking(params: GenerateParams, *, slots: int = 1) -> Speaking:
    return Speaking(params.temperature, params.top_k, slots, params.top_p, params.repetition_penalty)


def flac(sound: Audio, rate: int) -> bytes:
    """A file that every player opens, also where the voice said nothing."""
    audible = sound if len(sound) else np.zeros(int(SILENCE * rate), np.float32)
    return audio.flac_bytes(np.clip(audible, -1, 1), rate)
