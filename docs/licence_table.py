"""Writes the table of packages in docs/licences.md from what the installed packages say about themselves.

    python docs/licence_table.py         # after `make test` has installed everything

It follows pyproject.toml's dependencies and the extras test and docs to everything they require. A package's licence is
its `License-Expression`, else its `License` where that is short, else its classifier.
"""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PAGE = Path(__file__).parent / "licences.md"
BEGIN, END = "<!-- packages -->\n", "<!-- /packages -->\n"
EXTRAS = ("test", "docs")
NVIDIA = re.compile(r"(nvidia|cuda)-")  # what a CUDA build of torch brings: the page names it as a whole
COPYLEFT = re.compile(r"GPL|MPL|EPL|CDDL|EUPL")
READ = {"huey": "MIT", "skops": "MIT", "snac": "MIT", "pocketsphinx": "BSD-2-Clause"}  # read in their LICENSE files
SPDX = {  # how packages write a licence → its SPDX name
    r"Apache.*|.*\bApache License.*": "Apache-2.0",
    r"Mozilla.*": "MPL-2.0",
    r"(The )?MIT( License)?( \(MIT\))?": "MIT",
    r"ISC.*": "ISC",
    r"(Python Software Foundation|License agreement for matplotlib).*": "PSF-2.0",
    r"BSD[- ]2.*": "BSD-2-Clause",
    r"(New |3-Clause )?BSD.*": "BSD-3-Clause",
    r"Zope.*": "ZPL-2.1",
    r"GPLv2 \| EPLv1": "GPL-2.0-only OR EPL-1.0",
    r"GPLv2 with linking exception": "GPL-2.0 with linking exception",
    r"LGPL with exceptions": "LGPL-3.0 with exceptions",
}


def installed() -> dict[str, str]:
    """Package → licence, of all that the dependencies and extras bring, and that is installed here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(line for name in EXTRAS for line in extras[name])]
    return {name: licence(name) for name in sorted(required(map(Requirement, wanted))) if not NVIDIA.match(name)}


def required(wanted: Iterable[Requirement]) -> set[str]:
    todo, seen = list(wanted), set[tuple[str, frozenset[str]]]()
    while todo:
        one = todo.pop()
        key = (name_of(one.name), frozenset(one.extras))
        if key in seen or not is_installed(one.name):
            continue
        seen.add(key)
        more = map(Requirement, metadata.distribution(one.name).requires or [])
        todo += [other for other in more if applies(other, one.extras)]
    return {name for name, _ in seen}


def applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ["", *extras])


def is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def name_of(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def licence(name: str) -> str:
    about = metadata.metadata(name)
    if known := about.get("License-Expression") or READ.get(name):
        return known
    first_line = (about.get("License") or "").strip().partition("\n")[0]
    classes = [line.split(" :: ")[-1] for line in about.get_all("Classifier") or [] if line.startswith("License")]
    found = [spdx(first_line)] if spdx(first_line) else [spdx(line) for line in classes]
    return " OR ".join(sorted(filter(None, found))) or first_line


def spdx(told: str) -> str:
    """Empty where nobody can tell."""
    if re.fullmatch(r"(\S+ (AND|OR|WITH) )+\S+|[A-Z]{2,4}-[\d.]+(-or-later)?", told):
        return told
    return next((name for pattern, name in SPDX.items() if re.fullmatch(pattern, told, re.IGNORECASE)), "")


def table(licences: dict[str, str]) -> str:
    packages: dict[str, list[str]] = defaultdict(list)
    for name, its in licences.items():
        packages[its].append(name)
    rows = sorted(packages.items(), key=lambda row: (-len(row[1]), row[0]))
    return "\n".join(
        ["| licence | packages |", "|---|---|", *(f"| {its} | {', '.join(them)} |" for its, them in rows), ""]
    )


def listed(text: str) -> dict[str, str]:
    """Package → licence, as the page says."""
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", text.partition(BEGIN)[2].partition(END)[0], re.MULTILINE)
    return {name: its for its, names in rows[1:] for name in names.split(", ")}


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    before, after = page[: page.index(BEGIN) + len(BEGIN)], page[page.index(END) :]
    PAGE.write_text(before + table(installed()) + after, encoding="utf-8")
