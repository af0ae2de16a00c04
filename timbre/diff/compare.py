"""Two versions of the repository as one Report: everything that a reviewer should know, and nothing that is the same.

with open_snapshot(root, "main") as old, open_snapshot(root, None) as new:
    report = compare(old, new, Outs(root))
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from timbre.diff import clips, lines, lock, rows, wording
from timbre.diff.lock import document, mapping
from timbre.diff.outs import Outs
from timbre.diff.report import Param, Prompt, Rate, Replacement, Report, Source, Total, Transcribed
from timbre.diff.snapshot import Snapshot

SOURCES, PARAMS = "data/sources.yaml", "params.yaml"
METRICS, SCORES = "reports/metrics.json", "reports/scores.csv"
RATES = ("wer", "cer")
COLUMNS = ("condition", "prompt", "seed", "wer", "errors", "words", "text", "heard")
RIGHTS = ("licence", "consent")
OFTEN = 2  # times from which a replacement is summed up
ENOUGH = 5  # sentences that say something about chance
PACE = 2.0  # times the recording's usual characters per second, or a part of it, that nobody speaks


T = TypeVar("T")


@dataclass(frozen=True)
class Version:
    """What one side has, as far as it can be read."""

    snapshot: Snapshot
    lock: lock.Lock
    transcripts: dict[str, rows.Rows]  # by path
    sources: dict[str, dict[str, str]]
    clips: list[clips.ClipRow] | None
    left_out: Counter[str]
    rates: dict[str, dict[str, float]]
    scores: dict[str, dict[str, str]] | None


def compare(before: Snapshot, after: Snapshot, outs: Outs) -> Report:
    old, new = load(before, outs), load(after, outs)
    # one side alone would look like everything added, unless the other one never had any
    comparable = all(side.clips is not None or not (side.lock.outs or side.lock.broken) for side in (old, new))
    old_clips, new_clips = (old.clips or [], new.clips or []) if comparable else ([], [])
    settings = [document(side, PARAMS) for side in (before, after)]
    words, transcripts = _lines(old, new)
    usual = wording.replacements(change.pieces for change in words)
    return Report(
        old=before.name,
        new=after.name,
        problems=list(_problems(new)),
        totals=list(_totals(old, new)),
        transcripts=transcripts,
        words=words,
        replacements=[Replacement(*pair, times) for pair, times in usual.most_common() if times >= OFTEN],
        odd=_odd(words, new),
        clips=clips.compare(old_clips, new_clips),
        leaks=None if new.clips is None else clips.leaks(new.clips),
        left_out={
            why: (old.left_out[why], new.left_out[why])
            for why in sorted(old.left_out | new.left_out)
            if comparable and old.left_out[why] != new.left_out[why]
        },
        sources=list(_sources(old.sources, new.sources)) if _readable(SOURCES, before, after) else [],
        params=list(_params(*settings)) if None not in settings else [],
        rates=list(_rates(old, new)),
        prompts=_prompts(old.scores, new.scores),
        stale=lock.stale(after, new.lock),
        unreachable=list(dict.fromkeys(outs.unreachable)),
    )


def _readable(path: str, *snapshots: Snapshot) -> bool:
    """Whether both have it as YAML, or lack it: what cannot be read is a problem, and nobody removed it."""
    return all(snapshot.read(path) is None or document(snapshot, path) is not None for snapshot in snapshots)


def load(snapshot: Snapshot, outs: Outs) -> Version:
    locked = lock.read(snapshot)

    def out(path: str) -> bytes | None:
        return outs.read(locked, path, snapshot.name, snapshot.commit)

    def table(read: Callable[..., T], *paths: str) -> T | None:
        """None where one of the files cannot be had, or is of another make than ours."""
        found = [out(path) for path in paths]
        try:
            return None if None in found else read(*found)
        except (ValueError, KeyError):
            outs.unreachable.append(f"{paths[0]} of {snapshot.name}, which is of another make")
            return None

    paths = [path for path in snapshot.list(rows.FOLDER) if path.endswith(".tsv")]
    return Version(
        snapshot=snapshot,
        lock=locked,
        transcripts={path: rows.parse(snapshot.read(path) or b"", path) for path in paths},
        sources=_entries(document(snapshot, SOURCES)),
        clips=table(_clips, clips.TABLE, *clips.PARTS.values()),
        left_out=table(clips.reasons, clips.REJECTED) or Counter(),
        rates=rates_of(snapshot),
        scores=table(_scores, SCORES),
    )


def _clips(made: bytes, *tables: bytes) -> list[clips.ClipRow]:
    return clips.parse(made, dict(zip(clips.PARTS, tables, strict=True)))


def _scores(content: bytes) -> dict[str, dict[str, str]]:
    """A row per sample, of which those columns are there that are read here."""
    listed = list(csv.DictReader(io.StringIO(content.decode())))
    return {row["sample"]: {name: row[name] for name in COLUMNS} for row in listed}


def rates_of(snapshot: Snapshot) -> dict[str, dict[str, float]]:
    """Condition → rate → value; empty where there are none, or in no state to be read."""
    try:
        found = json.loads(snapshot.read(METRICS) or b"{}")
        return {name: mapping(values) for name, values in mapping(found).items()}
    except ValueError:
        return {}


def _entries(listed: Any) -> dict[str, dict[str, str]]:
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    return {str(e.get("id")): {str(k): str(v) for k, v in e.items() if v is not None} for e in entries}


def _recording(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".tsv")


def _lines(old: Version, new: Version) -> tuple[list[lines.LineChange], list[Transcribed]]:
    changed: list[lines.LineChange] = []
    whole: list[Transcribed] = []
    for path in sorted(old.transcripts | new.transcripts):
        before, after = old.transcripts.get(path), new.transcripts.get(path)
        name = _recording(path)
        if before and after:
            changed += lines.compare(name, before.rows, after.rows) if before != after else []
        elif one := before or after:
            seconds = round(sum(row.seconds for row in one.rows), 2)
            whole.append(Transcribed(name, path, "added" if after else "removed", len(one.rows), seconds))
    return changed, whole


def _odd(changed: list[lines.LineChange], new: Version) -> dict[str, str]:
    """Changed lines that nobody speaks so fast or so slowly: the times or the words are likely wrong."""
    found: dict[str, str] = {}
    by_recording: dict[str, list[lines.LineChange]] = defaultdict(list)
    for change in changed:
        by_recording[change.recording].append(change)
    for name, some in by_recording.items():
        path = f"{rows.FOLDER}/{name}.tsv"
        everyone = [_pace(row) for row in new.transcripts[path].rows if row.seconds > 0 and not row.dropped]
        usual = statistics.median(everyone) if len(everyone) >= 5 else 0.0
        for row in (row for change in some for row in change.new if row.seconds > 0 and not row.dropped and usual):
            times = _pace(row) / usual
            if times > PACE or times < 1 / PACE:
                found[f"{path}:{row.number}"] = f"{_pace(row):.0f} characters a second, usual here are {usual:.0f}"
    return found


def _pace(row: rows.Row) -> float:
    return len(row.text) / row.seconds


def _problems(new: Version) -> Iterator[rows.Problem]:
    yield from (problem for one in new.transcripts.values() for problem in one.problems)
    mend = {
        "dvc.lock": "`timbre resolve` ends it",
        PARAMS: "keep one of the two versions",
        SOURCES: "keep what both sides want",
        "dvc.yaml": "keep one of the two versions",
    }
    for path, remedy in mend.items():
        found = rows.conflicts(new.snapshot.read(path), path, remedy)
        yield from found or ([] if _readable(path, new.snapshot) else [rows.Problem(path, 0, "is not YAML")])
    text = (new.snapshot.read(SOURCES) or b"").decode(errors="replace").splitlines()
    ids = ((number, re.search(r"\bid:\s*['\"]?([^'\"\s]+)", line)) for number, line in enumerate(text, 1))
    line_of = {found[1]: number for number, found in ids if found}
    for name, entry in new.sources.items():
        for key in RIGHTS:
            if not entry.get(key, "").strip():
                yield rows.Problem(SOURCES, line_of.get(name, 0), f"{name} has no {key}")


def _totals(old: Version, new: Version) -> Iterator[Total]:
    yield Total("recordings", len(old.sources), len(new.sources))
    speakers = [{entry.get("speaker") for entry in side.sources.values()} for side in (old, new)]
    yield Total("speakers", len(speakers[0]), len(speakers[1]))
    every = [[row for found in side.transcripts.values() for row in found.rows] for side in (old, new)]
    yield Total("transcribed lines", len(every[0]), len(every[1]))
    minutes = [sum(row.seconds for row in side if not row.dropped) / 60 for side in every]
    yield Total("transcribed", round(minutes[0], 2), round(minutes[1], 2), "min")
    heard = [sum(row.seconds for row in side if row.flag) / (sum(row.seconds for row in side) or 1) for side in every]
    yield Total("heard by a person", round(100 * heard[0], 1), round(100 * heard[1], 1), "%")
    if old.clips is None or new.clips is None:
        return
    for part in (None, *clips.PARTS):
        chosen = [[c for c in side if part is None or c.part == part] for side in (old.clips, new.clips)]
        name = "clips" if part is None else f"clips for {part}"
        yield Total(name, len(chosen[0]), len(chosen[1]))
        long = [round(sum(clip.seconds for clip in some) / 60, 2) for some in chosen]
        yield Total(f"{name}, time", long[0], long[1], "min")


def _sources(old: dict[str, dict[str, str]], new: dict[str, dict[str, str]]) -> Iterator[Source]:
    for name in [*new, *(name for name in old if name not in new)]:
        before, after = old.get(name, {}), new.get(name, {})
        keys = [key for key in [*after, *(key for key in before if key not in after)] if key != "id"]
        values = {key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}
        if name not in old or name not in new:
            yield Source(name, "added" if name in new else "removed", values)
        elif values:
            yield Source(name, "changed", values)


def _params(old: Any, new: Any, key: str = "") -> Iterator[Param]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*new, *(name for name in old if name not in new)]:
            yield from _params(old.get(name), new.get(name), f"{key}.{name}" if key else str(name))
    elif old != new:
        yield Param(key, old, new)


def _rates(old: Version, new: Version) -> Iterator[Rate]:
    for condition in [*new.rates, *(name for name in old.rates if name not in new.rates)]:
        for name in RATES:
            before, after = old.rates.get(condition, {}).get(name), new.rates.get(condition, {}).get(name)
            if before != after:
                margin = _margin(condition, old.scores or {}, new.scores or {}) if name == "wer" else None
                yield Rate(condition, name, before, after, margin)


def _margin(condition: str, old: dict[str, dict[str, str]], new: dict[str, dict[str, str]]) -> float | None:
    """Half of a 95 % interval of the rate's change, from sentences that both versions spoke; None where too few did.

    The rate is errors over words, so each sentence's part in its change is how far its errors changed more than its
    share of all words would have it: the usual variance of a ratio, with each sentence paired with itself.
    """
    errors: Counter[str] = Counter()  # by sentence, however often it was spoken: its takes are not independent
    words: Counter[str] = Counter()
    for name in old.keys() & new.keys():
        if new[name]["condition"] == condition:
            errors[new[name]["prompt"]] += int(new[name]["errors"]) - int(old[name]["errors"])
            words[new[name]["prompt"]] += int(new[name]["words"])
    total, count = words.total(), len(words)
    if count < ENOUGH or not total:
        return None
    mean = errors.total() / total
    squares = sum((errors[prompt] - mean * words[prompt]) ** 2 for prompt in words)
    return round(1.96 * math.sqrt(squares * count / (count - 1)) / total, 4)


def _prompts(old: dict[str, dict[str, str]] | None, new: dict[str, dict[str, str]] | None) -> list[Prompt]:
    """Samples whose rate changed, what became worse first."""
    old, new = old or {}, new or {}
    found = []
    for sample in old.keys() & new.keys():
        a, b = old[sample], new[sample]
        if float(a["wer"]) != float(b["wer"]):
            where = (b["condition"], b["prompt"], b["seed"], b["text"])
            found.append(Prompt(*where, float(a["wer"]), float(b["wer"]), a["heard"], b["heard"]))
    return sorted(found, key=lambda p: (p.old - p.new, p.condition, p.prompt, p.seed))
