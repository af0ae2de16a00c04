"""A clip as XTTS keeps it: training codes, the latents of its halves, the speaker's vector.

The conditioning encoder and the codec never run in training: a clip is conditioned on the latents of one of its halves,
and learns the codes of the other, so that it cannot read off what it is to say. To clone a clip, both are averaged, as
upstream averages the pieces of a longer reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from timbre import audio
from timbre.core.errors import ModelError
from timbre.families.protocol import Audio, Codes, Turn
from timbre.families.xtts.load import XttsModel
from timbre.families.xtts.mel import SOUND_RATE, SPEAKER_RATE

LONGEST_HALF = 6.0  # seconds, of which upstream's training hears as many
SHORTEST = 1.0  # second, of a clip: less says nothing about a voice


class Identity(NamedTuple):
    """Who is to speak."""

    latents: Tensor  # (1, 32, C)
    vector: Tensor  # (1, 512), of length 1


@torch.inference_mode()  # type: ignore[untyped-decorator]
def heard(networks: XttsModel, sound: Audio, stride: int, device: torch.device) -> Codes:
    """Arrays of one sound at 22,050 Hz; of one that tells nothing of a voice, the codes alone."""
    samples = torch.from_numpy(np.ascontiguousarray(sound))[None].to(device)
    whole = F.pad(samples, (0, -samples.shape[1] % stride))
    codes = networks.codec(networks.codec_mel(whole))[0, : whole.shape[1] // stride, None]
    arrays = {"codes": codes.cpu().numpy().astype(np.int16)}
    if len(sound) < SHORTEST * SOUND_RATE or audio.is_silent(sound):
        return arrays
    cuts = halves(samples.shape[1])
    latents = torch.cat([networks.gpt.latents(networks.reference_mel(samples[:, slice(*cut)])) for cut in cuts])
    at_speaker_rate = audio.resample(sound, SOUND_RATE, SPEAKER_RATE)
    vector = networks.speaker(torch.from_numpy(at_speaker_rate)[None].to(device))[0]
    spans = [(start // stride, -(-end // stride)) for start, end in cuts]
    return arrays | {
        "latents": latents.float().cpu().numpy().astype(np.float16),  # (2, 32, C)
        "spans": np.array(spans, np.int16),  # (2, 2) codes that each half's latents were made of
        "vector": vector.float().cpu().numpy(),  # (512)
    }


def halves(samples: int) -> list[tuple[int, int]]:
    middle, longest = samples // 2, int(LONGEST_HALF * SOUND_RATE)
    return [(max(0, middle - longest), middle), (middle, min(samples, middle + longest))]


def unfit(codes: Codes | None) -> str | None:
    """Why a clip cannot be learnt or cloned from, as the end of a sentence about it."""
    if codes is None or "vector" not in codes:
        return f"are silent, or shorter than {SHORTEST:g} s, and tell nothing of a voice"
    return None


def identity_of(turns: Sequence[Turn]) -> Identity:
    """The mean of what was heard of a voice."""
    for turn in turns:
        if why := unfit(turn.codes):
            raise ModelError(f"{turn.text!r} is no reference: its clip's sounds {why}; take another clip")
    clips = [turn.codes for turn in turns if turn.codes is not None]
    latents = torch.stack([torch.from_numpy(codes["latents"]).float().mean(0) for codes in clips]).mean(0)
    vectors = torch.stack([torch.from_numpy(codes["vector"]) for codes in clips])
    return Identity(latents[None], F.normalize(vectors.mean(0, keepdim=True)))
