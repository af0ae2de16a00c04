"""The bank of voices: each speaker in each version that learnt them, with what was measured and a sentence to hear.

A version is an adapter. Of several commits with the same one, the newest counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from timbre.core.errors import DataError
from timbre.evaluation.metrics import Metric
from timbre.project.permissions import Permissions, Used, of_training, used_by
from timbre.versions.dvc_outs import Outs
from timbre.versions.history import CommitInfo, first_parents
from timbre.versions.sample_sounds import VersionVoice, version_voice
from timbre.versions.snapshot import WORK_TREE, open_snapshot, resolve
from timbre.versions.tables import ADAPTER, SAMPLES, VersionTables

TRAINING = f"{ADAPTER}/training.json"


@dataclass(frozen=True)
class BankRow:
    """One speaker in one version."""

    commit: str  # its first eight digits, or `work tree`
    version: str  # its id, which is DVC's hash of the adapter
    date: str
    subject: str
    speaker: str
    wer: float | None
    similarity: float | None
    named: float | None
    failed: list[str] | None  # gates; None where there are none
    objection: str  # why nobody may hear it, as data/speakers.yaml says today of all that the adapter learnt; or empty
    sample: str | None  # path of a sentence, where the version's samples lie in the work tree
    prompt: str | None  # which sentence it is


@dataclass(frozen=True)
class BankVoice:
    """A row, and the sound that goes with it."""

    row: BankRow
    voice: VersionVoice | None

    def sound(self) -> bytes | None:
        """FLAC; None where the samples cannot be had here, or nobody may hear them."""
        if self.voice is None or self.row.prompt is None or self.row.objection:
            return None
        try:
            return self.voice.sound(self.row.prompt)
        except DataError:
            return None


def bank(root: Path, revision: str, most: int) -> Iterator[BankVoice]:
    """The newest first: the work tree, unless `revision` has the same adapter, and the versions up to `revision`."""
    outs, permissions, known = Outs(root, remotes=False), Permissions(), set[str]()
    commit = resolve(root, revision)
    with open_snapshot(root, None) as snapshot, open_snapshot(root, commit) as newest:
        tree = VersionTables(snapshot, outs)
        here = tree.lock.outs.get(ADAPTER)
        committed = VersionTables(newest, outs).lock.outs.get(ADAPTER) == here
        for at in [*([] if committed else [None]), *first_parents(root, commit, most, ("dvc.lock",))]:
            with open_snapshot(root, at.commit if at else None) as version:
                tables = VersionTables(version, outs)
                adapter = tables.lock.outs.get(ADAPTER)
                if adapter is None or adapter in known:
                    continue
                known.add(adapter)
                yield from _voices(tables, at, adapter, tree if adapter == here else None, permissions)


def _voices(
    tables: VersionTables, at: CommitInfo | None, adapter: str, tree: VersionTables | None, permissions: Permissions
) -> Iterator[BankVoice]:
    evidence = tables.evidence
    condition = evidence.judged
    try:
        voice = version_voice(tree or tables, condition)
    except DataError:
        voice = None
    used = learnt(tables)
    objection = next(permissions.objections(used), "" if used else "nobody knows whose voice it learnt")
    for speaker in evidence.speakers or sorted(used):
        one = evidence.speakers.get(speaker, evidence)
        measured = one.conditions.get(condition, Metric())
        prompt = _prompt(voice, speaker)
        path = f"{SAMPLES}/{voice.samples[prompt].id}.flac" if voice and prompt and tree and not objection else None
        row = BankRow(
            at.commit[:8] if at else WORK_TREE, adapter.removesuffix(".dir"), at.date if at else "",
            at.subject if at else "not committed", speaker, measured.wer, measured.similarity, measured.named,
            one.failed if one.gates else None, objection, path, prompt,
        )  # fmt: skip
        yield BankVoice(row, voice)


def learnt(tables: VersionTables) -> Used:
    """Whose voices a version's adapter learnt; of an older one, whom its recordings are of."""
    here = tables.snapshot.commit is None
    content = tables.snapshot.read(TRAINING) if here else tables.outs.find(tables.lock, TRAINING)
    used = of_training(content) if content else None
    named = ((source["speaker"], id) for id, source in tables.sources.items() if "speaker" in source)
    return used_by(named) if used is None else used


def _prompt(voice: VersionVoice | None, speaker: str) -> str | None:
    """The first sentence of the speaker's."""
    samples = voice.samples if voice else {}
    return next((line for line, sample in samples.items() if sample.speaker in ("", speaker)), None)
