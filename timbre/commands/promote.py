"""Make a version the champion, which is the one people use.

A run can be promoted if all its gates passed, or with a reason, which is kept with the version. No reason promotes the
voice of a person who did not allow it, or withdrew consent. Programs that load `models:/timbre@champion` get this
version from then on.
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

from timbre import tracking
from timbre.core import params
from timbre.core.errors import TrackingError
from timbre.core.safe_text import redacted, visible
from timbre.project.permissions import Permissions
from timbre.tracking.version import TrackedFiles

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

EXAMPLES = [
    ("timbre promote", "the version in the work tree, if its gates passed"),
    ("timbre promote sober-tern", "the version of another run; `timbre runs` lists them"),
    ('timbre promote --force "the new studio"', "even though a gate failed"),
]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", help="name or id of a run (that of the version in the work tree)")
    parser.add_argument("--force", metavar="REASON", help="promote even if gates failed; the reason is kept")


def command(args: argparse.Namespace) -> int:
    if args.force is not None and not args.force.strip():
        raise TrackingError("--force: give a reason; whoever uses the voice will want to know it")
    uri = tracking.store_uri()
    if not tracking.exists(uri):
        raise TrackingError(f"no run yet in {redacted(uri)}; `dvc repro` records one")
    client = tracking.connect(uri)
    with tracking.explained(uri):
        promote(client, args.run, args.force)
    return 0


def promote(client: MlflowClient, name: str | None, reason: str | None) -> None:
    from timbre.tracking import registry
    from timbre.tracking.voices import voices_of

    standing = registry.aliases(client)
    run = wanted(client, name) if name else candidate(client, standing.get(registry.CANDIDATE))
    version = registry.version_of(client, run.info.run_id)
    if version is None:
        raise TrackingError(f"{shown(run)}: no adapter of this run is registered; record it anew, `dvc repro -f track`")
    Permissions().check(voices_of(client, run), f"{shown(run)}: ")
    before = standing.get(registry.CHAMPION)
    if before == run.info.run_id:
        print(f"{shown(run)} is the champion already")
        return
    if (doubt := objection(run.data.tags)) and not reason:
        raise TrackingError(f'{shown(run)}: {doubt}; `--force "REASON"` promotes it all the same')
    notes = {"promoted.reason": reason or "all gates passed", "promoted.despite": doubt, "promoted.after": before}
    for tag, value in notes.items():
        if value:
            client.set_model_version_tag(version.name, version.version, tag, value)
    registry.point(client, registry.CHAMPION, run.info.run_id)
    after = f", after {shown(client.get_run(before))}" if before else ""
    print(f"{shown(run)} is the champion now, registered as version {version.version} of {version.name}{after}")


def wanted(client: MlflowClient, name: str) -> Run:
    return tracking.named(tracking.finished(client), name)


def candidate(client: MlflowClient, run_id: str | None) -> Run:
    """The run of the version that the work tree holds, which has to be the one that the store calls the candidate."""
    if run_id is None:
        raise TrackingError("there is no candidate yet; `dvc repro` records one, or name a run of `timbre runs`")
    files = TrackedFiles()
    if gone := [str(path) for path in files.missing()]:
        raise TrackingError(f"{gone[0]}: missing, so it is unknown which version is here; `dvc pull`, or name a run")
    key = files.key(dataclasses.asdict(params.read()))
    here = tracking.find(client, str(tracking.experiment_of(client, create=False)), key)
    if here is None or not tracking.is_complete(here):
        raise TrackingError(
            f"the version in this work tree has no run yet, and the candidate is {shown(client.get_run(run_id))}; "
            "`dvc repro` records this version, or name the run that you mean"
        )
    if here.info.run_id != run_id:
        raise TrackingError(
            f"this work tree holds {shown(here)}, and the candidate is {shown(client.get_run(run_id))}; "
            "`dvc repro` makes this version the candidate, or name the run that you mean"
        )
    return here


def objection(tags: dict[str, Any]) -> str:
    """What speaks against promoting; nothing if all gates passed."""
    verdict = str(tags.get("gates", "no gates were measured"))
    return "" if verdict == "passed" else f"its gates {verdict}" if verdict.startswith("failed") else verdict


def shown(run: Run) -> str:
    return visible(str(run.info.run_name))
