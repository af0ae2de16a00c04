"""Where Orpheus' tokens lie, and the sequences that are made of them.

    SOH  voice: text  EOT EOH  SOA SOS  codes, seven to a coarse frame  EOS EOA      a turn; turns follow each other

A code's token is `audio + slot * codes + code`, in the order of slots L1, L2a, L3a, L3b, L2b, L3c, L3d of SNAC's three
levels. The ids are found by the tokens' names, so a smaller vocabulary works alike.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from timbre.core.errors import ModelError
from timbre.families.frame_loop import Frames
from timbre.families.orpheus.shape import SLOTS
from timbre.families.protocol import Turn

LEVELS = (0, 1, 2, 2, 1, 2, 2)  # of the slots
Ids = npt.NDArray[np.int64]


class TokenIds(NamedTuple):
    start_of_speech: int
    end_of_speech: int  # not the pad nor a text's end, at which others wait in vain
    start_of_human: int
    end_of_human: int
    start_of_ai: int
    end_of_ai: int
    pad: int
    audio: int  # of code 0 in slot 0; code 0 is a code like any other
    end_of_text: int
    codes: int  # of a codebook

    @classmethod
    def of(cls, tokenizer: Any, codes: int, base: str) -> TokenIds:
        words = tokenizer.get_vocab()
        try:
            sos, eos, soh, eoh, soa, eoa, pad, audio = (words[f"<custom_token_{n}>"] for n in (*range(1, 8), 10))
            return cls(sos, eos, soh, eoh, soa, eoa, pad, audio, words["<|eot_id|>"], codes)
        except KeyError as error:
            raise ModelError(
                f"voice.base: {base} is a llama model without Orpheus' token {error}, not orpheus; see voice.family"
            ) from error


class TurnTokens(NamedTuple):
    ids: Ids
    text: slice  # of the name and the words
    audio: slice  # of the codes and their end; empty where the turn has no sound


def tokens_of(turn: Turn, tokenizer: Any, ids: TokenIds) -> TurnTokens:
    """A turn; without codes, up to where the voice begins to speak."""
    text = f"{turn.speaker.name}: {turn.text}" if turn.speaker.name else turn.text
    prompt = [ids.start_of_human, *tokenizer(text)["input_ids"], ids.end_of_text, ids.end_of_human]
    prompt += [ids.start_of_ai, ids.start_of_speech]
    words = slice(1, len(prompt) - 4)
    if turn.codes is None:
        return TurnTokens(np.array(prompt, np.int64), words, slice(0))
    spoken = flat(turn.codes["codes"], ids)
    every = np.concatenate([np.array(prompt, np.int64), spoken, [ids.end_of_speech, ids.end_of_ai]])
    return TurnTokens(every, words, slice(len(prompt), len(prompt) + len(spoken) + 1))


def flat(frames: Frames, ids: TokenIds) -> Ids:
    """Frames (frames, 7) → tokens."""
    return (frames.astype(np.int64) + ids.audio + ids.codes * np.arange(SLOTS)).reshape(-1)


def without_repeats(frames: Frames) -> Frames:
    """Without frames whose coarse code is that of the frame before: so Orpheus was fine-tuned by its makers."""
    changed = np.diff(frames[:, 0], prepend=-1) != 0
    return np.asarray(frames[changed], np.int16)
