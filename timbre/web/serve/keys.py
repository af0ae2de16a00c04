"""API keys: a file of them, a line each, `name key`; how much each may have spoken at once.

# who        key
kitchen      3f0c…
"""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from pathlib import Path

from timbre.core.errors import DataError, raise_all
from timbre.web.serve.errors import Refusal

LEAST = 16  # characters of a key
ANYBODY = "anybody"  # the name where no key is asked


class ApiKeys:
    """Who may ask. Keys are kept as hashes and compared in constant time."""

    def __init__(self, names: dict[str, str] | None, per_key: int) -> None:
        """`names` is SHA-256 → name; None asks for no key."""
        self.names, self.per_key = names, per_key
        self.speaking: Counter[str] = Counter()

    @classmethod
    def read(cls, path: Path | None, per_key: int) -> ApiKeys:
        if path is None:
            return cls(None, per_key)
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: cannot be read ({error}); a line each: a name, a space, a key") from error
        names: dict[str, str] = {}
        wrong = []
        for number, line in enumerate(lines, 1):
            words = line.split()
            if not words or line.lstrip().startswith("#"):
                continue
            if len(words) != 2 or len(words[1]) < LEAST or not words[1].isascii():
                wrong.append(f"{path}:{number}: expected a name and a key of at least {LEAST} characters")
            elif words[0] in names.values() or digest(words[1]) in names:
                wrong.append(f"{path}:{number}: the name {words[0]} or its key is there twice")
            else:
                names[digest(words[1])] = words[0]
        if not names and not wrong:
            wrong.append(f"{path}: holds no key; a line each: a name, a space, a key")
        raise_all(DataError, wrong)
        return cls(names, per_key)

    def name_of(self, authorization: str) -> str:
        """Whose key it is; Refusal where it is nobody's."""
        if self.names is None:
            return ANYBODY
        scheme, _, key = authorization.partition(" ")
        theirs = digest(key.strip()) if scheme.lower() == "bearer" else ""
        name = None
        for known, whose in self.names.items():  # all of them, so that time tells nothing
            if secrets.compare_digest(known, theirs):
                name = whose
        if name is None:
            raise Refusal(
                401, "send a key of this server as `Authorization: Bearer KEY`", code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
        return name

    def begin(self, name: str) -> None:
        """One more sentence is spoken for this key; Refusal where those are as many as it may have."""
        if self.names is not None and self.speaking[name] >= self.per_key:
            raise Refusal(
                429, f"{self.per_key} requests of this key are being answered; wait for one to end",
                code="rate_limit_exceeded", headers={"Retry-After": "1"},
            )  # fmt: skip
        self.speaking[name] += 1

    def end(self, name: str) -> None:
        self.speaking[name] -= 1
        if self.speaking[name] <= 0:
            del self.speaking[name]


def digest(key: str) -> str:
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()
