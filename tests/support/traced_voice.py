"""A voice of two versions to be traced, and what `timbre trace` tells of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.git_history import Voice
from timbre.commands import trace
from timbre.core.records import Sample, to_json
from timbre.trace import text

NOON = ["The ferry waits.", "It goes at noon.", "Mind the gap.", "The tide comes in.", "All aboard.", "It is late."]
HOSTILE = "A \x1b[31mred\x07 <script>talk</script>\u202e"


def harbour_voice(root: Path) -> Voice:
    """Two versions of a voice: v1 with a recording of marina's, then one of bob's too, in which she speaks once."""
    voice = Voice(root)
    voice.add("noon", NOON)
    voice.allow("marina", when="2026-03-01", evidence="https://example.org/yes")
    voice.speakers["marina"]["name"] = "Marina Example"
    voice.allow("bob", when="2026-03-02")
    (voice.root / "data").mkdir()
    (voice.root / "data/prompts.tsv").write_text("id\ttext\none\tThe ferry waits here.\n")
    voice.commit("First voice")
    voice.git("tag", "v1")
    voice.add("night", ["Good night.", "The lamp burns.", "Who is there?", "It is I."], speaker="bob")
    voice.sources["night"] |= {"url": "https://example.org/night", "licence": "CC-BY-4.0"}
    voice.sources["night"].pop("file")
    voice.edit("night", 3, speaker="marina")
    voice.edit("night", 2, flag="drop")
    voice.commit("Add bob")
    write_work_tree(voice)
    return voice


def write_work_tree(voice: Voice) -> None:
    """What `fetch`, `train`, `generate` and `evaluate` leave; the tables are in DVC's cache."""
    raw = voice.root / "data/raw"
    raw.mkdir()
    for name, about in voice.sources.items():
        recording = {"id": name, "speaker": about["speaker"], "sha256": "ab" * 32, "seconds": 30.0}
        told = {"title": HOSTILE, "uploader": "Harbour Radio", "license": "CC BY", "file_sha256": "cd" * 32}
        (raw / f"{name}.json").write_text(json.dumps({"key": "k", "recording": recording, "provenance": told}))
        (raw / f"{name}.flac").touch()
    adapter = voice.root / "models/adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    (adapter / "training.json").write_text(json.dumps({"steps": 90, "best_step": 60, "best_eval_loss": 3.21}))
    samples = voice.root / "reports/samples"
    samples.mkdir()
    key = traced(voice, "adapter")["found"]["key"]
    clip = traced(voice, "data/transcripts/noon.tsv:2")["found"]["id"]
    said = traced(voice, "data/transcripts/noon.tsv:7")["found"]["id"]
    for condition in ("base", "tuned", "tuned_clone"):
        cloned, worn = (clip if "clone" in condition else None), (key if "tuned" in condition else None)
        line = "The ferry waits here."
        sample = Sample(
            id=f"{condition}-one-0", condition=condition, prompt="one", kind="true", text=line, clip=said, seed=0,
            reference=cloned, adapter=worn, base="b" * 16, seconds=1.5, ended=True, key="k",
        )  # type: ignore[arg-type]  # fmt: skip
        (samples / f"{sample.id}.json").write_text(to_json(sample))
    (voice.root / "reports/scores.csv").write_text(
        "sample,condition,prompt,seed,wer,errors,words,similarity,text,heard\n"
        "tuned_clone-one-0,tuned_clone,one,0,0.25,1,4,0.8765,The ferry waits here.,The fairy waits here.\n"
    )


def traced(voice: Voice, what: str, revision: str | None = None, history: bool = False) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(trace.as_json(trace.trace(voice.root, what, revision, history))))
    return made


def drawn(voice: Voice, what: str, *flags: str, width: int | None = None) -> str:
    return text.draw(trace.trace(voice.root, what, None, "--history" in flags), "--every" in flags, width)


def at(root: Path) -> Voice:
    """The repository that is there already."""
    copy = object.__new__(Voice)
    copy.root = root
    return copy
