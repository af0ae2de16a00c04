"""Two versions of the repository as one Report: everything that a reviewer should know, and nothing that is the same.

with open_snapshot(root, "main") as before, open_snapshot(root, None) as after:
    outs = Outs(root)
    report = compare(load(before, outs), load(after, outs))
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from timbre.core import running
from timbre.diff import clips, doubts, preferences, rates, regression, rights, wording
from timbre.diff.material import comparable, data_changes, is_yaml
from timbre.diff.report import Replacement, Report, Shared
from timbre.diff.speed import SpeedComparison
from timbre.tracking import offline
from timbre.versions import dvc_lock, lenient_rows
from timbre.versions.lenient_rows import Problem
from timbre.versions.tables import PARAMS, SOURCES, SPEAKERS, VersionTables

OFTEN = 2  # times from which a replacement is summed up
MEND = {  # what ends a conflict in each of them
    "dvc.lock": "`timbre resolve` ends it",
    PARAMS: "keep one of the two versions",
    SOURCES: "keep what both sides want",
    SPEAKERS: "keep what both sides want",
    "dvc.yaml": "keep one of the two versions",
}


def compare(
    old: VersionTables, new: VersionTables, remote: bool = True, speed: SpeedComparison | None = None
) -> Report:
    """`remote` says whether to look for what was not pushed, and for runs in MLflow; `speed` is what was measured."""
    found = data_changes(old, new)
    old_out, new_out = (side.rejected or [] for side in (old, new)) if comparable(old, new) else ([], [])
    reasons = [Counter(row.kind for row in side) for side in (old_out, new_out)]
    replaced = wording.replacements(change.pieces for change in found.words)
    root = new.outs.root
    return Report(
        old=old.name,
        new=new.name,
        problems=list(_problems(new)),
        **vars(found),
        replacements=[Replacement(*pair, times) for pair, times in replaced.most_common() if times >= OFTEN],
        doubts=doubts.find(
            found.words,
            [one.recording for one in found.transcripts if one.kind == "added"],
            new,
            [pair for pair, times in replaced.items() if times >= OFTEN],
        ),
        outliers=clips.outliers(found.clips, new.clips or []),
        leaks=None if new.clips is None else clips.leaks(new.clips),
        left_out={
            why: (reasons[0][why], reasons[1][why])
            for why in sorted(reasons[0] | reasons[1])
            if reasons[0][why] != reasons[1][why]
        },
        rejected=clips.newly_rejected(old_out, new_out),
        rates=list(rates.rates(old, new)),
        gates=list(rates.gates(old, new)),
        prompts=rates.prompts(old.scores, new.scores),
        heard=preferences.preferences(old, new),
        regression=list(regression.checks(old.scores or {}, new.scores or {}, preferences.preferred(old, new), speed)),
        stale=dvc_lock.stale(new.snapshot, new.lock),
        shared=_shared(new) if remote else Shared("", []),
        unreachable=_unreachable(old, new),
        seconds=running.times(root / running.TIMES),
        runs=(offline.latest(root, old.lock), offline.latest(root, new.lock)) if remote else (None, None),
    )


def _unreachable(old: VersionTables, new: VersionTables) -> list[str]:
    """Each once, the older version's first."""
    return list(dict.fromkeys([*old.unreachable(), *new.unreachable()]))


def _problems(new: VersionTables) -> Iterator[Problem]:
    yield from (problem for one in new.transcripts.values() for problem in one.problems)
    for path, remedy in MEND.items():
        conflicts = lenient_rows.conflicts(new.snapshot.read(path), path, remedy)
        # what is wrong in the file of speakers is told in its own words
        broken = not conflicts and path != SPEAKERS and not is_yaml(path, new.snapshot)
        yield from [Problem(path, 0, "is not YAML")] if broken else conflicts
    yield from rights.problems(new)


def _shared(version: VersionTables) -> Shared:
    """Outputs that DVC keeps and that the default remote has not got."""
    remote = version.outs.remote
    pushed = dvc_lock.kept(version.snapshot) if remote.name else set()
    pushed_outs = {path: digest for path, digest in version.lock.outs.items() if path in pushed}
    lacking = remote.lacks(pushed_outs.values()) if pushed_outs else None
    lacks = [path for path, digest in pushed_outs.items() if digest in (lacking or ())]
    return Shared(remote.name, lacks, remote.refused)
