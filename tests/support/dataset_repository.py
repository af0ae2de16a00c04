"""A repository after its dataset stage, to be exported and pushed: two recordings of two people, four clips."""

from __future__ import annotations

import json
from pathlib import Path

import soundfile

from tests.support.fake_outputs import voice
from timbre.audio import flac_bytes
from timbre.core.records import Example, write_jsonl

TEXTS = {"train": ["The tide | comes in.", '"Boats" go out!', "Zwölf — é."], "eval": ["It goes, again."]}


def build(root: Path) -> Path:
    """Written below the current folder, which is `root`."""
    for folder in ("clips", "dataset", "recordings"):
        Path("data", folder).mkdir(parents=True)
    Path("dvc.yaml").touch()  # by which a command knows a project
    entries = ""
    for name, speaker in {"noon": "ann", "night": "bob"}.items():
        Path(f"data/recordings/{name}.flac").write_bytes(b"sound")
        entries += f"- {{id: {name}, file: data/recordings/{name}.flac, speaker: {speaker}, language: en, "
        entries += "licence: CC-BY-4.0, consent: given}\n"
    Path("data/sources.yaml").write_text(entries)
    consent(ann="training, Publish", bob="publish")
    dataset(TEXTS)
    return root


def consent(**uses: str) -> None:
    people = {
        name: {"name": f"{name} | <b>*", "consent": {"by": name, "when": "2026-03-01", "for": use, "evidence": None}}
        for name, use in uses.items()
    }
    Path("data/speakers.yaml").write_text(json.dumps({"speakers": people}))


def dataset(splits: dict[str, list[str]]) -> None:
    number = 0
    for split, texts in splits.items():
        rows = []
        for text in texts:
            recording, speaker = ("night", "bob") if number == 1 else ("noon", "ann")
            path = Path(f"data/clips/{number:016}.flac")
            if not path.exists():
                path.write_bytes(flac_bytes(voice(0.5 + number / 10, number), 24_000))
            seconds = soundfile.info(path).duration
            rows.append(Example(str(path), text, speaker, path.stem, recording, 1.0, 1.0 + seconds, seconds))
            number += 1
        write_jsonl(Path(f"data/dataset/{split}.jsonl"), rows)
