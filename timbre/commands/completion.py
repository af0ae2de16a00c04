"""Print the script that completes commands and options of timbre in your shell.

The script names what this version has; print it again after an update.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

EXAMPLES = [
    ("timbre completion bash > ~/.local/share/bash-completion/completions/timbre", "bash"),
    ("timbre completion zsh > ~/.zfunc/_timbre", "zsh, with `fpath+=~/.zfunc` before compinit in .zshrc"),
    ("timbre completion fish > ~/.config/fish/completions/timbre.fish", "fish"),
]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="your shell")


def command(args: argparse.Namespace) -> int:
    from timbre.commands import cli

    commands = next(action for action in cli.parser()._actions if isinstance(action, argparse._SubParsersAction))
    helps = {str(action.dest): action.help or "" for action in commands._get_subactions()}
    options = {name: list(_options(parser)) for name, parser in commands.choices.items()}
    print("\n".join(SHELLS[args.shell](helps, options)))
    return 0


class Option(NamedTuple):
    flag: str  # as typed; empty where words stand by themselves
    meaning: str
    choices: list[str]  # words that may follow; none where any may
    valued: bool  # whether something has to follow


def _options(parser: argparse.ArgumentParser) -> Iterator[Option]:
    for action in parser._actions:
        choices = [str(choice) for choice in action.choices or ()]
        if action.option_strings:
            meaning = (action.help or "").replace("%%", "%")
            yield Option(action.option_strings[-1], meaning, choices, action.nargs != 0)
        elif choices:
            yield Option("", action.help or "", choices, True)


def bash(helps: dict[str, str], options: dict[str, list[Option]]) -> Iterator[str]:
    yield from (
        "_timbre() {",
        '  local word="${COMP_WORDS[COMP_CWORD]}" words=""',
        '  if [ "$COMP_CWORD" -eq 1 ]; then',
        f'    words="{" ".join(helps)}"',
        "  else",
        '    case "${COMP_WORDS[1]}" in',
    )
    for name, own in options.items():
        words = [word for option in own for word in ([option.flag] if option.flag else option.choices)]
        yield f'      {name}) words="{" ".join(words)}" ;;'
    yield from ("    esac", '    case "${COMP_WORDS[1]} ${COMP_WORDS[COMP_CWORD-1]}" in')
    for name, own in options.items():
        for option in own:
            if option.flag and option.choices:
                yield f'      "{name} {option.flag}") words="{" ".join(option.choices)}" ;;'
            elif option.flag and option.valued:
                yield f'      "{name} {option.flag}") words="" ;;'
    yield from (
        "    esac",
        "  fi",
        '  COMPREPLY=($(compgen -W "$words" -- "$word"))',
        "}",
        "complete -o default -F _timbre timbre",  # file names where no word fits
    )


def zsh(helps: dict[str, str], options: dict[str, list[Option]]) -> Iterator[str]:
    yield from ("#compdef timbre", "_timbre() {", "  local -a commands", "  commands=(")
    yield from (f"    {shlex.quote(f'{name}:{meaning}')}" for name, meaning in helps.items())
    yield from ("  )", "  if (( CURRENT == 2 )); then", "    _describe command commands", "    return", "  fi")
    yield from ("  local command=$words[2]", "  shift words", "  (( CURRENT-- ))", "  case $command in")
    for name, own in options.items():
        every = " ".join(map(shlex.quote, [*map(_zsh_spec, own), "*:file:_files"]))
        yield f"    {name}) _arguments {every} ;;"
    yield from ("  esac", "}", 'if [ "$funcstack[1]" = "_timbre" ]; then _timbre "$@"; else compdef _timbre timbre; fi')


def _zsh_spec(option: Option) -> str:
    """As `_arguments` reads it, to which brackets and colons mean something."""
    words = f"({' '.join(option.choices)})" if option.choices else "_files"
    meaning = re.sub(r"([\[\]:\\])", r"\\\1", option.meaning)
    if not option.flag:
        return f"1:{meaning}:{words}"
    return f"{option.flag}[{meaning}]" + (f":{option.flag.lstrip('-')}:{words}" if option.valued else "")


def fish(helps: dict[str, str], options: dict[str, list[Option]]) -> Iterator[str]:
    for name, meaning in helps.items():
        yield f"complete -c timbre -n __fish_use_subcommand -f -a {name} -d {_fish_quoted(meaning)}"
    for name, own in options.items():
        when = f"complete -c timbre -n '__fish_seen_subcommand_from {name}'"
        for option in own:
            flag = f" -{'l' if option.flag.startswith('--') else 's'} {option.flag.lstrip('-')}" if option.flag else ""
            words = f" -x -a '{' '.join(option.choices)}'" if option.choices else " -r" if option.valued else ""
            yield f"{when}{flag}{words} -d {_fish_quoted(option.meaning)}"


def _fish_quoted(text: str) -> str:
    """fish knows two escapes within single quotes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}
