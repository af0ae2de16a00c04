"""Write a version of the voice as a folder that others can load: adapter, merged model, card.

Refuses unless each speaker of the version consented to `publish`. The merged model is in 16 bits, and loads without
Timbre: CSM by transformers, XTTS and GPT-SoVITS by their own tools. A base whose licence forbids commercial use,
such as XTTS, also asks for --licence-understood.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from timbre.commands.place import given_path, given_place
from timbre.core.errors import DataError

if TYPE_CHECKING:
    from timbre.exchange.voice_versions import VoiceVersion

EXAMPLES = [
    ("timbre release --out release", "the adapter of the work tree"),
    ("timbre release champion --out release", "the version that people use"),
]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "version",
        nargs="?",
        type=given_place,
        default="models/adapter",
        help="champion, candidate, a commit, a run or a folder",
    )
    parser.add_argument(
        "--licence-understood",
        action="store_true",
        help="you know the licence of the base model, which forbids commercial use (XTTS)",
    )
    parser.add_argument(
        "--out",
        type=given_path,
        required=True,
        metavar="FOLDER",
        help="folder to write; an earlier release there is replaced",
    )


def command(args: argparse.Namespace) -> int:
    from timbre.exchange import releasing, voice_versions

    if args.out.is_file():
        raise DataError(f"{args.out}: is a file; name a folder")
    version = voice_versions.find(args.version)
    files = releasing.release(version, args.out, evidence(version), understood=args.licence_understood)
    for path in files:
        print(f"  {path.relative_to(args.out)}  {path.stat().st_size / 1e6:.2f} MB")
    print(f"{args.out}: version {version.short}")
    return 0


def evidence(version: VoiceVersion) -> list[str]:
    """The table of `timbre summary`, where it is of this very version."""
    from timbre.commands import summary
    from timbre.evaluation import metrics
    from timbre.tracking import mlmodel

    here = Path("models/adapter")
    if not summary.measured().exists() or not (here / "adapter_config.json").is_file():
        return []
    if version.key != mlmodel.adapter_key(here):
        return []
    return list(summary.table(metrics.read(summary.measured())))
