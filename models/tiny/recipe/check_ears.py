"""What the codec costs by two ears: the tiny Whisper learnt from sound that went through it, pocketsphinx did not.

Reads   data/dataset, data/clips and data/codes/csm of the demo (`make` once), corpus.json
Writes  rows of quality.json and of the table in README.md; <work>/ears.jsonl, what was heard, from which it goes on

pocketsphinx chooses among the words of corpus.json, in any order. A word that its dictionary lacks is an error before
the codec and after it.

Run from the repository's root, after check.py:  python models/tiny/recipe/check_ears.py
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from measure import WORK, Row, publish, row

from timbre import asr, audio, families
from timbre.asr import second_ear
from timbre.core.records import Example, read_jsonl
from timbre.core.sections import VoiceParams, WhisperParams
from timbre.evaluation import word_errors
from timbre.families.codes import turn

TINY = Path("models/tiny")
EARS = {"whisper": "the tiny Whisper", "pocketsphinx": "pocketsphinx"}


def hear(clips: Sequence[Example], done: Path) -> Iterator[dict[str, Any]]:
    """For each ear, wrong words of the clip before the codec and after it, and how many it has."""
    known = {one["id"]: one for one in map(json.loads, done.read_text().splitlines())} if done.exists() else {}
    words = json.loads((TINY / "corpus.json").read_text())["words"]
    ear = second_ear.second_ear("pocketsphinx", [" ".join(words)])
    print(f"pocketsphinx lacks: {', '.join(second_ear.unknown(ear)) or 'none'}", file=sys.stderr)
    voice, listener = (
        families.load(VoiceParams("csm", str(TINY / "csm"), None)),
        WhisperParams(str(TINY / "whisper.pt")),
    )
    for clip in clips:
        if clip.id not in known:
            true, _ = audio.read(Path(clip.audio), asr.SAMPLE_RATE)
            coded = voice.resound(turn(clip, Path("data/codes/csm")), None)
            sounds = [true, audio.resample(coded, voice.sample_rate, asr.SAMPLE_RATE)]
            heard = {"whisper": asr.texts(listener, sounds), "pocketsphinx": second_ear.texts(ear, sounds, ["en"] * 2)}
            known[clip.id] = {"id": clip.id, **{name: errors(clip.text, texts) for name, texts in heard.items()}}
            with done.open("a") as lines:
                lines.write(json.dumps(known[clip.id]) + "\n")
        yield known[clip.id]


def errors(text: str, heard: Sequence[str]) -> list[int]:
    before, after = (word_errors.compare(text, one) for one in heard)
    return [before.errors, after.errors, before.words]


def rates(rows: Sequence[dict[str, Any]], name: str) -> list[Row]:
    """Words that are wrong before the codec, and that it adds, of all words."""

    def before(some: Sequence[dict[str, Any]]) -> float:
        return sum(one[name][0] for one in some) / sum(one[name][2] for one in some)

    def added(some: Sequence[dict[str, Any]]) -> float:
        return sum(one[name][1] - one[name][0] for one in some) / sum(one[name][2] for one in some)

    by = f"by {EARS[name]}"
    return [
        row(f"the demo's clips, word error rate {by}", rows, before, "<= 1"),
        row(f"the demo's clips through the codec, word errors added {by}", rows, added, "<= 1"),
    ]


if __name__ == "__main__":
    WORK.mkdir(parents=True, exist_ok=True)
    spoken = [clip for name in ("train", "eval") for clip in read_jsonl(Path(f"data/dataset/{name}.jsonl"), Example)]
    heard = list(hear(spoken, WORK / "ears.jsonl"))
    publish(TINY, [one for name in EARS for one in rates(heard, name)], afresh=False)
