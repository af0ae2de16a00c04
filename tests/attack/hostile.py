"""Hostile versions of good files, names and numbers, drawn from a seed."""

from __future__ import annotations

import json
import random
from typing import Any

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
PIECES = (
    "\x1b[2J\x1b]0;owned\x07", "\x9b31m", "\x00", "\r", "\x7f", "\u202egnp.exe", "\u2028", "\ufeff", "\x85", "\udcff",
    " " * 20_000, "\t" * 500, "a" * 100_000, "–" * 2_000, "9" * 5_000, "[" * 2_000, "{" * 500, "(" * 300, "\\" * 99,
    "-1", "1e999", "-0.0", "nan", ".inf", "0x7fffffffffffffff", "2026-02-30", "1:2:3:4", "true", "null", "~", "''",
    "&a [*a]", "*missing", "<<: *a", "!!python/object:os.system x", "!!binary x", "? [a, b]\n: c", "<<<<<<< ours\n",
    "=======\n", ">>>>>>> theirs\n", "|\n  x", "../../../x", "/", ".", "..", "CON", "-", "--", "--help", "%s%n{0}",
    "<script>alert(1)</script>", "${voice.base}", "$(touch x)", "`x`", "'; DROP", "http://[", "http://a:99999/",
    "https://u:p@h/", "𝒜̀́̂" * 200, "א" * 50, "\u200d" * 400, "\n" * 3_000, ",", ";", "|", '"', "'", "#", ":", "- ",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1 << 70, 1e308, float("nan"), float("inf"), "", "x" * 5_000, [], {}, [[]], {"a": {}}, "\x1b[31m",
    "../x", "\x00", [None], {"": None}, "9" * 400, "\ud800", 0.1, -0.0, [1, 2, 3], "nan",
)  # fmt: skip


class Hostile:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def piece(self) -> str:
        return self.rng.choice(PIECES)

    def text(self, good: str) -> bytes:
        """The text with one to four places made hostile."""
        if self.rng.random() < 0.02:
            return LAUGHS.encode()
        content = good.encode()
        for _ in range(self.rng.randint(1, 4)):
            content = self.rng.choice((self._put, self._put, self._replace, self._swap, self._cut, self._flip))(content)
        return content

    def _put(self, content: bytes) -> bytes:
        at = self.rng.randint(0, len(content))
        return content[:at] + self._bytes() + content[at:]

    def _replace(self, content: bytes) -> bytes:
        """A word, or what stands between tabs, commas or colons."""
        first = self.rng.randint(0, len(content))
        last = min(first + self.rng.choice((1, 4, 12, 40)), len(content))
        return content[:first] + self._bytes() + content[last:]

    def _swap(self, content: bytes) -> bytes:
        rows = content.split(b"\n")
        one, other = (self.rng.randrange(len(rows)) for _ in range(2))
        rows[one], rows[other] = rows[other], rows[one] * self.rng.choice((1, 1, 2))
        return b"\n".join(rows)

    def _cut(self, content: bytes) -> bytes:
        first = self.rng.randint(0, len(content))
        return content[:first] + content[self.rng.randint(first, len(content)) :]

    def _flip(self, content: bytes) -> bytes:
        changed = bytearray(content)
        for _ in range(self.rng.randint(1, 8)):
            if changed:
                changed[self.rng.randrange(len(changed))] = self.rng.randrange(256)
        return bytes(changed)

    def _bytes(self) -> bytes:
        return self.piece().encode("utf-8", "surrogateescape")

    def binary(self, good: bytes) -> bytes:
        """A file of sound or weights: cut, flipped (mostly where its header is), grown."""
        changed = bytearray(good)
        for _ in range(self.rng.randint(1, 12)):
            reach = self.rng.choice((48, 48, 200, len(changed)))
            changed[self.rng.randrange(min(reach, len(changed)))] = self.rng.choice((0, 255, self.rng.randrange(256)))
        content = bytes(changed)
        match self.rng.randrange(5):
            case 0:
                return content[: self.rng.randint(0, len(content))]
            case 1:
                return content + self._bytes()
        return content

    def values(self, good: Any) -> Any:
        """JSON with one to three values of another type, or keys that are missing or new."""
        made = json.loads(json.dumps(good))
        for _ in range(self.rng.randint(1, 3)):
            made = self._changed(made)
        return made

    def _changed(self, value: Any) -> Any:
        if not isinstance(value, (dict, list)) or not value or self.rng.random() < 0.15:
            return self.rng.choice(VALUES)
        if isinstance(value, dict):
            key = self.rng.choice(list(value))
            if self.rng.random() < 0.15:
                return {name: item for name, item in value.items() if name != key}
            return {**value, key: self._changed(value[key])}
        index = self.rng.randrange(len(value))
        return [*value[:index], self._changed(value[index]), *value[index + 1 :]]

    def argument(self, *words: str) -> str:
        """A word of a command line; no NUL, which no system passes on."""
        return self.rng.choice([*words, *words, self.piece()]).replace("\0", "")[:50_000]
