"""The entry point of every stage: its command line from its function, and the watch over what it was given.

if __name__ == "__main__":
    run_stage(main)
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

from timbre.core.errors import ParamsError, SourceError, StageError, TranscriptError, raise_all
from timbre.core.running import keep_memory, run
from timbre.mapping import damage, inputs

NAMED = 3  # changed files, in a message


def run_stage(main: Callable[..., None]) -> None:
    """Run a stage: each parameter of its function is a flag of the command line, `Annotated` with its help."""
    keep_memory()
    run(lambda: watched(main))


def watched(main: Callable[..., None]) -> None:
    """Do the stage's work; fail where it began from other files or parameters than DVC is about to record."""
    options = arguments(main)
    stage = os.environ.get("DVC_STAGE", "").rpartition(":")[2]  # DVC sets it; by hand, nothing is recorded
    if not stage:
        done(main, options)
        return
    raise_all(StageError, (changed(earlier, names) for earlier, names in inputs.recorded_wrongly().items()))
    seen = inputs.given(stage)
    done(main, options)
    if names := inputs.differences(seen, inputs.given(stage)):
        raise StageError(changed(stage, names))
    inputs.remember(stage, seen)


def done(main: Callable[..., None], options: dict[str, Any]) -> None:
    """The stage's work; where it fails and a file it reads was damaged, that is told, and what to do."""
    try:
        main(**options)
    except (ParamsError, SourceError, TranscriptError):
        raise  # what a person wrote
    except Exception as error:
        folders = [value for value in options.values() if isinstance(value, Path) and value.is_dir()]
        if rotten := list(map(str, damage.damaged(folders))):
            raise StageError(damaged(rotten)) from error
        raise


def damaged(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    named = " ".join(paths[:NAMED])
    return (
        f"damaged: {named}{more}; `rm -f {named}`, then `dvc repro` brings back or makes what is missing; "
        "`timbre doctor --verify` looks for more"
    )


def changed(stage: str, names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return (
        f"changed while {stage} ran: {', '.join(names[:NAMED])}{more}; its results would be recorded with inputs that "
        "it did not use, so run `dvc repro` again (finished work is kept)"
    )


def arguments(main: Callable[..., None]) -> dict[str, Any]:
    """What the command line says, by the function's parameters; `--help` begins with the module's first line."""
    module = main.__globals__
    spec = module.get("__spec__")  # none where the file itself is run, instead of its module
    parser = argparse.ArgumentParser(
        prog=spec and f"python -m {spec.name}", description=(module["__doc__"] or "").partition("\n")[0]
    )
    for name, hint in get_type_hints(main, include_extras=True).items():
        if name != "return":
            kind, meaning = get_args(hint)
            parser.add_argument(f"--{name.replace('_', '-')}", type=kind, required=True, help=meaning)
    return vars(parser.parse_args())
