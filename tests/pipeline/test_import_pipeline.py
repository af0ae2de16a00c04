"""What `timbre import` wrote is what the pipeline reads."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import soundfile
from ruamel.yaml import YAML

from tests.support.imports import ANN, heard, ljspeech, run
from tests.support.paths import ROOT
from timbre.core.records import Clip, Segment, read_jsonl

pytestmark = pytest.mark.usefixtures("project")


def test_the_pipeline_finds_each_sentence_where_it_was_put(tmp_path: Path, warm: Path) -> None:
    texts = [f"Sentence number {number} is about boats." for number in range(12)]
    made = ljspeech(tmp_path / "lj", texts)
    run(tmp_path / "lj", *ANN)
    for name in ("params.yaml", "stages", "timbre"):
        Path(name).symlink_to(ROOT / name)
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    for stage in ("fetch", "segment", "chunk"):
        command = [warm / "python", *stages[stage]["cmd"].split()[1:]]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    segments = read_jsonl(Path("data/segments/lj-001.jsonl"), Segment)
    assert [segment.text for segment in segments] == texts
    samples, rate = soundfile.read("data/raw/lj-001.flac", dtype="int16")
    for segment, sound in zip(segments, made, strict=True):
        assert heard((samples[round(segment.start * rate) : round(segment.end * rate)], rate)) == heard(sound)
    clips = read_jsonl(Path("data/chunks/clips.jsonl"), Clip)
    drops = [row["text"] for row in map(json.loads, Path("data/chunks/drops.jsonl").read_text().splitlines())]
    assert sorted(sum((re.findall(r"Sentence [^.]*\.", clip.text) for clip in clips), drops)) == sorted(texts)
    assert len(clips) > 2
