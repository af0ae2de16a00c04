"""The house rules: what is written in two places agrees, and imports go down only."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
import typing
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support import house
from tests.support.closure import imports
from tests.support.paths import ROOT
from timbre.core import params, records
from timbre.core.sections import Settings
from timbre.evaluation import metrics

STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_the_stages_folder_holds_exactly_one_file_per_stage() -> None:
    assert {path.stem for path in Path("stages").glob("*.py")} - {"__init__"} == set(STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_exactly_the_rooms_that_it_imports(stage: str) -> None:
    file = Path(f"stages/{stage}.py")
    code = imports(file)
    if Path("timbre/families/__init__.py") in code:  # loads the family that params name
        family = params.load()["voice"]["family"]
        code |= {Path(f"timbre/families/{family}/__init__.py")} | imports(Path(f"timbre/families/{family}/__init__.py"))
    rooms = {f"timbre/{found.parts[1]}" for found in code if len(found.parts) > 2}
    if STAGES[stage].get("always_changed"):  # no edit has to start it
        rooms = set()
    assert {dep for dep in STAGES[stage]["deps"] if dep.startswith(("timbre/", "stages/"))} == rooms | {str(file)}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_says_what_it_does_in_one_line_and_in_its_docstring(stage: str) -> None:
    assert 20 < len(STAGES[stage]["desc"]) < 130
    text = Path(f"stages/{stage}.py").read_text()
    assert text.startswith('"""')
    assert f"python -m stages.{stage}" in text.split('"""')[1], "the docstring shows the line that runs it"


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    """Stage → what `--help` prints, and which libraries are loaded then; of all in one process, one after another."""
    code = (
        "import runpy, sys\n"
        "for stage in sys.argv[1:]:\n"
        "    sys.argv = [stage, '--help']\n"
        "    try: runpy.run_module(f'stages.{stage}', run_name='__main__')\n"
        "    except SystemExit: pass\n"
        "    loaded = {'torch', 'transformers', 'mlflow', 'datasets'} & set(sys.modules)\n"
        "    print('loaded:', sorted(loaded), end='=====')"
    )
    done = subprocess.run([sys.executable, "-c", code, *STAGES], cwd=ROOT, capture_output=True, text=True, check=True)
    return dict(zip(STAGES, done.stdout.removesuffix("=====").split("====="), strict=True))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_answers_help_without_torch(stage: str, helps: dict[str, str]) -> None:
    assert helps[stage].endswith("loaded: []")
    flags = set(re.findall(r"--[a-z-]+", STAGES[stage]["cmd"]))
    assert flags <= set(re.findall(r"--[a-z-]+", helps[stage])), "a flag of dvc.yaml is not in --help"


def test_what_is_spoken_and_what_is_judged_are_the_same_conditions() -> None:
    assert typing.get_args(records.Condition) == metrics.CONDITIONS, "a lower layer cannot ask records for them"


def test_the_house_is_small_enough_to_find_ones_way() -> None:
    """Which room may import which is held by the contracts in pyproject.toml."""
    between = house.arrows(ROOT)
    assert len({house.room(file) for file in house.files(ROOT)} - {"timbre.__init__"}) <= 22
    assert sum(map(len, between.values())) <= 82
    assert house.circles(between) == []
    assert {name: count for name, count in house.classes(ROOT).items() if count > 1} == {}, "two classes of one name"
    assert len(list(Path("timbre/core").glob("*.py"))) < 10


@pytest.mark.parametrize("path", [None, str(ROOT)])
def test_torch_in_a_process_that_a_unit_test_starts_is_noticed(stand_in: Path, path: str | None) -> None:
    environment = None if path is None else {"PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", "import torch"], env=environment, capture_output=True, text=True)
    assert "a process of a unit test loads torch" in done.stderr
    (stand_in / "asked").unlink()


def test_every_section_of_params_is_a_schema_and_every_key_is_used() -> None:
    assert params.problems(params.load()) == []
    files = {*Path("timbre").rglob("*.py"), *Path("stages").glob("*.py")} - {Path("timbre/core/sections.py")}
    users = "".join(path.read_text() for path in files)
    for section, schema in typing.get_type_hints(Settings).items():
        for name in _keys(schema):
            assert re.search(rf"\.{name}\b", users), f"{section}.{name} is never used"


def test_every_key_of_params_says_what_it_is() -> None:
    for number, line in enumerate(Path("params.yaml").read_text().splitlines(), 1):
        if re.match(r"\s+\w+:", line) and not line.rstrip().endswith(":"):
            assert " # " in line, f"params.yaml:{number} has no comment"


@pytest.mark.parametrize("preset", sorted(Path(ROOT, "presets").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_preset_is_a_whole_params_file_and_names_what_differs(preset: Path) -> None:
    default, other = params.load(), params.load(preset)
    assert params.problems(other) == []
    differing = {f"{s}.{key}" for s in default for key in default[s] if default[s][key] != other[s][key]}
    header = "".join(takewhile(lambda line: line.startswith("#"), preset.open()))
    assert set(re.findall(r"\b[a-z]+\.[a-z_\d]+\b", header)) - {"params.yaml"} == differing


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_the_sections_that_it_reads(stage: str) -> None:
    used = {
        section
        for file in {Path(f"stages/{stage}.py")}
        for section in re.findall(r"\bsettings\.(\w+)", file.read_text())
    }
    if stage != "track":  # it records them all
        own = {"${voice.family}"} if stage == "train" else set()  # the family's section, which the family reads
        declared = {name.split(".")[0] if name[0] != "$" else name for name in STAGES[stage].get("params", [])}
        assert used - {"compute"} | own == declared


def test_where_entries_are_computed_reruns_nothing_and_every_map_asks_for_it() -> None:
    assert not [stage for stage in STAGES if "compute" in STAGES[stage].get("params", [])]
    maps = {path.stem for path in Path("stages").glob("*.py") if "refresh(" in path.read_text()}
    asking = {path.stem for path in Path("stages").glob("*.py") if "settings.compute" in path.read_text()}
    assert maps - asking == {"fetch"}, "a download waits for its server; it is the same for every process"


def _keys(schema: Any) -> list[str]:
    names = []
    for name, hint in typing.get_type_hints(schema).items():
        names += _keys(hint) if dataclasses.is_dataclass(hint) else [name]
    return names
