"""Samples to hear in the report, before and after: those that changed most, where both versions' sound can be had."""

from __future__ import annotations

from dataclasses import dataclass

from timbre.diff.report import Report
from timbre.versions.tables import SAMPLES, VoiceVersion

MOST = 8  # pairs; the page carries them within itself
LARGEST = 2_000_000  # bytes of one
KINDS = {b"fLaC": "audio/flac", b"RIFF": "audio/wav"}


@dataclass(frozen=True)
class SampleSound:
    kind: str  # of its bytes, as a browser names it
    content: bytes


Pair = tuple[SampleSound, SampleSound]


def fetch(report: Report, old: VoiceVersion, new: VoiceVersion) -> dict[str, Pair]:
    """Sample → its sound before and now, of the first of `report.prompts`; those are told worst first."""
    found: dict[str, Pair] = {}
    for prompt in report.prompts[: 2 * MOST]:
        pair = [_sound(side, prompt.sample) for side in (old, new)]
        if pair[0] and pair[1] and len(found) < MOST:
            found[prompt.sample] = (pair[0], pair[1])
    return found


def _sound(version: VoiceVersion, sample: str) -> SampleSound | None:
    content = version.outs.find(version.lock, f"{SAMPLES}/{sample}.flac")
    if not content or len(content) > LARGEST or content[:4] not in KINDS:
        return None
    return SampleSound(KINDS[content[:4]], content)
