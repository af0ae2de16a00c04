from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stages.segment import main
from tests.support.files import contents
from timbre.core.errors import DataError, TranscriptError
from timbre.core.records import Recording, Segment, read_jsonl

SHA = {"alpha": "ab" * 32, "beta": "cd" * 32}
SPEAKERS = """speakers:
  ann:
    name: Ann
    consent: {by: Ann, when: 2026-03-01, for: announcements, evidence: https://example.org/ann, revoked: null}
"""


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two recordings of 20 s: a person has written alpha's transcript, beta has only Whisper's draft."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "data"
    for folder in ("raw", "drafts", "turns", "transcripts", "recordings"):
        (root / folder).mkdir(parents=True)
    entries = ""
    for name, sha in SHA.items():
        soundfile.write(root / f"recordings/{name}.flac", np.zeros(160), 16000)
        shutil.copy(root / f"recordings/{name}.flac", root / f"raw/{name}.flac")
        entries += f"- id: {name}\n  file: data/recordings/{name}.flac\n"
        entries += "  speaker: ann\n  language: en\n  licence: CC0-1.0\n  consent: own voice\n"
        recording = Recording(name, "ann", "en", "CC0-1.0", "own voice", f"data/recordings/{name}.flac", sha, 16000, 20)
        (root / f"raw/{name}.json").write_text(json.dumps({"key": "k", "recording": asdict(recording)}))
        lines = [{"start": 1.0, "end": 4.5, "text": " From the draft. "}, {"start": 5.0, "end": 8.0, "text": " Yes."}]
        (root / f"drafts/{name}.json").write_text(json.dumps({"audio_sha256": sha, "segments": lines}))
        voices(root / f"turns/{name}.json", sha)
    (root / "sources.yaml").write_text(entries)
    (root / "speakers.yaml").write_text(SPEAKERS)
    (root / "transcripts/alpha.tsv").write_text(
        f"# audio: {SHA['alpha']}\nstart\tend\tspeaker\tflag\ttext\n"
        "1.00\t4.00\tann\t\tThe tide comes in.\n5.00\t9.00\tbob\tdrop\tA cough.\n10.00\t20.00\tann\tok\tIt goes out.\n"
    )
    return root


def voices(path: Path, sha: str, *turns: tuple[float, float, int]) -> None:
    """Who speaks when, as `transcribe` writes it."""
    path.write_text(json.dumps({"key": "k", "audio_sha256": sha, "turns": turns}))


def segment(data: Path) -> None:
    shutil.rmtree(data / "segments", ignore_errors=True)  # as DVC does before it runs a stage
    (data / "review.json").unlink(missing_ok=True)
    folders = {name: Path("data", name) for name in ("raw", "drafts", "turns", "transcripts")}
    main(
        Path("data/sources.yaml"),
        Path("data/speakers.yaml"),
        **folders,
        out=Path("data/segments"),
        review=Path("data/review.json"),
    )


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_the_persons_file_wins_and_the_draft_serves_where_there_is_none(data: Path) -> None:
    segment(data)
    assert read_jsonl(data / "segments/alpha.jsonl", Segment) == [
        Segment("alpha", 1.0, 4.0, "ann", "The tide comes in."),
        Segment("alpha", 5.0, 9.0, "bob", "A cough.", dropped=True),
        Segment("alpha", 10.0, 20.0, "ann", "It goes out."),
    ]
    assert [s.text for s in read_jsonl(data / "segments/beta.jsonl", Segment)] == ["From the draft.", "Yes."]
    review = json.loads((data / "review.json").read_text())
    assert review["recordings"]["alpha"] == {
        "origin": "transcript", "lines": 3, "ok": 1, "dropped": 1, "seconds": 17.0, "reviewed_seconds": 14.0
    }  # fmt: skip
    assert review["recordings"]["beta"]["origin"] == "draft"
    assert review["reviewed_share"] == pytest.approx(14 / 23.5, abs=1e-4)


def test_edits_that_change_no_word_leave_the_segments_as_they_were(data: Path) -> None:
    segment(data)
    before, review = contents(data / "segments"), (data / "review.json").read_bytes()
    transcript = data / "transcripts/alpha.tsv"
    edit(transcript, "The tide", "The  tide")
    edit(transcript, "# audio", "# heard on a train\n# audio")
    segment(data)
    assert (contents(data / "segments"), (data / "review.json").read_bytes()) == (before, review)
    edit(transcript, "ann\t\tThe", "ann\tok\tThe")
    segment(data)
    assert contents(data / "segments") == before
    assert (data / "review.json").read_bytes() != review
    edit(transcript, "tide", "tied")
    segment(data)
    assert [name for name, content in contents(data / "segments").items() if content != before[name]] == ["alpha.jsonl"]


def test_a_better_draft_changes_nothing_where_a_person_has_written(data: Path) -> None:
    segment(data)
    before = contents(data / "segments")
    edit(data / "drafts/alpha.json", "Yes.", "No.")
    segment(data)
    assert contents(data / "segments") == before


def test_an_accepted_line_that_whisper_was_not_sure_of_stays_doubtful_until_somebody_flags_or_changes_it(
    data: Path,
) -> None:
    sure, unsure = ([{"start": 1.0, "end": 2.0, "word": "w", "probability": p}] for p in (0.9, 0.21))
    lines = [
        {"start": 1.0, "end": 4.0, "text": "From the draft.", "words": unsure},
        {"start": 5.0, "end": 8.0, "text": "Yes.", "words": sure},
    ]
    (data / "drafts/alpha.json").write_text(json.dumps({"audio_sha256": SHA["alpha"], "segments": lines}))
    path = data / "transcripts/alpha.tsv"
    head = f"# audio: {SHA['alpha']}\nstart\tend\tspeaker\tflag\ttext\n"
    path.write_text(f"{head}1.00\t4.00\tann\t\tFrom the draft.\n5.00\t8.00\tann\t\tYes.\n")

    def confidences() -> list[float | None]:
        segment(data)
        return [row.confidence for row in read_jsonl(data / "segments/alpha.jsonl", Segment)]

    assert confidences() == [0.21, None]
    edit(path, "ann\t\tFrom", "ann\tok\tFrom")
    assert confidences() == [None, None]
    edit(path, "ann\tok\tFrom the", "ann\t\tFrom a")
    assert confidences() == [None, None]


def test_a_line_in_the_turn_of_another_is_marked_until_a_person_flags_it(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = data / "transcripts/alpha.tsv"
    bob = SPEAKERS.replace("speakers:\n", "").replace("ann:", "bob:").replace("Ann", "Bob")
    (data / "speakers.yaml").write_text(SPEAKERS + bob)
    head = f"# audio: {SHA['alpha']}\nstart\tend\tspeaker\tflag\ttext\n"
    rows = ["1.00\t4.00\tann\t\tOne.", "5.00\t8.00\tann\t\tTwo.", "9.00\t12.00\tann\t\tThree."]

    def others(*written: str) -> list[float]:
        path.write_text(head + "\n".join(written) + "\n")
        segment(data)
        return [row.others for row in read_jsonl(data / "segments/alpha.jsonl", Segment)]

    assert others(*rows) == [0, 0, 0], "nobody was asked who speaks"
    before = (data / "segments/alpha.jsonl").read_bytes()
    assert b"others" not in before
    voices(data / "turns/alpha.json", SHA["alpha"], (1, 5.5, 1), (5.5, 8, 2), (9, 11, 1), (11, 12, 2))
    assert others(*rows) == [0, 0.83, 0], "a third of the last line is too little"
    assert "alpha: 2 voices; 1 of 3 lines in the turns of others\n" in capsys.readouterr().out
    assert others(rows[0], rows[1].replace("\t\t", "\tok\t"), rows[2]) == [1, 0, 0.67], (
        "what was heard says whose it is"
    )
    assert "2 of 3 lines in the turns of others; are the lines flagged ok the speaker's own?" in capsys.readouterr().out
    flagged = [row.replace("\t\t", "\tok\t") for row in rows]
    assert others(*flagged) == [0, 0, 0]
    assert others(rows[0], rows[1].replace("ann", "bob"), rows[2].replace("\t\t", "\tdrop\t")) == [0, 0, 0], "his own"
    voices(data / "turns/alpha.json", SHA["beta"], (1, 5.5, 1), (5.5, 8, 2))
    assert others(*rows) == [0, 0, 0], "turns of other audio say nothing"
    assert (data / "segments/alpha.jsonl").read_bytes() == before


@pytest.mark.parametrize("broken", ["{", '{"audio_sha256": "x"}', '{"audio_sha256": "x", "turns": [[2, 1, 1]]}'])
def test_turns_that_cannot_be_read_are_told(data: Path, broken: str) -> None:
    (data / "turns/alpha.json").write_text(broken)
    with pytest.raises(DataError, match=r"turns/alpha.json: cannot be read .*; remove it and run `dvc repro"):
        segment(data)


def test_all_bad_lines_of_all_files_are_told_and_nothing_is_written(data: Path) -> None:
    edit(data / "transcripts/alpha.tsv", "1.00\t4.00", "4.10\t4.00")
    edit(data / "transcripts/alpha.tsv", "20.00", "21.00")
    (data / "transcripts/gamma.tsv").write_text("")
    (data / "drafts/beta.json").unlink()
    with pytest.raises(TranscriptError) as caught:
        segment(data)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("data/transcripts/gamma.tsv: no recording `gamma` in data/sources.yaml (there are alpha")
    assert lines[1] == "data/transcripts/alpha.tsv:3: end 4.00 is before start 4.10"
    assert lines[2].startswith("data/transcripts/alpha.tsv:5: end 21.00 is beyond the recording")
    assert lines[3].startswith("data/drafts/beta.json: cannot be read")
    assert len(lines) == 4
    assert not (data / "segments").exists()
    assert not (data / "review.json").exists()


def test_a_transcript_for_audio_that_has_changed_says_both_ways_out(data: Path) -> None:
    edit(data / "transcripts/alpha.tsv", SHA["alpha"], "ee" * 32)
    with pytest.raises(TranscriptError) as caught:
        segment(data)
    assert str(caught.value) == (
        "data/transcripts/alpha.tsv:1: was written for other audio than alpha has now; if its times still fit, "
        f"put `# audio: {SHA['alpha']}` here; if not, remove the file and begin from the new draft"
    )


@pytest.mark.parametrize("missing", ["drafts/beta.json", "raw/beta.json", "raw/alpha.flac"])
def test_a_missing_input_is_an_error_and_never_a_smaller_result(data: Path, missing: str) -> None:
    (data / missing).unlink()
    with pytest.raises(DataError, match=Path(missing).stem):
        segment(data)
    assert not (data / "segments").exists()


def test_a_draft_of_other_audio_is_refused(data: Path) -> None:
    edit(data / "drafts/beta.json", SHA["beta"], "ee" * 32)
    with pytest.raises(DataError, match=r"beta\.json: was made from other audio; run `dvc repro transcribe`"):
        segment(data)


def test_without_the_speakers_consent_nothing_is_written_and_the_recordings_are_named(data: Path) -> None:
    edit(data / "speakers.yaml", "  ann:", "  anna:")
    edit(data / "transcripts/alpha.tsv", "ann\tok", "bob\tok")
    with pytest.raises(TranscriptError) as caught:
        segment(data)
    ann, bob = str(caught.value).splitlines()
    assert ann.startswith("data/speakers.yaml: no entry for ann, whose voice is in alpha, beta; write down there")
    assert bob.startswith("data/speakers.yaml: no entry for bob, whose voice is in alpha;")
    assert not (data / "segments").exists()


def test_a_consent_that_was_taken_back_stops_it_and_says_the_way_on(data: Path) -> None:
    edit(data / "speakers.yaml", "revoked: null", "revoked: 2026-05-01")
    with pytest.raises(TranscriptError) as caught:
        segment(data)
    assert str(caught.value) == (
        "data/speakers.yaml:2: ann took the consent back on 2026-05-01; `timbre remove ann` takes alpha, beta out, "
        "`timbre trace ann` lists what was made of it"
    )
    assert not (data / "segments").exists()


def test_a_dropped_line_needs_nobodys_consent(data: Path) -> None:
    segment(data)  # bob, who has no entry, coughs in it
    edit(data / "transcripts/alpha.tsv", "drop\tA cough.", "ok\tA cough.")
    with pytest.raises(TranscriptError, match="no entry for bob, whose voice is in alpha"):
        segment(data)


def test_a_consent_without_evidence_is_told_and_is_one(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(data / "speakers.yaml", "https://example.org/ann", "null")
    segment(data)
    assert "segment: data/speakers.yaml:2: ann's consent names no evidence\n" in capsys.readouterr().out
