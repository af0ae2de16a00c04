"""Writes the sounds and the table of "By ear" in docs/families.md: families that learnt the demo's voice, side by side.

    python docs/family_sounds.py csm=. orpheus=../orpheus       # each folder has a finished `dvc repro` of that family

A family that is not named keeps what the page shows of it. Sounds go to docs/sounds, as files that say that they are
synthetic.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from timbre.audio.leaving import marked_copy, voice_of
from timbre.core.records import Sample, from_json
from timbre.evaluation import metrics
from timbre.evaluation.metrics import CONDITIONS, Evidence
from timbre.report.verdict import verdict
from timbre.tracking import mlmodel

HERE = Path(__file__).parent
PAGE, SOUNDS = HERE / "families.md", HERE / "sounds"
MARKS = ("<!-- by ear -->\n", "<!-- /by ear -->")
PROMPTS = ("bridge", "captain")  # rows of data/prompts.tsv


@dataclass(frozen=True)
class Shown:
    """What the page says of a family: what its report does, a row for each condition, and the text of each prompt."""

    report: str
    rows: list[str]
    texts: dict[str, str]


def main(projects: Mapping[str, Path]) -> None:
    SOUNDS.mkdir(exist_ok=True)
    before, rest = PAGE.read_text(encoding="utf-8").split(MARKS[0])
    old, after = rest.split(MARKS[1])
    families = known(old)
    for family, project in projects.items():
        for path in SOUNDS.glob(f"{family}-*.flac"):
            path.unlink()
        evidence = metrics.read(project / "reports/details.json")
        rows = list(figures(family, evidence))
        families[family] = Shown(reported(family, evidence), rows, dict(texts(family, project)))
    lines = ["| family | what its report says | gates passed |", "|---|---|---|"]
    lines += [shown.report for shown in families.values()]
    lines += [
        "",
        "| family | condition | words wrong | similarity | named as the speaker | ended |",
        "|---|---|---|---|---|---|",
    ]
    lines += [row for shown in families.values() for row in shown.rows]
    lines += ["", *players(families)]
    PAGE.write_text(f"{before}{MARKS[0]}" + "\n".join(lines) + f"\n{MARKS[1]}{after}", encoding="utf-8")


def known(page: str) -> dict[str, Shown]:
    """The families that the page shows already."""
    rows = re.findall(r"^(\| ([a-z]+) \| .+%.*)$", page, re.M)
    said = re.findall(r'src="sounds/([a-z]+)-base-([a-z]+)\.flac" aria-label="[^:]+: ([^"]+)"', page)
    reports = {family: row for row, family in re.findall(r"^(\| ([a-z]+) \| .+ \| \d+ of \d+ \|)$", page, re.M)}
    names = dict.fromkeys(family for _, family in rows)
    return {
        name: Shown(
            reports.get(name, f"| {name} | | |"),
            [row for row, family in rows if family == name],
            {prompt: text for family, prompt, text in said if family == name},
        )
        for name in names
    }


def reported(family: str, evidence: Evidence) -> str:
    passed = len(evidence.gates) - len(evidence.failed)
    return f"| {family} | {verdict(evidence).headline} | {passed} of {len(evidence.gates)} |"


def figures(family: str, evidence: Evidence) -> Iterator[str]:
    for condition in CONDITIONS:
        one = evidence.conditions[condition]
        words = f"{one.wer:.1%} ({one.wer_low:.1%} to {one.wer_high:.1%})"
        yield f"| {family} | {title(condition)} | {words} | {one.similarity:.3f} | {one.named:.0%} | {one.ended:.0%} |"


def texts(family: str, project: Path) -> Iterator[tuple[str, str]]:
    """What each prompt says; its sounds are written."""
    for prompt in PROMPTS:
        for condition in CONDITIONS:
            path = project / f"reports/samples/{condition}-{prompt}-0.json"
            sample = from_json(path.read_text(encoding="utf-8"), Sample, str(path))
            sound = path.with_suffix(".flac").read_bytes()
            key = voice_of(sample, mlmodel.adapter_key(project / "models/adapter"))
            (SOUNDS / file(family, condition, prompt)).write_bytes(marked_copy(sound, key))
        yield prompt, sample.text


def players(families: Mapping[str, Shown]) -> Iterator[str]:
    for prompt in PROMPTS:
        text = next(iter(families.values())).texts[prompt]
        yield from (f"“{text}”", "", f"| | {' | '.join(families)} |", f"|---|{'---|' * len(families)}")
        for condition in CONDITIONS:
            cells = [player(family, condition, prompt, text) for family in families]
            yield f"| {title(condition)} | {' | '.join(cells)} |"
        yield ""


def player(family: str, condition: str, prompt: str, text: str) -> str:
    label = f"{family}, {title(condition)}: {text}"
    return (
        f'<audio controls preload="none" src="sounds/{file(family, condition, prompt)}" aria-label="{label}"></audio>'
    )


def file(family: str, condition: str, prompt: str) -> str:
    return f"{family}-{condition}-{prompt}.flac"


def title(condition: str) -> str:
    return condition.replace("_clone", " + cloning")


if __name__ == "__main__":
    main({name: Path(folder) for name, folder in (argument.split("=") for argument in sys.argv[1:])})
