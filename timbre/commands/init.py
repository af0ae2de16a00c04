"""Make a project for a voice of your own in a new folder.

The folder gets the pipeline, the library, their docs and the tiny models, a README of its own, and no recording,
transcript or result of the demo.
params.yaml comes from a preset, data/prompts.tsv from presets/prompts.tsv: put sentences of your own there.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path

from timbre.commands.place import given_path
from timbre.core.content import write_atomic
from timbre.core.errors import DataError
from timbre.versions.snapshot import git

EXAMPLES = [
    ("timbre init ../ann", "an empty project for CSM-1B"),
    ("timbre init ../demo --from-demo", "a copy of the demo, with its recordings and tiny models"),
]
PRESETS = Path("presets")
DEMO = (
    "tests/", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", ".ci/", ".github/workflows/check.yml",
    ".github/workflows/container.yml",
    "data/recordings", "data/transcripts", "data/opinions", "data/LICENSE", "dvc.lock", "reports/details.json",
    "reports/metrics.json",
)  # fmt: skip
KEPT = ".gitkeep"  # holds the place of an empty folder
OWNED = {  # what is the person's own, as it begins
    "data/sources.yaml": "# One entry per recording; `timbre add` and `timbre review --record` write them.\n[]\n",
    "data/speakers.yaml": "# Whose voices they are, and what each person allowed.\nspeakers: {}\n",
}
README = """# A voice

A text-to-speech voice, made with Timbre: a pipeline that trains it from recordings and from transcripts that people
correct, and keeps every version.

- `data/sources.yaml` lists the recordings, `data/speakers.yaml` whose voices they are and what each person allowed.
- `data/transcripts` holds what is said. A person corrects it: `timbre review`.
- `params.yaml` holds the parameters. It began as `{preset}`.
- `dvc repro` computes what an edit touches. `reports/index.html` then says how good the voice is.

Install with `make install`, then `source .venv/bin/activate`. `timbre doctor` says what this machine lacks, and
`docs/index.md` leads on.

The code is under the Apache License 2.0 (`LICENSE`). `data/speakers.yaml` says whose voice it is and what may be done
with it.
"""
NEXT = """next
  cd {folder} && make install && source .venv/bin/activate
  timbre add FILE --speaker ann --language en --licence CC-BY-4.0 --consent 'Ann, 2026-03-01'
  dvc repro transcribe"""


def arguments(parser: argparse.ArgumentParser) -> None:
    presets = sorted(path.stem for path in PRESETS.glob("*.yaml"))
    parser.add_argument("folder", metavar="DIR", type=given_path, help="folder to create")
    parser.add_argument("--preset", default="csm-1b", metavar="NAME", help=f"parameters: {', '.join(presets)} (csm-1b)")
    parser.add_argument("--from-demo", action="store_true", help="copy the demo's data and parameters as well")


def command(args: argparse.Namespace) -> int:
    folder: Path = args.folder
    preset = PRESETS / f"{args.preset}.yaml"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder}: is there already; name a new folder")
    if not preset.is_file():
        raise DataError(f"{preset}: there is no such preset; {PRESETS} has those that there are")
    begun = folder.with_name(f".{folder.name}.part")  # what a kill leaves is no project, and gone at the next try
    shutil.rmtree(begun, ignore_errors=True)
    fill(begun, None if args.from_demo else preset)
    begun.replace(folder)
    print(f"{folder}: a new project; nothing is committed yet")
    print(NEXT.format(folder=folder))
    return 0


def fill(folder: Path, preset: Path | None) -> None:
    """With a preset as its parameters; None makes a copy of the demo."""
    for path in tracked(demo=preset is None):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, folder / path)
    if preset:
        for name, text in OWNED.items():
            write_atomic(folder / name, text)
        write_atomic(folder / "README.md", README.format(preset=preset.as_posix()))
        shutil.copyfile(preset, folder / "params.yaml")
        shutil.copyfile(PRESETS / "prompts.tsv", folder / "data/prompts.tsv")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")


def tracked(demo: bool) -> Iterator[Path]:
    """What git holds here, with or without what belongs to the demo's voice alone."""
    for name in git(Path(), "ls-files", "-z").decode().split("\0"):
        path = Path(name)
        if name and path.is_file() and (demo or path.name == KEPT or not name.startswith(DEMO)):
            yield path
