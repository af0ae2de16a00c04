"""A version of the voice by the name that people give it: its adapter as a folder, its base, whose voice it is.

    version = find("champion")            # MLflow's alias; likewise candidate, or the name of a run
    version = find("v1.2")                # a commit, branch or tag: the adapter that its dvc.lock names
    version = find("models/adapter")      # a folder
    version = find("base")                # the base model of params.yaml, without an adapter

Adapters of runs and commits are kept in .timbre/voices, by their content. The key of a version is DVC's hash of its
adapter folder, so dvc.lock, MLflow's tags and a mark in a sound all name it alike.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timbre import tracking
from timbre.core.content import mapping, write_atomic
from timbre.core.errors import DataError, ModelError, TrackingError
from timbre.core.params import read
from timbre.core.records import ADAPTER_FILES
from timbre.core.sections import VoiceParams
from timbre.families import SpeakerTag, Turn
from timbre.project.permissions import DATASET, Used, numbers_of_adapter, of_adapter
from timbre.tracking import mlmodel
from timbre.versions import dvc_lock
from timbre.versions.dvc_outs import Outs
from timbre.versions.snapshot import open_snapshot
from timbre.versions.tables import ADAPTER
from timbre.versions.version_ids import DIGITS

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEPT = Path(".timbre/voices")  # safe to delete
ALIASES = ("champion", "candidate")
BASE = "base"


@dataclass(frozen=True)
class VoiceVersion:
    name: str  # as it was asked for
    key: str  # DVC's hash of the adapter, without `.dir`; of the base alone, its name
    voice: VoiceParams  # the base
    adapter: Path | None
    speakers: Used  # whose voices it learnt
    run: str | None = None  # MLflow's id
    numbers: Mapping[str, int] = field(default_factory=dict)  # by which it knows its speakers, where that is not 0

    @property
    def id(self) -> str:
        """As a client names it: no path."""
        return Path(self.name).name

    def speaker(self, name: str | None = None) -> SpeakerTag:
        """As its sequences name somebody that it learnt; nobody named is whom it learnt most recordings of.

        DataError where it learnt nobody of this name.
        """
        if name is not None and name not in self.speakers:
            learnt = f"it learnt {', '.join(self.speakers)}" if self.speakers else "it learnt nobody"
            raise DataError(f"{self.name}: has no speaker {name}; {learnt}")
        most = max(self.speakers, key=lambda one: len(self.speakers[one]), default="")
        chosen = most if name is None else name
        return SpeakerTag(self.numbers.get(chosen, 0), chosen)

    def as_learnt(self, turns: Sequence[Turn]) -> tuple[Turn, ...]:
        """Clips of today's data, by the numbers that this version knows their speakers by."""
        return tuple(
            turn._replace(speaker=self.speaker(turn.speaker.name)) if turn.speaker.name in self.speakers else turn
            for turn in turns
        )

    @property
    def short(self) -> str:
        return self.key[:DIGITS]


def find(name: str, root: Path = Path()) -> VoiceVersion:
    if name == BASE:
        voice = read().voice
        return VoiceVersion(name, hashlib.md5(repr(voice).encode()).hexdigest(), voice, None, {})
    if name in ALIASES:
        return of_alias(name)
    if (root / name / ADAPTER_FILES[0]).is_file():
        return of_folder(name, root / name, read().voice)
    if name == ADAPTER:  # which commands take where no name is given
        raise ModelError(
            f"{name}: there is no tuned voice here; {dvc_lock.way_to(name)}; `base` is the base model alone"
        )
    try:
        return of_revision(name, root)
    except DataError as problem:
        try:
            return of_run_named(name)
        except TrackingError:
            raise DataError(
                f"{name}: no version of the voice; give champion, candidate, base, a commit, a run or a folder "
                f"with {ADAPTER_FILES[0]} ({problem})"
            ) from problem


def of_folder(name: str, folder: Path, voice: VoiceParams) -> VoiceVersion:
    for file in ADAPTER_FILES:
        if not (folder / file).is_file():
            raise ModelError(f"{folder}/{file} is missing; `dvc repro train` makes it")
    dataset = DATASET if folder == Path(ADAPTER) else None  # what lies there is what this adapter learnt, and no other
    used = of_adapter(folder, dataset)
    return VoiceVersion(name, mlmodel.adapter_key(folder), voice, folder, used, numbers=numbers_of_adapter(folder))


def of_alias(alias: str) -> VoiceVersion:
    from timbre.tracking import registry

    client = _client()
    with tracking.explained(client.tracking_uri):
        run = registry.aliases(client).get(alias)
        if run is None:
            raise TrackingError(f"there is no {alias} yet; `timbre promote` names one, `dvc repro` records a candidate")
        return _of_run(client, alias, run)


def alias_run(alias: str) -> str | None:
    """The id of the run that an alias points to now."""
    from timbre.tracking import registry

    client = _client()
    with tracking.explained(client.tracking_uri):
        return registry.aliases(client).get(alias)


def key_of_run(name: str) -> str | None:
    """The id of the version that a run or an alias has; None where the run does not say."""
    client = _client()
    with tracking.explained(client.tracking_uri):
        if name in ALIASES:
            run = client.get_run(alias_run(name) or "")
        else:
            run = tracking.named(tracking.finished(client), name)
        return tracking.id_of(run) or None


def of_run_named(name: str) -> VoiceVersion:
    client = _client()
    with tracking.explained(client.tracking_uri):
        run = tracking.named(tracking.finished(client), name)
        return _of_run(client, name, run.info.run_id)


def _client() -> MlflowClient:
    uri = tracking.store_uri()
    if not tracking.exists(uri):
        raise TrackingError(f"no run yet in {uri}; `dvc repro` records one")
    return tracking.connect(uri)


def _of_run(client: MlflowClient, name: str, run_id: str) -> VoiceVersion:
    from timbre.tracking import registry
    from timbre.tracking.voices import voices_of

    run = client.get_run(run_id)
    folder = KEPT / run_id / registry.ADAPTER
    if not all((folder / file).is_file() for file in ADAPTER_FILES):
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        client.download_artifacts(run_id, registry.ADAPTER, str(folder.parent))
    version = of_folder(name, folder, _voice(run.data.params))
    return replace(version, run=run_id, speakers=version.speakers or voices_of(client, run))


def _voice(params: dict[str, Any]) -> VoiceParams:
    """As the run says; a run of before families were recorded is of today's."""
    today = read().voice
    revision = params.get("voice.revision", today.revision)
    return VoiceParams(
        params.get("voice.family", today.family),
        params.get("voice.base", today.base),
        None if revision in (None, "None", "") else str(revision),
    )


def of_revision(revision: str, root: Path = Path()) -> VoiceVersion:
    with open_snapshot(root, revision) as snapshot:
        lock, outs = dvc_lock.read(snapshot), Outs(root)
        digest = lock.outs.get(ADAPTER)
        if digest is None:
            raise DataError(f"{revision}: its dvc.lock names no {ADAPTER}")
        folder = KEPT / digest.removesuffix(".dir")
        for path in outs.list(lock, ADAPTER):
            target = folder / Path(path).relative_to(ADAPTER)
            if not target.exists():
                content = outs.read(lock, path, revision)
                if content is None:
                    raise DataError(f"{revision}: {path} is neither in DVC's cache nor in its remote; `dvc fetch`")
                write_atomic(target, content)
        voice = mapping(mapping(dvc_lock.document(snapshot, "params.yaml")).get("voice"))
    if not folder.is_dir():
        raise DataError(f"{revision}: {ADAPTER} is neither in DVC's cache nor in its remote; `dvc fetch` brings it")
    today = read().voice
    known = VoiceParams(
        voice.get("family", today.family), voice.get("base", today.base), voice.get("revision", today.revision)
    )
    return of_folder(revision, folder, known)
