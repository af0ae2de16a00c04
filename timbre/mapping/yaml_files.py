"""YAML 1.2 as DVC reads it, ten times as fast: libyaml's scanner with YAML 1.2's rules for what a plain word means.

DVC reads its files with ruamel.yaml, which takes 0.2 s for a lock of 600 lines; a history reads forty of them. PyYAML
brings libyaml, but knows YAML 1.1, in which `no` is false and `1e-4` is text. The files may come from anybody, so what
nests too deeply for libyaml's stack, or unfolds to more than MOST_VALUES values, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from timbre.core.content import DEEPEST, MOST_VALUES, too_deep, values_in

BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
INT = re.compile(r"^(?:[-+]?0b[0-1_]+|[-+]?0o?[0-7_]+|[-+]?[0-9_]+|[-+]?0x[0-9a-fA-F_]+)$")
FLOAT = re.compile(
    r"^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
    r"|[-+]?\.[0-9_]+(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)


def load(content: bytes) -> Any:
    """The document; ValueError where it is in no state to be read."""
    try:
        text = content.decode()
        if too_deep(text):
            raise ValueError(f"it nests deeper than {DEEPEST} levels")
        document = yaml.load(text, Loader)
        values = values_in(document)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"not YAML: {error}") from error
    if values > MOST_VALUES:
        raise ValueError(f"its aliases stand for more than {MOST_VALUES:,} values")
    return document


class Loader(yaml.CSafeLoader):  # type: ignore[misc]  # it has no types
    """Plain values, by the rules of YAML 1.2; a key that stands twice is a mistake, as for DVC."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        if len(keys) != len(set(keys)):
            raise yaml.constructor.ConstructorError(None, None, "a key stands twice", node.start_mark)
        return dict(super().construct_mapping(node, deep))

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = str(self.construct_scalar(node)).replace("_", "")
        sign, digits = (-1 if text[0] == "-" else 1), text.lstrip("+-")
        base = {"0b": 2, "0o": 8, "0x": 16}.get(digits[:2].lower(), 10)
        return sign * int(digits[2:] if base != 10 else digits, base)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        text = str(self.construct_scalar(node)).replace("_", "").lower()
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))


# the tables of PyYAML's own loader, of which three kinds of words are told apart by other rules
Loader.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if not tag.endswith((":bool", ":int", ":float"))]
    for first, rules in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver("tag:yaml.org,2002:bool", BOOL, list("tTfF"))
Loader.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+0123456789."))
Loader.add_implicit_resolver("tag:yaml.org,2002:int", INT, list("-+0123456789"))
Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_yaml_int)
Loader.add_constructor("tag:yaml.org,2002:float", Loader.construct_yaml_float)
