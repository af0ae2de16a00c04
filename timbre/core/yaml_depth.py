"""How deeply YAML of anybody's nests, told before a parser goes down into it.

ruamel.yaml takes seconds for 2,000 open brackets, and the composer of libyaml ends the process where its stack ends.
"""

from __future__ import annotations

import re

DEEPEST = 300  # levels
LEADING = re.compile(r"^[ \t?:-]*", re.MULTILINE)


def too_deep(text: str) -> bool:
    """Whether it nests deeper than DEEPEST, as far as it is YAML."""
    return _bound(text) > DEEPEST and _nests(text)


def _bound(text: str) -> int:
    """No less than the levels that it has: each is opened by a bracket, or by what stands before a line's text."""
    return text.count("[") + text.count("{") + 2 * max(len(match[0]) for match in LEADING.finditer(text))


def _nests(text: str) -> bool:
    import yaml  # only here, so that no command waits for it that reads ordinary files

    depth = 0
    try:
        for event in yaml.parse(text, yaml.CSafeLoader):  # without recursion
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                return True
    except yaml.YAMLError:
        pass  # whoever parses it says where it is wrong
    return False
