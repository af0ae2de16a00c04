"""Small tables of training and evaluation clips; a word's edit is kilobytes here, not audio.

Reads   data/sources.yaml              which language each recording is in
        data/speakers.yaml             the number of each speaker
        data/chunks/clips.jsonl        every clip: its spans, its words, how it was recorded
        data/chunks/drops.jsonl        the segments that are in no clip
        data/labels.jsonl              what Whisper hears in each clip
Writes  data/dataset/train.jsonl       Example rows, which name the clips' files in data/clips
        data/dataset/eval.jsonl        the same; held back from training
        data/dataset/rejected.jsonl    Drop rows: all that is in neither and why; and the warnings about what is in one
        data/dataset/stats.json        seconds, clips, words, speakers

    python -m stages.dataset --sources data/sources.yaml --speakers data/speakers.yaml \\
        --table data/chunks/clips.jsonl --drops data/chunks/drops.jsonl --labels data/labels.jsonl \\
        --clips data/clips --out data/dataset

A language that the family of `voice.family` does not speak is an error that names its recordings.

Evaluation is made of whole blocks of a recording's time, so that what is tested was not spoken between two sentences
that were learnt. A block's lot is drawn from the recording's id and its number alone: a clip goes where its middle
lies, whatever is edited in it, beside it, or added elsewhere. Only where lots fall badly, as they may with few blocks,
the next blocks' clips are added or the last ones taken back, until evaluation has between half and twice its share of
each speaker's clips.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from timbre import families
from timbre.core import text
from timbre.core.content import content_key, write_atomic
from timbre.core.errors import DataError, raise_all
from timbre.core.params import read
from timbre.core.records import Clip, Drop, Example, Label, read_jsonl, write_jsonl
from timbre.core.sections import DatasetParams
from timbre.core.text import judged_sentences, words
from timbre.families import Family
from timbre.mapping.stage import run_stage
from timbre.project import obstacles, pace
from timbre.project.known_words import REMEDY
from timbre.project.permissions import Permissions, used_by
from timbre.project.prompts import PATH as PROMPTS
from timbre.project.prompts import read_prompts
from timbre.project.sources import read as read_sources
from timbre.project.speakers import Person


def unwanted(clips: Sequence[Clip], params: DatasetParams) -> dict[str, str]:
    """Clip id → reason, where only some speakers are wanted; DataError where one of these has no clip."""
    if params.speakers is None:
        return {}
    there = sorted({clip.speaker for clip in clips})
    raise_all(
        DataError,
        (
            f"params.yaml: dataset.speakers: {name} has no clip; the speakers who have are {', '.join(there)}"
            for name in params.speakers
            if name not in there
        ),
    )
    return {
        clip.id: f"unasked: dataset.speakers does not name {clip.speaker}"
        for clip in clips
        if clip.speaker not in params.speakers
    }


def unfit(clip: Clip, label: Label, params: DatasetParams) -> str | None:
    """Why nobody should learn from this clip, whatever the others are like."""
    silent = 1 - clip.speech / clip.seconds
    if not words(clip.text):
        return "wordless: its text has no word that could be spoken"
    if above(clip.clipped, params.clipping):
        return f"clipping: {clip.clipped:.2%} of its samples are cut off, over dataset.clipping ({params.clipping:.2%})"
    if below(clip.snr, params.snr):
        return f"noisy: speech is {clip.snr:.0f} dB above what is beside it, under dataset.snr ({params.snr:g})"
    if above(silent, params.silence):
        return f"silence: nobody speaks in {silent:.0%} of it, over dataset.silence ({params.silence:.0%})"
    if label.language is not None and below(label.language, params.language):
        return f"foreign: its language is the recording's with {label.language:.0%}, under dataset.language"
    if above(label.cer, params.wrong_cer):
        return f"misheard: Whisper hears “{label.heard}”, {label.cer:.0%} apart, over dataset.wrong_cer"
    if above(label.worst, params.wrong_cer):
        return f"misheard: Whisper hears “{label.heard}”; a sentence is {label.worst:.0%} apart, over dataset.wrong_cer"
    return None


def unheard(labels: Sequence[Label], params: DatasetParams) -> Iterator[str]:
    """Why nothing should be learnt at all: Whisper does not know this speech, and could not judge the voice either."""
    heard = sum(label.cer < (params.doubtful_cer or math.inf) for label in labels)
    if labels and below(heard / len(labels), params.min_heard):
        yield (
            f"Whisper hears {heard} of {len(labels)} clips as they are written, under dataset.min_heard "
            f"({params.min_heard:.0%}); `timbre review` shows what it hears. If the texts are right, whisper.model "
            f"does not know this speech, as the demo's does not: {REMEDY}. `min_heard: null` trains all the same"
        )


def above(value: float, most: float | None) -> bool:
    return most is not None and value > most


def below(value: float, least: float | None) -> bool:
    return least is not None and value < least


def warnings(clip: Clip, label: Label, params: DatasetParams) -> Iterator[str]:
    """What a person should hear about a clip that is used all the same."""
    if label.cer and not below(label.cer, params.doubtful_cer or math.inf):
        yield f"misheard: Whisper hears “{label.heard}”, {label.cer:.0%} apart; is the text what is said?"
    elif label.numbers:
        yield f"misheard: Whisper hears “{label.heard}”, another number ({label.numbers}); is the text what is said?"
    if label.stranger:
        yield f"voice: sounds like somebody else than most clips of {clip.speaker}; is the line's speaker right?"
    if clip.abrupt:
        yield "cut: somebody speaks where it begins or ends; move the line's times into the silence"
    if clip.clipped:
        yield f"clipping: {clip.clipped:.2%} of its samples were recorded too loud and are cut off"


def unusual_pace(clips: Sequence[Clip], ranges: float | None) -> dict[str, str]:
    """Clip id → reason, where text and sound hardly belong together: too many words for the time, or too few."""
    reasons: dict[str, str] = {}
    for speaker in sorted({clip.speaker for clip in clips}) if ranges else ():
        paces = {c.id: pace.seconds_per_letter(c.speech, c.text) for c in clips if c.speaker == speaker}
        if not (limits := pace.usual(list(paces.values()), ranges or 0.0)):
            continue
        least, most = limits
        for name, own in paces.items():
            if not least <= own <= most:
                reasons[name] = (
                    f"pace: {1000 * own:.0f} ms per letter, where {speaker} usually takes "
                    f"{1000 * least:.0f} to {1000 * most:.0f}; is the text what is said?"
                )
    return reasons


def lot(clip: Clip, block_seconds: float) -> float:
    """Between 0 and 1, the same for all clips of a block, and never another while the block's seconds are."""
    # the middle, because chunk cuts near fixed times: a block's edge there would let a small edit change sides
    block = math.floor((clip.start + clip.end) / 2 / block_seconds)
    return int(content_key(clip.recording, block), 16) / 16**16


def held_out(clips: Sequence[Clip], params: DatasetParams) -> set[str]:
    """The ids of the clips to evaluate on: some of each speaker, who is judged by them."""
    speakers = sorted({clip.speaker for clip in clips})
    return set[str]().union(*(_held_out([c for c in clips if c.speaker == name], params) for name in speakers))


def _held_out(clips: Sequence[Clip], params: DatasetParams) -> set[str]:
    lots = {clip.id: lot(clip, params.block_seconds) for clip in clips}
    order = sorted(clips, key=lambda clip: (lots[clip.id], clip.recording, clip.start))
    share = params.eval_share * len(clips)
    least = max(2 if len(clips) >= 4 else 1, round(share / 2))
    most = max(least, min(len(clips) // 2, math.ceil(share * 2)))
    count = sum(drawn < params.eval_share for drawn in lots.values())
    return {clip.id for clip in order[: min(max(count, least), most)]}


def repeated(clips: Sequence[Clip], most: int | None) -> dict[str, str]:
    """Clip id → reason, where enough others say the same; which ones stay depends on their ids alone."""
    same: dict[tuple[str, ...], list[str]] = {}
    for clip in sorted(clips, key=lambda clip: clip.id):
        same.setdefault(tuple(words(clip.text)), []).append(clip.id)
    too_many = [(name, ids) for ids in same.values() for name in ids[most if most else len(ids) :]]
    return {
        name: f"repeated: {len(ids)} clips say the same words, over dataset.repeats ({most})" for name, ids in too_many
    }


def duplicates(clips: Sequence[Clip], evaluation: set[str]) -> dict[str, str]:
    """Training clip id → reason, where an evaluation clip says the same sentence: learnt by heart is not learnt."""
    tested: dict[tuple[str, ...], Clip] = {}
    for clip in clips:
        if clip.id in evaluation:
            for sentence in judged_sentences(clip.text):
                tested.setdefault(sentence, clip)
    leaked = ((c.id, next((tested[s] for s in judged_sentences(c.text) if s in tested), None)) for c in clips)
    return {
        name: f"duplicate: the evaluation clip {other.id} says the same words"
        for name, other in leaked
        if other and name not in evaluation
    }


def examples(
    clips: Iterable[Clip], folder: Path, languages: Mapping[str, str], people: Mapping[str, Person]
) -> list[Example]:
    return [
        Example(
            audio=f"{folder.as_posix()}/{clip.id}.flac",
            text=clip.text,
            source=clip.speaker,
            id=clip.id,
            recording=clip.recording,
            start=clip.start,
            end=clip.end,
            seconds=clip.seconds,
            language=languages.get(clip.recording),
            sentence_ends=clip.sentence_ends,
            number=people[clip.speaker].number,
        )
        for clip in clips
    ]


@dataclass(frozen=True)
class Split:
    """What becomes of each clip."""

    train: list[Clip]
    evaluation: list[Clip]
    reasons: dict[str, str]  # id of a clip that is in neither → why


def split(clips: Sequence[Clip], labels: Mapping[str, Label], params: DatasetParams) -> Split:
    reasons = unwanted(clips, params)
    reasons |= {c.id: why for c in clips if c.id not in reasons and (why := unfit(c, labels[c.id], params))}
    for odd in (partial(unusual_pace, ranges=params.pace_iqr), partial(repeated, most=params.repeats)):
        reasons |= odd([clip for clip in clips if clip.id not in reasons])
    fit = [clip for clip in clips if clip.id not in reasons]
    tested = held_out(fit, params)
    reasons |= duplicates(fit, tested)
    learnt = [clip for clip in fit if clip.id not in tested and clip.id not in reasons]
    return Split(learnt, [clip for clip in fit if clip.id in tested], reasons)


def rejected(kept: Split, clips: Sequence[Clip], labels: Mapping[str, Label], params: DatasetParams) -> Iterator[Drop]:
    """The clips that are left out, and the warnings about those that are not."""
    for clip in clips:
        if why := kept.reasons.get(clip.id):
            yield Drop(clip.recording, clip.start, clip.end, clip.text, why, clip=clip.id)
            continue
        for warning in warnings(clip, labels[clip.id], params):
            yield Drop(clip.recording, clip.start, clip.end, clip.text, warning, kind="warning", clip=clip.id)


def stats(train: Sequence[Example], evaluation: Sequence[Example], rejected: Sequence[Drop]) -> dict[str, object]:
    def count(rows: Sequence[Example]) -> dict[str, object]:
        word_count = sum(len(words(row.text)) for row in rows)
        return {"clips": len(rows), "seconds": round(sum(row.seconds for row in rows), 2), "words": word_count}

    def reasons(kind: str) -> dict[str, object]:
        rows = [drop for drop in rejected if drop.kind == kind]
        seconds = round(sum(drop.end - drop.start for drop in rows), 2)
        return {"rows": len(rows), "seconds": seconds, "reasons": Counter(drop.reason.split(":")[0] for drop in rows)}

    every = [*train, *evaluation]
    return {
        "train": count(train),
        "eval": count(evaluation),
        "rejected": reasons("drop"),
        "warnings": reasons("warning"),
        "speakers": {name: count([row for row in every if row.source == name]) for name in {r.source for r in every}},
        "normalisation": text.VERSION,
    }


def foreign(clips: Sequence[Clip], languages: Mapping[str, str], family: Family) -> Iterator[str]:
    """A line per recording that is used and whose language the family does not speak."""
    for name in sorted({clip.recording for clip in clips}):
        if family.languages is not None and (language := languages.get(name)) not in family.languages:
            yield (
                f"{name}: {family.name} does not speak {language or 'its language'}, only "
                f"{', '.join(family.languages)}; take the recording out of data/sources.yaml, or another voice.family"
            )


def main(
    sources: Annotated[Path, "list of recordings, data/sources.yaml"],
    speakers: Annotated[Path, "list of people, data/speakers.yaml"],
    table: Annotated[Path, "table of clips"],
    drops: Annotated[Path, "table of segments that are in no clip"],
    labels: Annotated[Path, "table of what Whisper hears in the clips"],
    clips: Annotated[Path, "folder of clips, as the tables shall name it"],
    out: Annotated[Path, "folder for the tables"],
) -> None:
    settings = read()
    params = settings.dataset
    cut, label_of = read_jsonl(table, Clip), {label.clip: label for label in read_jsonl(labels, Label)}
    raise_all(DataError, (f"{labels}: lacks clip {c.id}; run `dvc repro check`" for c in cut if c.id not in label_of))
    languages = {source.id: source.language for source in read_sources(sources)}
    permissions = Permissions(sources, speakers)
    permissions.check(used_by((clip.speaker, clip.recording) for clip in cut))
    family = families.family(settings.voice.family)
    asked = read_prompts(PROMPTS) if PROMPTS.is_file() else []  # no dependency: they change nothing that is written
    without = unwanted(cut, params)
    wanted = [clip for clip in cut if clip.id not in without]
    unspoken = obstacles.unspoken(asked, family.name, family.languages)
    raise_all(DataError, [*foreign(wanted, languages, family), *unspoken])
    raise_all(DataError, unheard([label_of[clip.id] for clip in wanted], params))
    chosen = split(cut, label_of, params)
    left_out = [*read_jsonl(drops, Drop), *rejected(chosen, cut, label_of, params)]
    rows = sorted(left_out, key=lambda row: (row.recording, row.start, row.kind))
    if not chosen.train or not chosen.evaluation:
        commonest = Counter(row.reason.split(":")[0] for row in rows if row.kind == "drop").most_common(3)
        raise DataError(
            f"{table}: {len(chosen.train) + len(chosen.evaluation)} clips are left to learn from and to test on; left "
            f"out: {', '.join(f'{count} {kind}' for kind, count in commonest)}; {drops} names the lines. Add a "
            "recording, mend the transcript, or change a limit in the sections chunk and dataset of params.yaml"
        )
    train, tested = (examples(rows, clips, languages, permissions.people) for rows in (chosen.train, chosen.evaluation))
    write_jsonl(out / "train.jsonl", train)
    write_jsonl(out / "eval.jsonl", tested)
    write_jsonl(out / "rejected.jsonl", rows)
    write_atomic(out / "stats.json", json.dumps(stats(train, tested, rows), indent=2, sort_keys=True) + "\n")
    warned = sum(row.kind == "warning" for row in rows)
    print(
        f"dataset: {len(train)} clips to learn from, {len(tested)} to evaluate on, {len(rows) - warned} left out, "
        f"{warned} warnings"
    )


if __name__ == "__main__":
    run_stage(main)
