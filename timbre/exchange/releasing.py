"""A version of the voice as a folder that others can load: the adapter, the merged model, and a card.

    release(version, Path("release"), evidence)
    release/README.md           the card: evidence, data, speakers, consent, licences, limits, how to use it
    release/adapter/            what was learnt alone; a LoRA is as peft loads it
    release/merged/             base and adapter in one, 16 bits, as the family's own tools load it (CSM: transformers)
    release/release.json        the version's key and the SHA-256 of each file; written last

Each speaker must have consented to `publish`. Where the base's licence forbids something, a person has to say that it
was understood.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from timbre import families
from timbre.core.content import file_sha256, write_atomic
from timbre.core.errors import DataError, ModelError
from timbre.core.records import ADAPTER_FILES
from timbre.core.safe_text import escaped
from timbre.exchange.voice_versions import VoiceVersion
from timbre.project import sources
from timbre.project.permissions import PUBLISH, Permissions

MANIFEST = "release.json"


@runtime_checkable
class Mergeable(Protocol):
    """A voice whose base and adapter make one model of its own kind."""

    merged_usage: Sequence[str]  # lines of Markdown on how others load it

    def save_merged(self, folder: Path) -> None:
        """As the family's own tools read it, in 16 bits."""


def release(
    version: VoiceVersion, folder: Path, evidence: Sequence[str] = (), *, understood: bool = False
) -> list[Path]:
    """The files, once all are there; SourceError where somebody did not consent to `publish`.

    `understood`: a person says so of the licence of the base's weights.
    """
    if version.adapter is None:
        raise DataError(
            f"{version.name}: is the base alone, which others have released; name a version with an adapter"
        )
    Permissions().check_use(version.speakers, version.name, PUBLISH)
    licence = families.limits(version.voice.family)
    if licence and not understood:
        raise DataError(
            f"{version.voice.base}: its weights are under the {licence}, and so is a voice made from them; "
            "add --licence-understood if what you publish keeps to it"
        )
    if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise DataError(f"{folder}: holds other files; name a new folder")
    voice = families.load(version.voice, version.adapter, "fp32")
    if not isinstance(voice, Mergeable):
        raise ModelError(f"voices of the family {version.voice.family} cannot be released yet")
    new = folder.with_name(f".{folder.name}.part")  # an earlier release stays until this one is whole
    shutil.rmtree(new, ignore_errors=True)
    (new / "adapter").mkdir(parents=True)
    for name in sorted({*ADAPTER_FILES, *(path.name for path in version.adapter.glob("*.safetensors"))}):
        shutil.copyfile(version.adapter / name, new / "adapter" / name)
    voice.save_merged(new / "merged")
    write_atomic(new / "README.md", card(version, evidence, voice.merged_usage))
    names = sorted(path.relative_to(new) for path in new.rglob("*") if path.is_file())
    hashes = {name.as_posix(): file_sha256(new / name) for name in names}
    write_atomic(new / MANIFEST, json.dumps({"version": version.key, "sha256": hashes}, indent=1) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)
    return [*(folder / name for name in names), folder / MANIFEST]


def card(version: VoiceVersion, evidence: Sequence[str], usage: Sequence[str]) -> str:
    people, limits = Permissions().people, families.limits(version.voice.family)
    licences = sorted({licence for name in version.speakers for licence in licences_of(version.speakers[name])})
    learnt = training_of(version)
    return "\n".join(
        [
            "---",
            f"base_model: {json.dumps(version.voice.base)}",
            "pipeline_tag: text-to-speech",
            "tags: [text-to-speech, voice-clone, synthetic]",
            *(["license: other", f"license_name: {json.dumps(limits.name)}"] if limits else []),
            *([f"license_link: {limits.address}"] if limits else []),
            "---",
            f"# A voice: {', '.join(escaped(people[name].name) for name in version.speakers)}",
            "",
            f"Version `{version.key}`, made by Timbre. What it says is synthetic; Timbre's own commands mark it so.",
            "",
            "## Whose voice, and what they allowed",
            "",
            *(
                f"- {escaped(people[name].name)}: consent given by {escaped(people[name].consent.by)} on "
                f"{people[name].consent.when}, for {escaped(people[name].consent.use)}"
                for name in version.speakers
            ),
            "",
            "A consent can be taken back. Who uses this is asked to look again, and to stop then.",
            "",
            "## What it learnt from",
            "",
            f"{learnt.get('clips', 'an unknown number of')} clips, {float(learnt.get('seconds', 0)) / 60:.1f} minutes. "
            f"Licences of the recordings: {', '.join(map(escaped, licences)) or 'not known'}. The base model has a "
            "licence of its own, which goes on to apply to `merged`"
            f"{f': {limits}. It applies to what the voice says, too.' if limits else '.'}",
            "",
            "## How good it is",
            "",
            *(["```", *evidence, "```"] if evidence else ["Not measured here."]),
            "",
            "## Limits",
            "",
            "It speaks as its recordings do: other languages, styles and words than theirs may be wrong. Numbers and",
            "abbreviations have to be spelled out first, as Timbre does.",
            "",
            "## Using it",
            "",
            *usage,
            "",
        ]
    )


def licences_of(recordings: Iterable[str]) -> set[str]:
    path = Path("data/sources.yaml")
    entries = sources.document(sources.text_of(path), str(path)) if path.exists() else []
    wanted = set(recordings)
    rows = [entry for entry in entries or [] if isinstance(entry, dict) and entry.get("id") in wanted]
    return {str(entry["licence"]) for entry in rows if entry.get("licence")}


def training_of(version: VoiceVersion) -> dict[str, float]:
    try:
        found: dict[str, float] = json.loads((Path(version.adapter or "") / "training.json").read_bytes())
        return found
    except (OSError, ValueError):
        return {}
