"""Writes the sounds and the table of "By ear" in docs/families.md: families that learnt the demo's voice, side by side.

    python docs/family_sounds.py csm=. orpheus=../orpheus       # each folder has a finished `dvc repro` of that family

Sounds go to docs/sounds, as files that say that they are synthetic.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from timbre.audio.leaving import marked_copy, voice_of
from timbre.core.records import Sample, from_json
from timbre.evaluation import metrics
from timbre.evaluation.metrics import CONDITIONS
from timbre.tracking import mlmodel

HERE = Path(__file__).parent
PAGE, SOUNDS = HERE / "families.md", HERE / "sounds"
MARKS = ("<!-- by ear -->\n", "<!-- /by ear -->")
PROMPTS = ("bridge", "captain")  # rows of data/prompts.tsv


def main(projects: Mapping[str, Path]) -> None:
    SOUNDS.mkdir(exist_ok=True)
    for path in SOUNDS.glob("*.flac"):
        path.unlink()
    before, rest = PAGE.read_text(encoding="utf-8").split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    lines = [*figures(projects), *players(projects)]
    PAGE.write_text(f"{before}{MARKS[0]}" + "\n".join(lines) + f"\n{MARKS[1]}{after}", encoding="utf-8")


def figures(projects: Mapping[str, Path]) -> Iterator[str]:
    yield from ("| family | condition | words wrong | similarity | named as the speaker |", "|---|---|---|---|---|")
    for family, project in projects.items():
        evidence = metrics.read(project / "reports/details.json")
        for condition in CONDITIONS:
            one = evidence.conditions[condition]
            yield f"| {family} | {title(condition)} | {one.wer:.1%} | {one.similarity:.3f} | {one.named:.0%} |"
    yield ""


def players(projects: Mapping[str, Path]) -> Iterator[str]:
    for prompt in PROMPTS:
        samples = {family: spoken(project, prompt) for family, project in projects.items()}
        text = next(iter(samples.values()))[0].text
        yield from (f"“{text}”", "", f"| | {' | '.join(projects)} |", f"|---|{'---|' * len(projects)}")
        for number, condition in enumerate(CONDITIONS):
            cells = [player(family, projects[family], said[number]) for family, said in samples.items()]
            yield f"| {title(condition)} | {' | '.join(cells)} |"
        yield ""


def spoken(project: Path, prompt: str) -> list[Sample]:
    paths = [project / f"reports/samples/{condition}-{prompt}-0.json" for condition in CONDITIONS]
    return [from_json(path.read_text(encoding="utf-8"), Sample, str(path)) for path in paths]


def player(family: str, project: Path, sample: Sample) -> str:
    sound = (project / f"reports/samples/{sample.id}.flac").read_bytes()
    key = voice_of(sample, mlmodel.adapter_key(project / "models/adapter"))
    name = f"{family}-{sample.condition}-{sample.prompt}.flac"
    (SOUNDS / name).write_bytes(marked_copy(sound, key))
    label = f"{family}, {title(sample.condition)}: {sample.text}"
    return f'<audio controls preload="none" src="sounds/{name}" aria-label="{label}"></audio>'


def title(condition: str) -> str:
    return condition.replace("_clone", " + cloning")


if __name__ == "__main__":
    main({name: Path(folder) for name, folder in (argument.split("=") for argument in sys.argv[1:])})
