"""The log of what was spoken: a line for each, never the text, and files of bounded size."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from timbre.synthesis.spoken_log import KEPT, SpokenLog


def test_it_is_rotated_and_loses_no_line_of_several_threads(tmp_path: Path) -> None:
    path = tmp_path / "spoken.jsonl"
    log = SpokenLog(path, limit=2_000)
    with ThreadPoolExecutor(8) as pool:
        for number in range(40):
            pool.submit(log.add, door="serve", version="ab" * 16, key="ann", text=f"the ferry {number}", seconds=1.0)
    files = sorted(tmp_path.glob("spoken.jsonl*"))
    assert len(files) > 2
    assert all(file.stat().st_size <= 2_000 for file in files)
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert len({line["sha256"] for line in lines}) == 40
    assert "ferry" not in "".join(file.read_text() for file in files)
    for _ in range(100):
        log.add(door="say", version="ab" * 16, key=None, text="\ud800", seconds=0.5)
    assert len(list(tmp_path.glob("spoken.jsonl*"))) == 1 + KEPT, "the oldest go"
