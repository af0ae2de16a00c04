"""One page that says how good the voice is, lets you hear it, and opens without a network; and a short one in Markdown.

Reads   reports/samples, reports/scores.csv, reports/details.json   what was said, heard and measured
        models/history.csv, reports/points                          the curves, and a sentence at points of training
        models/adapter                                              the version's key, and whether a person ended it
        data/dataset, data/clips, data/raw, data/review.json        what it learnt from, and what was left out
        data/speech                                                 how the recordings sound
        data/sources.yaml, data/speakers.yaml, data/transcripts     whose voice may be heard
Writes  reports/index.html                                          sound, style and charts inside the one file
        reports/report.md                                           the verdict and the tables, for a pull request

    python -m stages.report --samples reports/samples --scores reports/scores.csv --metrics reports/details.json \\
        --training models/adapter/training.json --history models/history.csv --points reports/points \\
        --dataset data/dataset --clips data/clips --raw data/raw --speech data/speech --review data/review.json \\
        --sources data/sources.yaml --speakers data/speakers.yaml --transcripts data/transcripts \\
        --out reports/index.html --markdown reports/report.md

Both hold no time and no path of this machine: the same inputs give the same bytes. So they know no other version
either; `timbre report` makes a copy of the page that tells what changed. What the page says is made in timbre/report.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from timbre import families
from timbre.core.content import folder_key, write_atomic
from timbre.core.params import read
from timbre.core.records import Example, cloned_clips
from timbre.core.safe_text import escaped
from timbre.evaluation.measures import COMPARED, MEASURES
from timbre.evaluation.metrics import read as read_metrics
from timbre.families import WeightsLicence
from timbre.mapping.stage import run_stage
from timbre.mapping.store import ANEW
from timbre.project.permissions import Permissions, Used, of_dataset
from timbre.report import data, kept_sounds, method, sample_rows, sound, tables
from timbre.report import training as figures
from timbre.report.data import Data
from timbre.report.numbers import clock, percent
from timbre.report.people import people
from timbre.report.rates import rates
from timbre.report.sample_rows import ShownScore, Take
from timbre.report.second import second
from timbre.report.sound import EmbeddedSound
from timbre.report.tables import Fact
from timbre.report.templates import environment
from timbre.report.training import TrainingFigures
from timbre.report.verdict import NAMES, verdict

PAGE = Path("timbre/report/page")


def references(
    scores: Sequence[ShownScore], examples: Sequence[Example], clips: Path
) -> list[tuple[Example, EmbeddedSound]]:
    """The clip of each true speaker that the cloning conditions heard first."""
    cloned = cloned_clips((score.sample for score in scores), examples)
    return [(clip, sound.sound(clips / f"{clip.id}.flac")) for clip in cloned.values()]


def render(**page: object) -> str:
    templates = environment(PAGE)
    templates.filters |= {"clock": clock, "percent": percent}
    style, script = ((PAGE / name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    # the page's own script may run and no other: whatever got into the page as text stays text
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page |= {"style": style, "script": script, "script_hash": allowed, "names": NAMES, "kinds": sample_rows.KINDS}
    return templates.get_template("page.html").render(page) + "\n"


def facts(learnt: Data, trained: TrainingFigures, worst: Sequence[Take], licence: WeightsLicence | None) -> list[Fact]:
    """The rest of the Markdown page."""
    train, held = learnt.seconds
    rows = [
        Fact(
            "Data",
            f"{clock(train)} minutes in {len(learnt.train)} clips to learn from, {clock(held)} in "
            f"{len(learnt.evaluation)} to evaluate on, {percent(learnt.review['reviewed_share'])} heard by a person; "
            f"{learnt.drops} left out, {learnt.warnings} warnings",
        )
    ]
    if trained.best:
        rows.append(Fact("Training", " ".join(filter(None, (trained.best, trained.ended, trained.overfit)))))
    if worst:
        each = list({take.prompt: take for take in reversed(worst)}.values())[::-1]  # its worst of each sentence
        named = [f"{escaped(take.text)} ({take.name}, {percent(take.wer)} wrong)" for take in each[:3]]
        rows.append(Fact("Worst sentences", "; ".join(named)))
    if licence:
        rows.append(Fact("Licence of the base model", str(licence)))
    return [*rows, Fact("Listen", "`dvc pull`, then open `reports/index.html`")]


def voices(learnt: Data, used: Used, allowed: Permissions) -> list[str]:
    """Whose sound is in the page: `timbre report` asks for their consent before it copies the page."""
    drops = [row.drop for reason in learnt.reasons for row in reason.rows if row.sound]
    beside = (name for drop in drops for name in allowed.voices_in(drop.recording, drop.start, drop.end))
    return sorted({*used, *beside})


def main(
    samples: Annotated[Path, "folder of generated samples"],
    scores: Annotated[Path, "what was heard, a row per sample"],
    metrics: Annotated[Path, "the conditions' rates"],
    training: Annotated[Path, "facts about the training, models/adapter/training.json"],
    history: Annotated[Path, "training curves"],
    points: Annotated[Path, "folder of a sentence at points of training"],
    dataset: Annotated[Path, "folder of the training and evaluation tables"],
    clips: Annotated[Path, "folder of the clips"],
    raw: Annotated[Path, "folder of the recordings"],
    speech: Annotated[Path, "folder of where somebody speaks in the recordings, and how loud"],
    review: Annotated[Path, "how much of the transcripts a person has heard"],
    sources: Annotated[Path, "the recordings, data/sources.yaml"],
    speakers: Annotated[Path, "who allowed what, data/speakers.yaml"],
    transcripts: Annotated[Path, "folder of the transcripts"],
    out: Annotated[Path, "the page"],
    markdown: Annotated[Path, "the short page"],
) -> None:
    allowed = Permissions(sources, speakers, transcripts)
    allowed.check(of_dataset(dataset))
    settings = read()
    licence = families.limits(settings.voice.family)
    evidence, scored = read_metrics(metrics), sample_rows.read_scores(scores, samples)
    version = folder_key(training.parent)
    with kept_sounds.kept(None if os.environ.get(ANEW) else kept_sounds.FILE):
        sound.prepare((samples / f"{s.sample.id}.flac", sound.mark_of(s.sample, version)) for s in scored)
        learnt = data.read(dataset, review, clips, raw, speech, allowed.holds_barred_voice)
        trained = figures.read(training, history, points, scored, samples, version)
        rows = sample_rows.rows(scored, samples, version, lambda clip: sound.sound(clips / f"{clip}.flac"))
        cloned = references(scored, [*learnt.train, *learnt.evaluation], clips)
    worst = sample_rows.worst(rows)
    page = render(
        verdict=verdict(evidence),
        rates=rates(evidence),
        by_speaker=tables.by_speaker(evidence),
        people=people(evidence),
        twice=second(evidence),
        speaker=evidence.speaker,
        measures=COMPARED,
        others=[m for m in MEASURES if not m.compared and m.name not in ("errors", "words")],
        explained=method.explained(),
        failed=evidence.failed,
        rows=rows,
        by_kind=sample_rows.by_kind(scored),
        worst=worst,
        training=trained,
        data=learnt,
        references=cloned,
        voices=voices(learnt, of_dataset(dataset), allowed),
        base=scored[0].sample.base,
        licence=licence,
        adapter=next((s.sample.adapter for s in scored if s.sample.adapter), None),
    )
    write_atomic(out, page)
    write_atomic(markdown, tables.markdown(evidence, facts(learnt, trained, worst, licence)))


if __name__ == "__main__":
    run_stage(main)
