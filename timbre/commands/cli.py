"""The `timbre` command: one module of timbre/commands per subcommand, none of which imports torch for `--help`.

A command's module says in its docstring's first line what it does, shows itself under `EXAMPLES`, and has two
functions: `arguments(parser)` declares its options, `command(args)` does it and returns the exit code.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from timbre.commands import place
from timbre.core import running
from timbre.core.safe_text import harmless
from timbre.report.columns import columns

# modules of timbre/commands, in the order of --help
COMMANDS = (
    "init", "add", "remove", "import", "accept", "review", "coverage", "value", "replace", "trace", "diff", "speed",
    "compare", "log", "resolve", "say", "export", "push", "summary", "report", "runs", "voices", "promote", "serve",
    "release", "keys", "estimate", "hooks", "doctor", "repair", "completion",
)  # fmt: skip
ANYWHERE = ("completion",)  # that need no project
WIDTH = 52  # of an example; a longer one moves its own remark only


class CommandParser(argparse.ArgumentParser):
    """Repeats no control character of what was typed."""

    def _print_message(self, message: str, file: Any = None) -> None:
        super()._print_message(harmless(message), file)


def parser(names: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    modules = {name: importlib.import_module(f"timbre.commands.{name}") for name in names}
    top = CommandParser(
        prog="timbre",
        description="A voice, versioned like code. `dvc repro` computes it; these commands edit, inspect and share it.",
        epilog=_shown([module.EXAMPLES[0] for module in modules.values()]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(metavar="command", required=True)
    for name, module in modules.items():
        summary = _first_line(module)
        own = commands.add_parser(
            name,
            help=summary[0].lower() + summary[1:].rstrip("."),
            description=summary,
            epilog=_shown(module.EXAMPLES),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.arguments(own)
        own.set_defaults(command=module.command)
    return top


def _first_line(module: ModuleType) -> str:
    return (module.__doc__ or "").splitlines()[0]


def _shown(examples: Sequence[tuple[str, str]]) -> str:
    rows = [(line, f"# {meaning}" if meaning else "") for line, meaning in examples]
    return "\n".join(["examples:", *(f"  {line}" for line in columns(rows, widest=WIDTH))])


def execute(arguments: Sequence[str]) -> int:
    """Do it in the current folder, which is the repository's root."""
    return _run(_parsed(arguments))


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    # who wants one command waits for no other's libraries, and needs none of them
    return parser([name for name in COMMANDS if name in arguments[:1]] or COMMANDS).parse_args(arguments)


def _run(args: argparse.Namespace) -> int:
    return int(args.command(args) or 0)


def execute_anywhere(arguments: Sequence[str]) -> int:
    """As `execute`, from any folder of a project; paths in `arguments` are as seen from there."""
    args = _parsed(arguments)
    if not gc.isenabled():
        gc.freeze()  # what was imported stays
        gc.enable()
    if not set(ANYWHERE) & set(arguments[:1]):
        place.enter()
    return _run(args)


def main() -> None:
    gc.disable()  # imports leave no garbage, and to look for it among so many objects takes a tenth of a short command
    running.run(lambda: execute_anywhere(sys.argv[1:]))


if __name__ == "__main__":
    main()
