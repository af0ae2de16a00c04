"""A voice's repository for tests of what is read from git: real commits, a lock and DVC's cache, and no model.

`run` stands in for the pipeline: two lines make a clip, each fifth clip is for evaluation, and what Whisper drafted and
what was measured is given. What it leaves (tables in the cache, hashes in dvc.lock) is written as DVC writes it.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.dvc_cache import keep

HEADER = "start\tend\tspeaker\tflag\ttext"
PIPELINE = """\
stages:
  transcribe:
    cmd: python -m stages.transcribe
    deps: [data/sources.yaml]
    outs: [data/drafts]
  segment:
    cmd: python -m stages.segment
    deps: [data/sources.yaml, data/speakers.yaml, data/drafts, data/transcripts]
    outs: [data/segments, data/review.json]
  chunk:
    cmd: python -m stages.chunk
    deps: [data/segments]
    params: [chunk]
    outs: [data/chunks]
  dataset:
    cmd: python -m stages.dataset
    deps: [data/chunks]
    outs: [data/dataset]
  train:
    cmd: python -m stages.train
    deps: [data/dataset/train.jsonl]
    params: [train]
    outs: [models/adapter]
  generate:
    cmd: python -m stages.generate
    deps: [models/adapter]
    outs: [reports/samples]
  evaluate:
    cmd: python -m stages.evaluate
    deps: [reports/samples]
    outs: [reports/scores.csv]
    metrics:
      - reports/metrics.json: {cache: false}
"""
PROMPTS = {"ferry": 1, "train": 2, "pier": 0, "lamp": 1, "gull": 2, "tide": 0}  # six sentences of four words
Line = tuple[float, float, str, str, str]  # start, end, speaker, flag, text


@dataclass
class Voice:
    root: Path
    transcripts: dict[str, list[Line]] = field(default_factory=dict)
    sources: dict[str, dict[str, str]] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=lambda: {"chunk": {"max_seconds": 12}, "train": {"rate": 0.0003}})
    speakers: dict[str, dict[str, Any]] = field(default_factory=dict)
    drafts: dict[str, list[tuple[float, str, float]]] = field(default_factory=dict)  # words: start, text, probability
    wrong: dict[str, int] = field(default_factory=lambda: dict(PROMPTS))  # prompt → words that Whisper misheard
    similarity: float = 0.5  # similarity of every sample
    sounds: dict[str, bytes] = field(default_factory=dict)  # prompt → FLAC

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        (self.root / ".dvc").mkdir()
        (self.root / ".dvc/config").write_text("")
        (self.root / ".gitignore").write_text(
            "/.dvc/cache\n/.timbre\n/data/chunks\n/data/dataset\n/data/segments\n/models\n"
        )

    def git(self, *arguments: str) -> str:
        about = {"NAME": "Ann", "EMAIL": "ann@example.org", "DATE": "2026-11-02T10:00:00Z"}
        who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in about.items()}
        env = {**{k: v for k, v in os.environ.items() if not k.startswith("GIT_")}, **who}
        done = subprocess.run(["git", *arguments], cwd=self.root, env=env, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def add(self, recording: str, texts: list[str], speaker: str = "marina", **about: str) -> None:
        """Lines of 3 s, one every 4 s."""
        self.transcripts[recording] = [(4.0 * i, 4.0 * i + 3, speaker, "", text) for i, text in enumerate(texts)]
        rights = {"licence": "CC0-1.0", "consent": "given on paper"}
        self.allow(speaker)
        self.sources[recording] = {"file": f"data/recordings/{recording}.flac", "speaker": speaker, **rights, **about}

    def allow(self, speaker: str, **consent: Any) -> None:
        given = {"by": speaker.title(), "when": "2026-10-01", "for": "a voice", "evidence": None}
        self.speakers.setdefault(speaker, {"name": speaker.title(), "consent": given})["consent"].update(consent)

    def edit(self, recording: str, number: int, **values: Any) -> None:
        line = dict(zip(HEADER.split("\t"), self.transcripts[recording][number], strict=True)) | values
        self.transcripts[recording][number] = tuple(line.values())  # type: ignore[assignment]

    def write(self) -> None:
        folder = self.root / "data/transcripts"
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("*.tsv"):
            path.unlink()
        for name, lines in self.transcripts.items():
            rows = [f"{start:.2f}\t{end:.2f}\t{who}\t{flag}\t{text}" for start, end, who, flag, text in lines]
            (folder / f"{name}.tsv").write_text("\n".join([HEADER, *rows]) + "\n")
        entries = [
            f"- id: {name}\n  language: en\n"
            + "".join(f"  {key}: {json.dumps(value)}\n" for key, value in about.items())
            for name, about in self.sources.items()
        ]
        (self.root / "data/sources.yaml").write_text("".join(entries))
        (self.root / "data/speakers.yaml").write_text(json.dumps({"speakers": self.speakers}, indent=1))
        (self.root / "params.yaml").write_text(json.dumps(self.params, indent=1))
        (self.root / "dvc.yaml").write_text(PIPELINE)

    def run(self) -> None:
        self.write()
        clips, parts = self._clips()
        reports = self.root / "reports"
        reports.mkdir(exist_ok=True)
        (reports / "metrics.json").write_text(json.dumps(self._measured()))
        rows = ["sample,condition,prompt,seed,wer,errors,words,text,heard,similarity"]
        rows += [
            f"tuned-{p}-0,tuned,{p},0,{n / 4},{n},4,The {p} comes in.,{' '.join(['The', p, 'comes', 'in'][n:])}"
            f",{self.similarity}"
            for p, n in self.wrong.items()
        ]
        waiting = {name: {"origin": "draft", "seconds": 30.0} for name in self.sources if name not in self.transcripts}
        drafts = {
            f"{name}.json": json.dumps(
                {"segments": [{"words": [{"start": s, "word": f" {w}", "probability": p} for s, w, p in words]}]}
            ).encode()
            for name, words in self.drafts.items()
        }
        samples = {f"tuned-{prompt}-0.flac": sound for prompt, sound in self.sounds.items()}
        outs = {
            "transcribe": {"data/drafts": self._folder(drafts)},
            "segment": {
                "data/segments": self._folder({"all.jsonl": jsonl(clips)}),
                "data/review.json": self._object(json.dumps({"recordings": waiting}).encode()),
            },
            "chunk": {"data/chunks": self._folder({"clips.jsonl": jsonl(clips), "drops.jsonl": b""})},
            "dataset": {"data/dataset": self._folder({name: jsonl(rows) for name, rows in parts.items()})},
            "train": {"models/adapter": self._folder({"adapter": jsonl(parts["train.jsonl"])})},
            "generate": {"reports/samples": self._folder(samples)},
            "evaluate": {"reports/scores.csv": self._object("\n".join(rows).encode())},
        }
        made = {path: digest for stage in outs.values() for path, digest in stage.items()}
        files = {path: md5((self.root / path).read_bytes()) for path in ("data/sources.yaml", "data/speakers.yaml")}
        folder = sorted((self.root / "data/transcripts").glob("*.tsv"))
        files["data/transcripts"] = listing({path.name: md5(path.read_bytes()) for path in folder})[1]
        files["data/dataset/train.jsonl"] = md5(jsonl(parts["train.jsonl"]))
        reads = {
            "transcribe": ["data/sources.yaml"],
            "segment": ["data/sources.yaml", "data/speakers.yaml", "data/drafts", "data/transcripts"],
            "chunk": ["data/segments"],
            "dataset": ["data/chunks"],
            "train": ["data/dataset/train.jsonl"],
            "generate": ["models/adapter"],
            "evaluate": ["reports/samples"],
        }
        stages = {
            name: {
                "cmd": f"python -m stages.{name}",
                "deps": [{"path": path, "hash": "md5", "md5": (made | files)[path]} for path in reads[name]],
                "params": {"params.yaml": {name: self.params[name]}} if name in self.params else {},
                "outs": [{"path": path, "hash": "md5", "md5": digest} for path, digest in outs[name].items()],
            }
            for name in outs
        }
        (self.root / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}, indent=1))

    def commit(self, message: str, run: bool = True) -> str:
        """Write all files, run the pipeline unless told not to, commit; returns the commit's name."""
        self.run() if run else self.write()
        self.git("add", "-A")
        self.git("commit", "-qm", message)
        return self.git("rev-parse", "HEAD")

    def _measured(self) -> dict[str, Any]:
        wer = sum(self.wrong.values()) / (4 * len(self.wrong))
        like = {"similarity": self.similarity, "similarity_low": self.similarity - 0.1}
        like["similarity_high"] = self.similarity + 0.1
        tuned = {"wer": wer, "wer_low": wer / 2, "wer_high": wer * 1.5, "cer": wer / 2, "ended": 1.0, **like}
        gates = {"words": {"passed": wer <= 0.3, "value": wer, "limit": 0.3}, "ends": {"passed": True}}
        return {"base": {"wer": 0.75, "cer": 0.5}, "tuned": tuned, "gates": gates}

    def _clips(self) -> tuple[list[dict[str, Any]], dict[str, list[dict[str, Any]]]]:
        clips, parts = [], {"train.jsonl": [], "eval.jsonl": [], "rejected.jsonl": []}  # type: ignore[var-annotated]
        for name, lines in self.transcripts.items():
            kept = [line for line in lines if line[3] != "drop"]
            for i in range(0, len(kept), 2):
                some = kept[i : i + 2]
                start, end = some[0][0], some[-1][1]
                clip = {"id": md5(f"{name} {[line[:2] for line in some]}".encode())[:16], "recording": name}
                clip |= {"start": start, "end": end, "seconds": end - start, "text": " ".join(x[4] for x in some)}
                clips.append(clip)
                parts["eval.jsonl" if int(start / 8) % 5 == 2 else "train.jsonl"].append(clip)
            parts["rejected.jsonl"] += [
                {"recording": name, "start": x[0], "end": x[1], "text": x[4], "reason": "dropped: flagged so"}
                for x in lines
                if x[3] == "drop"
            ]
        return clips, parts

    def _object(self, content: bytes, suffix: str = "") -> str:
        return keep(content, suffix, self.root)

    def _folder(self, files: dict[str, bytes]) -> str:
        content, digest = listing({name: self._object(body) for name, body in files.items()})
        assert self._object(content, ".dir") == digest
        return digest


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def listing(files: dict[str, str]) -> tuple[bytes, str]:
    """What DVC keeps of a folder, and its name."""
    content = json.dumps([{"md5": files[name], "relpath": name} for name in sorted(files)]).encode()
    return content, md5(content) + ".dir"


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
