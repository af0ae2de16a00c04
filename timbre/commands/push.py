"""Publish the dataset on the Hugging Face hub, if each consent and licence allows it.

Publishes what `timbre export hf` writes, and shows it first. It refuses unless the entry of each speaker in
data/speakers.yaml names `publish` among the uses, and each recording has a licence; --private does not change that.
"""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

from timbre.commands.export import export
from timbre.core.errors import DataError, raise_all
from timbre.core.safe_text import redacted

EXAMPLES = [
    ("timbre push dataset ann/harbour --dry-run", "write the folder and show what would be published"),
    ("timbre push dataset ann/harbour --private", "into a repository that only you can see"),
]
STAGING = Path(".timbre/push")  # what goes out; safe to delete


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["dataset"], help="what to publish")
    parser.add_argument("repo", metavar="OWNER/NAME", help="repository on the hub; created if it does not exist")
    parser.add_argument("--private", action="store_true", help="create a repository that only its owner can see")
    parser.add_argument("--dry-run", action="store_true", help="publish nothing")


def command(args: argparse.Namespace) -> int:
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", args.repo, re.ASCII):
        raise DataError(f"{args.repo!r} is no name on the hub; write OWNER/NAME")
    from timbre.exchange import collection, hub

    gathered = collection.gather()
    raise_all(DataError, collection.unpublishable(gathered))
    folder = STAGING / args.repo.split("/")[1]
    shutil.rmtree(folder, ignore_errors=True)
    remarks = export(gathered, "hf", folder)
    print(f"{args.repo}, {'private' if args.private else 'public'}:")
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        print(f"  {path.relative_to(folder)}  {path.stat().st_size / 1e6:.2f} MB")
    for person in gathered.people.values():
        print(f"  voice of {person.name}, consent by {person.consent.by} for {person.consent.use}")
    print("  licence " + ", ".join(sorted({source.licence for source in gathered.sources.values()})))
    print("".join(f"  {remark}\n" for remark in remarks), end="", flush=True)
    if args.dry_run:
        print(f"nothing sent; {folder} is what would go")
        return 0
    address = hub.push(folder, args.repo, args.private, f"data/dataset {gathered.version}")
    shutil.rmtree(folder)
    print(f"sent: {redacted(address)}")
    return 0
