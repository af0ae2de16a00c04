"""A version of the voice as a folder that others can load: the adapter, the merged model, and a card.

    release(version, Path("release"), evidence)
    release/README.md           the card: evidence, data, speakers, consent, licences, limits, how to use it
    release/adapter/            what was learnt alone; a LoRA is as peft loads it
    release/merged/             base and adapter in one, 16 bits, as the family's own tools load it (CSM: transformers)
    release/samples/            some sentences, marked as synthetic, where they are of this version
    release/release.json        the version's key and the SHA-256 of each file; written last

Each speaker must have consented to `publish`. Where the base's licence forbids commercial use, a person has to say that
it was understood. For the hub, what is in `merged` lies at the top.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from timbre import families
from timbre.audio.leaving import marked_copy
from timbre.core.content import file_sha256, write_atomic
from timbre.core.errors import DataError, ModelError
from timbre.core.records import Sample, adapter_files, from_json
from timbre.exchange import voice_card
from timbre.exchange.collection import NO_LICENCE
from timbre.exchange.hub import address
from timbre.exchange.voice_card import Mergeable
from timbre.exchange.voice_versions import VoiceVersion
from timbre.project.permissions import PUBLISH, Permissions

MANIFEST = "release.json"
SAMPLES = 4


def release(
    version: VoiceVersion, folder: Path, evidence: Sequence[str] = (), hub: str | None = None, *,
    understood: bool = False,
) -> list[Path]:  # fmt: skip
    """The files, once all are there; SourceError where somebody did not consent to `publish`. `hub` is OWNER/NAME.

    `understood`: a person says so of the licence of the base's weights.
    """
    if version.adapter is None:
        raise DataError(
            f"{version.name}: is the base alone, which others have released; name a version with an adapter"
        )
    Permissions().check_use(version.speakers, version.name, PUBLISH)
    if not understood and families.limits(version.voice.family):
        raise DataError(f"{next(restrictions(version))}; look at it, then add --licence-understood")
    if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise DataError(f"{folder}: holds other files; name a new folder")
    voice = families.load(version.voice, version.adapter, "fp32")
    if not isinstance(voice, Mergeable):
        raise ModelError(f"voices of the family {version.voice.family} cannot be released yet")
    new = folder.with_name(f".{folder.name}.part")  # an earlier release stays until this one is whole
    shutil.rmtree(new, ignore_errors=True)
    (new / "adapter").mkdir(parents=True)
    for name in adapter_files(path.name for path in version.adapter.iterdir()):
        shutil.copyfile(version.adapter / name, new / "adapter" / name)
    voice.save_merged(new if hub else new / "merged")
    spoken = samples(version, new / "samples", address(hub, "model") if hub else "README.md")
    write_atomic(new / "README.md", voice_card.card(version, voice, evidence, spoken, hub))
    names = sorted(path.relative_to(new) for path in new.rglob("*") if path.is_file())
    hashes = {name.as_posix(): file_sha256(new / name) for name in names}
    write_atomic(new / MANIFEST, json.dumps({"version": version.key, "sha256": hashes}, indent=1) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)
    return [*(folder / name for name in names), folder / MANIFEST]


def samples(version: VoiceVersion, folder: Path, card: str) -> list[Sample]:
    """A few sentences that this very version spoke for the report, marked now that they leave."""
    spoken: list[Sample] = []
    worn = families.adapter_fingerprint(version.adapter) if version.adapter else None
    for path in sorted(Path("reports/samples").glob("tuned_clone-*.json")):
        sample = from_json(path.read_text(encoding="utf-8"), Sample, str(path))
        if sample.adapter == worn and sample.kind == "domain" and len(spoken) < SAMPLES:
            copy = marked_copy(path.with_suffix(".flac").read_bytes(), version.key, card)
            write_atomic(folder / f"{sample.line}.flac", copy)
            spoken.append(sample)
    return spoken


def restrictions(version: VoiceVersion) -> Iterator[str]:
    """What somebody has to have understood who hands the voice on."""
    licence = voice_card.licence_of(version)
    if licence is None:
        yield f"Timbre does not know the licence of the base model {voice_card.named(version)}, which goes on to apply"
    elif licence.terms:
        yield f"the weights of {version.voice.base} are under {licence.id}; {licence.terms}"


def unlicensed(version: VoiceVersion) -> Iterator[str]:
    """A line for each recording that the version learnt and that has no licence to go by."""
    known = {str(entry.get("id")): str(entry.get("licence") or "") for entry in voice_card.recordings()}
    for name in sorted({name for names in version.speakers.values() for name in names}):
        licence = known.get(name)
        if licence is None:
            yield f"{version.name}: learnt from {name}, which data/sources.yaml does not name"
        elif licence.strip().casefold() in NO_LICENCE:
            yield f"data/sources.yaml: {name}: licence {licence!r} allows nobody anything; name one"
