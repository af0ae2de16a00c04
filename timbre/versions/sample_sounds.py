"""The samples of one condition of a version: what was said, and the sound, from the work tree or from what DVC keeps.

voice = version_voice(tables, "tuned_clone")
voice.key, voice.texts["bridge"], voice.sound("bridge")
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from timbre.core.content import content_key
from timbre.core.errors import DataError
from timbre.core.records import Sample, from_json
from timbre.versions.dvc_lock import way_to
from timbre.versions.tables import SAMPLES, VersionTables

CLIPS = "data/clips"


@dataclass(frozen=True)
class VersionVoice:
    version: VersionTables
    condition: str
    samples: dict[str, Sample]  # by prompt, and of several speakers by prompt and speaker; the first take of each

    @property
    def key(self) -> str:
        """The same for the same weights and the same clip to clone, in any version."""
        cloned = sorted({sample.reference for sample in self.samples.values() if sample.reference})
        sample = next(iter(self.samples.values()))
        return voice_key(sample) if len(cloned) < 2 else _key_of(sample, cloned)

    @property
    def texts(self) -> dict[str, str]:
        return {prompt: sample.text for prompt, sample in self.samples.items()}

    def sound(self, prompt: str) -> bytes:
        return self._read(f"{SAMPLES}/{self.samples[prompt].id}.flac")

    def true_clips(self) -> dict[str, str]:
        """Prompt → id of the clip in which the speaker says it, of the prompts that have one."""
        return {prompt: sample.clip for prompt, sample in self.samples.items() if sample.clip}

    def reference(self) -> str | None:
        """Id of the clip that was cloned."""
        return next((sample.reference for sample in self.samples.values() if sample.reference), None)

    def clip(self, name: str) -> bytes:
        return self._read(f"{CLIPS}/{name}.flac")

    def _read(self, path: str) -> bytes:
        content = _content(self.version, path)
        if content is None:
            raise DataError(f"{path} of {self.version.name}: is not here; {way_to(path, self.version.lock)}")
        return content


def voice_key(sample: Sample) -> str:
    """As data/opinions names a voice."""
    return _key_of(sample, sample.reference)


def _key_of(sample: Sample, cloned: str | list[str] | None) -> str:
    return f"{sample.condition}@{content_key(sample.base, sample.adapter, cloned)}"


def version_voice(version: VersionTables, condition: str) -> VersionVoice:
    samples: dict[str, Sample] = {}
    for sample in sorted(_samples(version, condition), key=lambda sample: (sample.line, sample.seed)):
        samples.setdefault(sample.line, sample)
    if not samples:
        way = way_to(SAMPLES, version.lock)
        raise DataError(f"{version.name}: has no samples of {condition} in {SAMPLES}; {way}")
    return VersionVoice(version, condition, samples)


def _samples(version: VersionTables, condition: str) -> Iterator[Sample]:
    here = version.snapshot.commit is None
    paths = version.snapshot.list(SAMPLES) if here else version.outs.list(version.lock, SAMPLES)
    for path in paths:
        if path.startswith(f"{SAMPLES}/{condition}-") and path.endswith(".json"):
            content = _content(version, path)
            if content is not None:
                yield from_json(content.decode(), Sample, f"{path} of {version.name}")


def _content(version: VersionTables, path: str) -> bytes | None:
    if version.snapshot.commit is None:
        return version.snapshot.read(path)
    return version.outs.find(version.lock, path)
