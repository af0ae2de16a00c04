"""Samples to hear in the report, before and after: those that changed most, where both versions' sound can be had."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from timbre.core.errors import TimbreError
from timbre.core.safe_text import visible, warn
from timbre.diff import rights
from timbre.diff.report import Report
from timbre.project.permissions import Permissions
from timbre.versions.clip_rows import LEFT_OUT
from timbre.versions.tables import ADAPTER, SAMPLES, SPEAKERS, VersionTables

MOST = 8  # pairs; the page carries them within itself
LARGEST = 2_000_000  # bytes of one
KINDS = {b"fLaC": "audio/flac", b"RIFF": "audio/wav"}


@dataclass(frozen=True)
class SampleSound:
    kind: str  # of its bytes, as a browser names it
    content: bytes


Pair = tuple[SampleSound, SampleSound]


def fetch_allowed(report: Report, old: VersionTables, new: VersionTables) -> dict[str, Pair]:
    """As `fetch`; none, and on stderr the reason, where a voice of one of the versions may not be heard."""
    reasons = list(barred(old, new, Permissions()))
    for reason in reasons:
        warn(f"no samples to hear: {reason}")
    pairs = {} if reasons else fetch(report, old, new)
    marked = {name: (_leaving(old, name, pair[0]), _leaving(new, name, pair[1])) for name, pair in pairs.items()}
    return {name: (before, now) for name, (before, now) in marked.items() if before and now}


def barred(old: VersionTables, new: VersionTables, allowed: Permissions) -> Iterator[str]:
    """A line for every voice of either version whose consent was withdrawn, here or there, or is written nowhere."""
    for version in (old, new):
        for voice in _voices(version):
            entries = [allowed.people.get(voice), *((one.people or {}).get(voice) for one in (old, new))]
            if not any(entries):
                yield f"{visible(voice)}, whose voice is in {version.name}, has no entry in {SPEAKERS}"
            elif not all(entry.allowed for entry in entries if entry):
                yield f"{visible(voice)}, whose voice is in {version.name}, withdrew consent"
            elif voice in allowed.people and not allowed.may_be_heard(voice):
                yield f"{visible(voice)}, whose voice is in {version.name}, was taken out"


def _voices(version: VersionTables) -> list[str]:
    """Of all that is declared, and of the clips that were learnt, which the next run may change."""
    learnt = (clip.speaker for clip in version.clips or () if clip.part != LEFT_OUT and clip.speaker)
    return list(dict.fromkeys([*rights.voices(version), *learnt]))


def fetch(report: Report, old: VersionTables, new: VersionTables) -> dict[str, Pair]:
    """Sample → its sound before and now, of the first of `report.prompts`; those are told worst first."""
    pairs: dict[str, Pair] = {}
    for prompt in report.prompts[: 2 * MOST]:
        pair = [_sound(side, prompt.sample) for side in (old, new)]
        if pair[0] and pair[1] and len(pairs) < MOST:
            pairs[prompt.sample] = (pair[0], pair[1])
    return pairs


def _sound(version: VersionTables, sample: str) -> SampleSound | None:
    content = version.outs.find(version.lock, f"{SAMPLES}/{sample}.flac")
    if not content or len(content) > LARGEST or content[:4] not in KINDS:
        return None
    return SampleSound(KINDS[content[:4]], content)


def _leaving(version: VersionTables, sample: str, sound: SampleSound) -> SampleSound | None:
    """With its mark: the page may be sent on. None where the sound or its record is damaged."""
    from timbre.report.sound import marked_flac  # numpy and the sound library: only where one is heard

    record = version.outs.find(version.lock, f"{SAMPLES}/{sample}.json")
    try:
        marked = marked_flac(sound.content, record, sample, version.lock.outs.get(ADAPTER))
    except (TimbreError, RuntimeError, ValueError) as problem:
        warn(f"no sound of {visible(sample)} of {version.name}: {visible(str(problem))}")
        return None
    return SampleSound("audio/flac", marked)
