"""The workflow tests exactly the versions of Python that the project and the packages it pins allow."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import distributions

from packaging.specifiers import SpecifierSet
from ruamel.yaml import YAML

from tests.support.paths import ROOT


def matrix() -> list[str]:
    jobs = YAML(typ="safe").load(ROOT / ".github/workflows/check.yml")["jobs"]
    (pythons,) = [job["strategy"]["matrix"]["python"] for job in jobs.values() if "strategy" in job]
    return list(pythons)


def test_the_matrix_begins_with_the_oldest_python_that_the_project_takes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    allowed = SpecifierSet(project["requires-python"])
    oldest = int(matrix()[0].removeprefix("3."))
    assert all(allowed.contains(f"{python}.0") for python in matrix())
    assert not allowed.contains(f"3.{oldest - 1}.0")
    assert f"Python {matrix()[0]} to {matrix()[-1]}" in (ROOT / "docs/contributing.md").read_text()


def test_no_pinned_package_refuses_a_python_of_the_matrix() -> None:
    pinned = set(re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    packages = {_spelled(one.name): one for one in distributions()}
    refused = [
        f"{name} {package.version} on Python {python}: it wants {wanted}"
        for name, package in packages.items()
        if name in {_spelled(pin) for pin in pinned} and (wanted := package.metadata.json.get("requires_python"))
        for python in matrix()
        if not SpecifierSet(str(wanted)).contains(f"{python}.7")
    ]
    assert not refused


def _spelled(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
