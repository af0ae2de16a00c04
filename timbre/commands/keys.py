"""Make a key of your own, with which sounds are signed as synthetic (C2PA).

From then on, each WAV, FLAC and MP3 file of `timbre say`, of a release, and of programs carries a signed manifest that
names the version. The key stays in .timbre/keys, outside of git; without one nothing is signed. Programs call the
signature valid and its signer unknown, until somebody trusts .timbre/keys/certificates.pem.
"""

from __future__ import annotations

import argparse
import shutil

from timbre.core.errors import DataError

EXAMPLES = [
    ("timbre keys --name 'Ann at the harbour'", "make a key; the name stands in every signature"),
    ("timbre keys", "say whether sounds are signed"),
    ("timbre keys --remove", "sign nothing any more"),
]
LONGEST = 57  # characters of a name; a certificate holds 64, with ` (root)` behind it


def arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--name", help="make a key in this name")
    what.add_argument("--remove", action="store_true", help="delete the key; what it has signed stays signed")


def command(args: argparse.Namespace) -> int:
    from timbre.audio.content_credentials import KEYS, has_keys, make_keys

    if args.name is not None:
        if not 1 <= len(args.name.strip()) <= LONGEST or not args.name.isprintable():
            raise DataError(f"--name: give 1 to {LONGEST} characters; they stand in every signature")
        make_keys(args.name.strip())
    if args.remove:
        shutil.rmtree(KEYS, ignore_errors=True)
    print(
        f"sounds are signed with {KEYS}"
        if has_keys()
        else "sounds are not signed; `timbre keys --name NAME` makes a key"
    )
    return 0
