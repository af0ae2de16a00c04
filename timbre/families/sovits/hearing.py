"""A clip as GPT-SoVITS keeps it: semantic codes by HuBERT, 25 a second, those of it as a prompt, and the speaker's
vector that v2Pro hears.

What stage 2 needs beside them, the spectrogram of the sound, is computed from the clip's file: a style depends on stage
2's weights, which are learnt.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from timbre import audio
from timbre.core.errors import ModelError
from timbre.families.protocol import Audio, Codes, Turn
from timbre.families.sovits.speaker_vector import SPEAKER_RATE, SpeakerNet
from timbre.families.sovits.spectrogram import RATE, Spectrograms
from timbre.families.sovits.stage2 import Stage2

HUBERT_RATE = 16_000  # Hz
REFERENCE = (3.0, 10.0)  # seconds; upstream refuses others, as stage 1 was trained on none
SHORTEST = 0.7  # second, of a clip to learn from: stage 2 learns segments of 0.64 s
PAUSE = 0.3  # second of silence after a reference, so that its last word does not run into the first


@torch.inference_mode()  # type: ignore[untyped-decorator]
def heard(hubert: Any, speakers: SpeakerNet | None, stage2: Stage2, sound: Audio, device: torch.device) -> Codes:
    """Arrays of one sound at 32 kHz; of silence, the codes alone."""
    arrays = {"codes": codes_of(hubert, stage2, sound, device)}
    if len(sound) < SHORTEST * RATE or audio.is_silent(sound):
        return arrays
    ended = np.concatenate((sound, np.zeros(int(PAUSE * RATE), np.float32)))
    arrays["prompt"] = codes_of(hubert, stage2, ended, device)
    if speakers is not None:
        samples = torch.from_numpy(audio.resample(sound, RATE, SPEAKER_RATE))[None].to(device)
        arrays["speaker"] = speakers(samples)[0].cpu().numpy().astype(np.float16)
    return arrays


def vector_of(turn: Turn, width: int) -> Tensor:
    """(1, width) of who says it; zeros of a clip that tells nothing of a voice, as upstream puts them."""
    assert turn.codes is not None, "a clip has codes"
    if "speaker" not in turn.codes:
        return torch.zeros(1, width)
    return torch.from_numpy(turn.codes["speaker"].astype(np.float32))[None]


def codes_of(hubert: Any, stage2: Stage2, sound: Audio, device: torch.device) -> Any:
    """(M, 1) int16"""
    samples = torch.from_numpy(audio.resample(sound, RATE, HUBERT_RATE))
    least = 2 * 400  # samples that make a code
    padded = torch.nn.functional.pad(samples, (0, max(0, least - len(samples))))[None].to(device)
    states = hubert(padded).last_hidden_state.transpose(1, 2)  # (1, 768, frames at 50 Hz)
    return stage2.codes(states)[0, :, None].cpu().numpy().astype(np.int16)


def unfit(turn: Turn) -> str | None:
    """Why a clip cannot be learnt from, as the end of a sentence about it."""
    if turn.codes is None or "prompt" not in turn.codes:
        return f"are silent, or shorter than {SHORTEST:g} s, and tell nothing of a voice"
    return None


def sound_of(turn: Turn) -> Audio:
    if turn.clip is None or not audio.is_there(turn.clip):
        raise ModelError(
            f"{turn.text!r}: its clip's file is needed too, and {turn.clip or 'no file'} is not there; "
            "`dvc checkout data/clips` brings it"
        )
    return audio.read(turn.clip, RATE)[0]


def magnitudes_of(spectrograms: Spectrograms, sound: Audio, device: torch.device) -> Tensor:
    """(1, 1025, T)"""
    return spectrograms.magnitudes(torch.from_numpy(sound)[None].to(device))


def checked_reference(turn: Turn) -> Audio:
    """Its sound, which has the length that a reference needs."""
    sound = sound_of(turn)
    low, high = REFERENCE
    if audio.is_silent(sound):
        raise ModelError(f"{turn.text!r} is no reference: its clip is silent; take another clip")
    if not low <= (seconds := len(sound) / RATE) <= high:
        raise ModelError(
            f"{turn.text!r} is no reference: its clip has {seconds:.1f} s, and GPT-SoVITS needs {low:g} to {high:g}; "
            "take another clip"
        )
    return sound
