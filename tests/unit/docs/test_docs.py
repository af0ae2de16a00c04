"""README and docs/ say what is there: every command, stage and parameter, and every link leads somewhere."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from ruamel.yaml import YAML

from tests.support.paths import ROOT
from timbre.commands import cli, summary
from timbre.core import params
from timbre.evaluation import measures, metrics

STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
README = Path("README.md")
DOCS = sorted(path.relative_to(ROOT) for path in ROOT.glob("docs/*.md"))
PAGES = [
    *(path.relative_to(ROOT) for path in ROOT.glob("*.md")),
    *DOCS,
    *(path.relative_to(ROOT) for folder in ("benchmarks", "models") for path in ROOT.glob(f"{folder}/**/*.md")),
]
LONGEST = 150  # lines of README.md


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def hooks() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(ROOT / "docs/hooks.py")))


@pytest.fixture(scope="module")
def licences() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(ROOT / "docs/licence_table.py")))


@pytest.fixture(scope="module")
def picture() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(ROOT / "docs/pipeline_picture.py")))


def code_in(page: Path) -> str:
    """What stands between backticks, which is where commands are named."""
    return "\n".join(re.findall(r"```.*?```|`[^`]+`", page.read_text(encoding="utf-8"), re.DOTALL))


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= LONGEST, "move it into a page of docs/"


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_a_row_and_a_page(command: str) -> None:
    rows = re.findall(
        rf"^\| `timbre {command}` \| .+ \| \[.+\]\((.+?)\).* \|$", Path("docs/commands.md").read_text(), re.M
    )
    assert len(rows) == 1, f"docs/commands.md has no row for `timbre {command}`"
    assert f"timbre {command}" in code_in(Path("docs", rows[0].partition("#")[0])), f"{rows[0]} does not show it"


@pytest.mark.parametrize("page", [README, *DOCS], ids=str)
def test_every_command_and_flag_that_a_page_names_exists(page: Path, hooks: SimpleNamespace) -> None:
    for command, rest in re.findall(r"\btimbre ([a-z]+)\b([^\n`|#]*)", code_in(page)):
        assert command in cli.COMMANDS, f"{page} names `timbre {command}`"
        for flag in re.findall(r"(?<=\s)--[a-z-]+", rest):
            assert flag in hooks.help_of(command), f"{page} names `timbre {command} {flag}`"


@pytest.mark.parametrize("page", [README, *DOCS], ids=str)
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z./-]+):", Path("Makefile").read_text(), re.MULTILINE))
    for target in re.findall(r"(?m)(?:`|^)make ([a-z.][a-z./-]+)", code_in(page)):
        assert target in targets, f"{page} names `make {target}`"


def test_every_make_target_is_in_the_docs() -> None:
    named = set(re.findall(r"^\| `make ?([a-z-]*)` \|", Path("docs/commands.md").read_text(), re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.+)$", Path("Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    assert named == {"" if target == "run" else target for target in phony[1].split()}


def test_the_pipeline_page_explains_every_stage_in_order() -> None:
    text = Path("docs/pipeline.md").read_text(encoding="utf-8")
    assert re.findall(r"^\d+\. `(\w+)`", text, re.MULTILINE) == list(STAGES)


def test_pictures_show_every_stage_and_the_same_arrows(picture: SimpleNamespace) -> None:
    assert picture.PICTURE.read_text(encoding="utf-8") == picture.picture(), "run `python docs/pipeline_picture.py`"
    assert set(STAGES) <= set(picture.PLACES)
    block = re.search(r"```mermaid\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    bare = re.sub(r"\(\[.*?\]\)|\[.*?\]|\|.*?\|", "", block[1])
    chains = [re.findall(r"\w+", line) for line in bare.splitlines() if "-->" in line]
    assert {pair for chain in chains for pair in pairwise(chain)} == set(picture.ARROWS)


def test_every_parameter_is_explained_on_the_page_of_parameters(hooks: SimpleNamespace) -> None:
    text = "\n".join(hooks.parameters())
    for section, keys in params.load().items():
        rows = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
        for key in keys:
            names = [f"{key}.{inner}" for inner in keys[key]] if isinstance(keys[key], dict) else [key]
            for name in names:
                assert re.search(rf"^\| `{name}` \| `.+` \| \S.{{5,}} \|$", rows, re.MULTILINE), f"{section}.{name}"


def test_every_parameter_that_a_page_names_exists() -> None:
    document = params.load()
    for page in [README, *DOCS]:
        for section, key in re.findall(
            rf"`({'|'.join(document)})\.([a-z_]+)(?=[`:])", page.read_text(encoding="utf-8")
        ):
            assert key in document[section], f"{page} names {section}.{key}"


def test_every_measure_and_gate_is_explained(hooks: SimpleNamespace) -> None:
    text = Path("docs/what-a-number-means.md").read_text(encoding="utf-8")
    table = "\n".join(hooks.measures())
    for measure in measures.MEASURES:
        assert f"| `{measure.name}` |" in table
        assert measure.name in measures.AMOUNTS or f"`{measure.name}`" in text, f"{measure.name} is not explained"
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == set(measures.GATES)


@pytest.mark.parametrize("page", [README, *DOCS], ids=str)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    """Of what is in git: outputs come and go."""
    for name in re.findall(
        r"`((?:timbre|stages|docs|tests|presets|benchmarks|models/tiny)/[\w./-]+)`", page.read_text()
    ):
        assert Path(name).exists(), f"{page} names {name}"


def test_architecture_has_a_line_for_every_room_and_for_none_that_is_gone() -> None:
    tree = Path("docs/architecture.md").read_text(encoding="utf-8").split("```")[1]
    named = set(re.findall(r"^  (\w+)/ ", tree, re.MULTILINE))
    assert named == {path.name for path in Path("timbre").iterdir() if path.is_dir() and any(path.glob("*.py"))}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!\w+:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), f"{page} links to {link}"
        titles = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
        anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
        assert not anchor or anchor in anchors, f"{page} links to {link}, and there are {anchors}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    text = README.read_text(encoding="utf-8") + Path("docs/index.md").read_text(encoding="utf-8")
    for page in DOCS:
        assert page.name == "index.md" or page.name in text, f"nothing links to {page}"


def test_the_readme_shows_the_rates_that_were_committed() -> None:
    listed = subprocess.run(
        ["git", "ls-tree", "--name-only", "HEAD", "reports/"], capture_output=True, text=True, check=True
    )
    name = next(name for name in ("reports/details.json", "reports/metrics.json") if name in listed.stdout.split())
    command = ["git", "show", f"HEAD:{name}"]
    committed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    shown = "\n".join(summary.table(metrics.from_dict(json.loads(committed))))
    assert f"{summary.BEGIN}{shown}{summary.END}" in README.read_text(encoding="utf-8"), "run `timbre summary --readme`"


def test_pages_show_small_pictures() -> None:
    for picture in Path("docs/pictures").iterdir():
        assert picture.stat().st_size < 200_000, f"{picture} is too large; docs/screenshots.py makes small ones"


def test_the_licence_of_every_package_is_on_its_page(licences: SimpleNamespace) -> None:
    """What is installed depends on the platform, so the page may list more than there is here."""
    installed, listed = licences.installed(), licences.listed(licences.PAGE.read_text(encoding="utf-8"))
    assert "" not in installed.values(), "a package names no licence"
    assert installed.items() <= listed.items(), "run `python docs/licence_table.py`"
    pinned = {licences.name_of(line.partition("==")[0]) for line in Path("constraints.txt").read_text().splitlines()}
    assert listed.keys() - pinned <= {"triton", "setuptools"}, "the page lists what nothing depends on"


def test_every_copyleft_package_is_named_with_who_needs_it(licences: SimpleNamespace) -> None:
    text = licences.PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"^\| ([\w-]+) \|", text.partition("## Copyleft")[2], re.MULTILINE))
    assert {name for name, its in licences.listed(text).items() if licences.COPYLEFT.search(its)} <= named
