"""Publish the dataset or the voice on the Hugging Face hub, if each consent and licence allows it.

A dataset goes as `timbre export hf` writes it, a voice as `timbre release` does, with the merged model at the top.
What goes is shown first. It refuses unless the entry of each speaker in data/speakers.yaml names `publish` among the
uses, and each recording has a licence; --private does not change that. Where the licence of a voice's base model asks
for more, or is not known to Timbre, it also wants --licence-understood.
"""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from timbre.commands.export import export
from timbre.commands.place import given_place
from timbre.commands.release import evidence
from timbre.core.errors import DataError, raise_all
from timbre.core.safe_text import redacted

if TYPE_CHECKING:
    from timbre.project.speakers import Person

EXAMPLES = [
    ("timbre push dataset ann/harbour --dry-run", "write the folder and show what would be published"),
    ("timbre push dataset ann/harbour --private", "into a repository that only you can see"),
    ("timbre push voice ann/harbour --dry-run", "the same for the work tree's voice"),
    ("timbre push voice ann/harbour --voice champion", "the version that people use"),
]
STAGING = Path(".timbre/push")  # what goes out; safe to delete


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["dataset", "voice"], help="what to publish")
    parser.add_argument("repo", metavar="OWNER/NAME", help="repository on the hub; created if it does not exist")
    parser.add_argument("--private", action="store_true", help="create a repository that only its owner can see")
    parser.add_argument("--dry-run", action="store_true", help="publish nothing")
    parser.add_argument(
        "--voice", type=given_place, metavar="VERSION",
        help="of a voice: champion, candidate, a commit, a run or a folder (models/adapter)",
    )  # fmt: skip
    parser.add_argument(
        "--licence-understood", action="store_true", help="of a voice: you know the licence of its base model"
    )


def command(args: argparse.Namespace) -> int:
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", args.repo, re.ASCII):
        raise DataError(f"{args.repo!r} is no name on the hub; write OWNER/NAME")
    folder = STAGING / args.repo.split("/")[1]
    shutil.rmtree(folder, ignore_errors=True)
    return push_voice(args, folder) if args.what == "voice" else push_dataset(args, folder)


def push_dataset(args: argparse.Namespace, folder: Path) -> int:
    from timbre.exchange import collection

    if args.voice or args.licence_understood:
        raise DataError("--voice and --licence-understood are of `timbre push voice`")
    gathered = collection.gather()
    raise_all(DataError, collection.unpublishable(gathered))
    remarks = export(gathered, "hf", folder)
    show(args, folder, gathered.people.values())
    print("  licence " + ", ".join(sorted({source.licence for source in gathered.sources.values()})))
    print("".join(f"  {remark}\n" for remark in remarks), end="", flush=True)
    return sent(args, folder, f"data/dataset {gathered.version}")


def push_voice(args: argparse.Namespace, folder: Path) -> int:
    from timbre.exchange import releasing, voice_versions
    from timbre.project.permissions import Permissions

    version = voice_versions.find(args.voice or "models/adapter")
    raise_all(DataError, releasing.unlicensed(version))
    doubts = list(releasing.restrictions(version))
    if not args.licence_understood:
        raise_all(DataError, (f"{doubt}; look at it, then add --licence-understood" for doubt in doubts))
    releasing.release(version, folder, evidence(version), hub=args.repo, understood=args.licence_understood)
    people = Permissions().people
    show(args, folder, [people[name] for name in version.speakers])
    print("".join(f"  {doubt}\n" for doubt in doubts), end="", flush=True)
    return sent(args, folder, f"voice {version.key}", version.key)


def show(args: argparse.Namespace, folder: Path, people: Iterable[Person]) -> None:
    print(f"{args.repo}, {'private' if args.private else 'public'}:")
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        print(f"  {path.relative_to(folder)}  {path.stat().st_size / 1e6:.2f} MB")
    for person in people:
        print(f"  voice of {person.name}; {person.consent}")


def sent(args: argparse.Namespace, folder: Path, message: str, version: str | None = None) -> int:
    """`version`: of a voice, whose sounds name its card from now on."""
    from timbre.exchange import hub, model_cards

    if args.dry_run:
        print(f"nothing sent; {folder} is what would go")
        return 0
    kind: hub.Kind = "model" if args.what == "voice" else "dataset"
    address = hub.push(folder, args.repo, args.private, message, kind)
    shutil.rmtree(folder)
    if version is not None:
        model_cards.remember(version, redacted(address))
    print(f"sent: {redacted(address)}")
    return 0
