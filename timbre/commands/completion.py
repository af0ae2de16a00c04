"""Print the script that completes commands and options of timbre in your shell.

The script names what this version has; print it again after an update.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator

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


Option = tuple[str, str, list[str]]
"""As typed, what it means, and the words that may follow it."""


def _options(parser: argparse.ArgumentParser) -> Iterator[Option]:
    for action in parser._actions:
        choices = [str(choice) for choice in action.choices or ()]
        if action.option_strings:
            yield action.option_strings[-1], (action.help or "").replace("%%", "%"), choices
        elif choices:
            yield "", action.help or "", choices


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
        words = [word for option, _, choices in own for word in ([option] if option else choices)]
        yield f'      {name}) words="{" ".join(words)}" ;;'
    yield from (
        "    esac",
        "  fi",
        '  COMPREPLY=($(compgen -W "$words" -- "$word"))',
        "}",
        "complete -o default -F _timbre timbre",  # file names where no word fits
    )


def zsh(helps: dict[str, str], options: dict[str, list[Option]]) -> Iterator[str]:
    yield from ("#compdef timbre", "_timbre() {", "  local -a commands", "  commands=(")
    yield from (f"    {shlex.quote(f'{name}:{_plain(meaning)}')}" for name, meaning in helps.items())
    yield from ("  )", "  if (( CURRENT == 2 )); then", "    _describe command commands", "    return", "  fi")
    yield from ("  local command=$words[2]", "  shift words", "  (( CURRENT-- ))", "  case $command in")
    for name, own in options.items():
        specs = [f"{option}[{_plain(meaning)}]" for option, meaning, _ in own if option]
        words = [f"1:{_plain(meaning)}:({' '.join(choices)})" for option, meaning, choices in own if not option]
        every = " ".join(map(shlex.quote, [*specs, *words, "*:file:_files"]))
        yield f"    {name}) _arguments {every} ;;"
    yield from ("  esac", "}", 'if [ "$funcstack[1]" = "_timbre" ]; then _timbre "$@"; else compdef _timbre timbre; fi')


def fish(helps: dict[str, str], options: dict[str, list[Option]]) -> Iterator[str]:
    for name, meaning in helps.items():
        yield f"complete -c timbre -n __fish_use_subcommand -f -a {name} -d {shlex.quote(_plain(meaning))}"
    for name, own in options.items():
        when = f"complete -c timbre -n '__fish_seen_subcommand_from {name}'"
        for option, meaning, choices in own:
            about = f"-d {shlex.quote(_plain(meaning))}"
            words = f" -x -a {shlex.quote(' '.join(choices))}" if choices else ""
            flag = f" -l {option[2:]}" if option.startswith("--") else f" -s {option[1:]}" if option else ""
            yield f"{when}{flag}{words} {about}"


def _plain(text: str) -> str:
    """Without the characters that mean something in a shell's description."""
    return "".join(character for character in text if character not in "[]:'\"\\`$")


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}
