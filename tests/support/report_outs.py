"""What the report reads, made up on top of tests/support/fake_outputs.py: intervals, codebooks, things left out."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import soundfile

from tests.support.fake_outputs import RATE, voice, write_outs
from timbre.core.records import Drop, write_jsonl
from timbre.evaluation import metrics
from timbre.evaluation.metrics import CONDITIONS, Difference, Evidence, Gate, Metric, Speaker

LIKENESS = {"base": 0.41, "base_clone": 0.66, "tuned": 0.81, "tuned_clone": 0.83}
WORDS = {"base": 0.102, "base_clone": 0.161, "tuned": 0.098, "tuned_clone": 0.108}
HOSTILE = '<img src=x onerror="document.title=1">&amp;</script><script>document.title=2</script>'


def made_up(similarity: float = 0.16) -> Evidence:
    """A voice that is more like the speaker, about as easy to understand, and does not always end."""
    conditions = {
        name: Metric(
            wer=WORDS[name], wer_low=WORDS[name] - 0.04, wer_high=WORDS[name] + 0.055, cer=WORDS[name] * 0.8,
            similarity=LIKENESS[name], similarity_low=LIKENESS[name] - 0.03, similarity_high=LIKENESS[name] + 0.02,
            named=min(1.0, LIKENESS[name] * 1.1), pace=1.04, pauses=0.08, ended=0.96, silent=0,
            clipped=int(name == "base"), repeated=1, errors=20, words=186, samples=24, seconds=73.1,
        )
        for name in CONDITIONS
    }  # fmt: skip
    differences = {
        "tuned_clone-base": Difference(0.006, -0.03, 0.046, 0.42, 0.38, 0.45, 3, 6, 3),
        "tuned_clone-base_clone": Difference(
            -0.053, -0.096, -0.011, similarity, similarity - 0.05, similarity + 0.06, 6, 5, 1
        ),
        "tuned-base": Difference(-0.004, -0.04, 0.032, 0.4, 0.36, 0.44, 4, 5, 3),
        "tuned_clone-tuned": Difference(0.01, -0.02, 0.041, 0.02, -0.01, 0.05, 2, 7, 3),
        "base_clone-base": Difference(0.059, 0.013, 0.11, 0.25, 0.19, 0.31, 1, 5, 6),
    }
    gates = {
        "words": Gate(True, 0.046, 0.1),
        "similarity": Gate(similarity > 0.05, (similarity - 0.05) / 0.23, 0.0),
        "named": Gate(True, 0.91, 0.5),
        "reference": Gate(True, 1.0, 1.0),
        "ends": Gate(False, 0.96, 0.98),
        "leakage": Gate(True, 0.0, 0.0),
    }
    return Evidence(conditions, differences, Speaker(0.9, 0.31, 14.2, 0.07), gates)


def write_report_outs(root: Path, seeds: int = 1) -> None:
    write_outs(root, seeds)
    metrics.write(root / "reports/details.json", made_up())
    _widen_scores(root / "reports/scores.csv")
    _write_history(root / "models/history.csv")
    _write_rejected(root)
    write_owned(root)


def _widen_scores(path: Path) -> None:
    with path.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    for place, row in enumerate(rows):
        row["similarity"] = str(round(LIKENESS[row["condition"]] + 0.03 * math.sin(place), 4))
        row |= {"named": "True", "clipped": "False", "repeated": str(place % 11 == 3)}
    with path.open("w", newline="") as target:
        writer = csv.DictWriter(target, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _write_history(path: Path) -> None:
    """Evaluation losses by groups of codebooks, beside what is there."""
    with path.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    for row in rows:
        for place, name in enumerate(("2-4", "5-8")):
            depth = row["eval_loss/depth_decoder"]
            row[f"eval_loss/codebook/{name}"] = f"{float(depth) * (0.8 + 0.3 * place):.4f}" if depth else ""
    with path.open("w", newline="") as target:
        writer = csv.DictWriter(target, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _write_rejected(root: Path) -> None:
    raw = root / "data/raw"
    raw.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(("harbour-night", "harbour-noon")):
        soundfile.write(raw / f"{name}.flac", np.tile(voice(40.0, place), 2), RATE, subtype="PCM_16")
    write_jsonl(
        root / "data/dataset/rejected.jsonl",
        [
            Drop("harbour-noon", 3.0, 4.1, f"Erm, {HOSTILE}.", "dropped: flagged so in the transcript"),
            Drop("harbour-night", 61.0, 61.9, "Yes.", "too short: 0.90 s alone, less than chunk.min_seconds (1)"),
            Drop("harbour-night", 71.0, 71.8, "No.", "too short: 0.80 s alone, less than chunk.min_seconds (1)"),
            Drop("harbour-noon", 9.0, 15.2, "Music.", "noisy: 8 dB over the noise", "warning", "0123456789abcdef"),
            Drop("gone", 9.0, 15.2, "A recording that is not here.", "noisy: 7 dB over the noise", "warning"),
        ],
    )


def write_owned(root: Path, revoked: str = "null", noon: str = "") -> None:
    """What people own: whose recordings they are. Marina's consent, and the lines of harbour-noon beside hers."""
    consent = f"{{by: Marina, when: 2026-03-01, for: a demo, evidence: null, revoked: {revoked}}}"
    bob = "{by: Bob, when: 2026-03-01, for: ads, evidence: null, revoked: 2026-04-01}"
    people = f"speakers:\n  marina: {{name: Marina, consent: {consent}}}\n  bob: {{name: Bob, consent: {bob}}}\n"
    (root / "data/speakers.yaml").write_text(people)
    entries = [
        f"- {{id: {name}, url: 'https://a.b/{name}', speaker: marina, language: en, licence: CC0-1.0, consent: hers}}\n"
        for name in ("harbour-morning", "harbour-night", "harbour-noon")
    ]
    (root / "data/sources.yaml").write_text("".join(entries))
    (root / "data/transcripts").mkdir(exist_ok=True)
    rows = f"start\tend\tspeaker\tflag\ttext\n0.5\t2.5\tmarina\t\tYes.\n{noon}"
    (root / "data/transcripts/harbour-noon.tsv").write_text(rows)


if __name__ == "__main__":
    import sys

    write_report_outs(Path(sys.argv[1]), seeds=3)
