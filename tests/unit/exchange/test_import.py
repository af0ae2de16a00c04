"""`timbre import`: other people's datasets become recordings, transcripts and entries, exactly and wholly or not."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from tests.support.fake_outputs import voice
from tests.support.imports import ANN, TEXTS, WHO, back, files, heard, ljspeech, run, sounds, wav
from tests.support.paths import ROOT
from timbre.core.errors import DataError, SourceError
from timbre.exchange import joined_recordings
from timbre.project import sources, transcripts
from timbre.project import speakers as people

pytestmark = pytest.mark.usefixtures("project")


@pytest.mark.parametrize("rate", [16_000, 22_050, 24_000, 44_100, 44_056])
def test_each_sentence_of_an_ljspeech_folder_is_in_a_recording_to_the_sample(tmp_path: Path, rate: int) -> None:
    made = ljspeech(tmp_path / "LJ Speech", rate=rate)
    assert run(tmp_path / "LJ Speech", *ANN) == 0
    written = [Path(path).name for path in files()]
    assert written == ["lj-speech-001.flac", "sources.yaml", "speakers.yaml", "lj-speech-001.tsv"]
    assert people.read()["ann"].consent.by == sources.read(Path("data/sources.yaml"))[0].consent
    said = [" ".join(text.split()) for text in TEXTS]
    assert back() == [("ann", text, heard(sound)) for text, sound in zip(said, made, strict=True)]
    transcript = transcripts.read(Path("data/transcripts/lj-speech-001.tsv"))
    assert {line.flag for line in transcript.lines} == {"ok"}
    pauses = [b.start - a.end for a, b in zip(transcript.lines, transcript.lines[1:], strict=False)]
    assert min(pauses) >= 0.98
    assert not list(Path(".timbre/import").glob("*/*.flac")), "what was staged is gone"


def test_the_transcripts_audio_is_what_fetch_will_find(tmp_path: Path) -> None:
    from timbre.audio import to_flac

    ljspeech(tmp_path / "lj")
    run(tmp_path / "lj", *ANN)
    facts = to_flac(Path("data/recordings/lj-001.flac"), tmp_path / "raw.flac", name="lj-001")
    assert transcripts.read(Path("data/transcripts/lj-001.tsv")).audio == facts.sha256


def test_a_dry_run_counts_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ljspeech(tmp_path / "lj")
    text = (ROOT / "params.yaml").read_text()
    for key, value in (("max_seconds: 5 ", "max_seconds: 0.9 "), ("pad: 0.2 ", "pad: 0.1 ")):
        text = text.replace(key, value)
    text = text.replace("min_seconds: 1  # seconds; shorter clips", "min_seconds: 0.5  # seconds; shorter clips")
    Path("params.yaml").write_text(text)
    assert run(tmp_path / "lj", *ANN, "--dry-run") == 0
    told = capsys.readouterr().out
    for part in ("5 sentences, 0.1 min of speech, ann", "from 0.5 to 0.9 s; 22,050 Hz", "become lj-001 (0.2 min)"):
        assert part in told
    assert "3 are longer than the 0.7 s that chunk.max_seconds leaves" in told
    assert files() == []


def test_twenty_minutes_are_a_book_and_rates_and_speakers_have_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joined_recordings, "LONGEST", 5)
    made = [*sounds(5), *sounds(3, 16_000)]
    names = ["Ann Smith", "bob", "Ann Smith", "bob", "Ann Smith", "bob", "Анна", "bob"]
    rows = [
        {"audio": {"bytes": wav(sound), "path": None}, "text": f"Sentence {number}.", "source": name}
        for number, (sound, name) in enumerate(zip(made, names, strict=True))
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "mixed.parquet", row_group_size=3)
    run(tmp_path / "mixed.parquet", *WHO)
    declared = sources.read(Path("data/sources.yaml"))
    assert [source.id for source in declared] == [f"mixed-{number:03}" for number in range(1, 6)]
    speakers = [source.speaker for source in declared]
    assert speakers == ["ann-smith", "bob", "ann-smith", "bob", speakers[4]]
    assert speakers[4].startswith("voice-")
    assert [person.name for person in people.read().values()] == ["Ann Smith", "bob", "Анна"]
    expected = {(row["text"], heard(sound)) for row, sound in zip(rows, made, strict=True)}
    assert {(text, found) for _, text, found in back()} == expected
    assert max(soundfile.info(source.origin).duration for source in declared) <= 5 + joined_recordings.SILENCE


def test_a_second_run_finds_it_there_and_other_content_gets_no_foot_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ljspeech(tmp_path / "lj")
    run(tmp_path / "lj", *ANN)
    before = {name: Path(name).read_bytes() for name in files()}
    path = Path("data/transcripts/lj-001.tsv")
    path.write_text(path.read_text().replace("boats", "ships"))  # a person's correction
    run(tmp_path / "lj", *ANN)
    assert "it is here already; nothing written" in capsys.readouterr().out
    assert "ships" in path.read_text()
    soundfile.write(tmp_path / "lj/wavs/LJ-0.wav", sounds(9)[8][0], 22_050)
    with pytest.raises(DataError, match=r"sources\.yaml: lj-001 is declared already; choose another name with --name"):
        run(tmp_path / "lj", *ANN)
    run(tmp_path / "lj", *ANN, "--name", "again")
    assert [source.id for source in sources.read(Path("data/sources.yaml"))] == ["lj-001", "again-001"]
    assert Path("data/recordings/lj-001.flac").read_bytes() == before["data/recordings/lj-001.flac"]


@pytest.mark.parametrize(
    "there", ["data/recordings/lj-001.flac", "data/recordings/lj-001.wav", "data/transcripts/lj-001.tsv"]
)
def test_a_file_that_is_in_the_way_stays(tmp_path: Path, there: str) -> None:
    ljspeech(tmp_path / "lj")
    Path(there).parent.mkdir(parents=True)
    Path(there).write_text("mine")
    with pytest.raises(DataError, match=rf"{there}: is there already, and stays"):
        run(tmp_path / "lj", *ANN)
    assert (files(), Path(there).read_text()) == ([there], "mine")


def test_entries_that_the_file_will_not_take_leave_nothing_behind(tmp_path: Path) -> None:
    ljspeech(tmp_path / "lj")
    Path("data").mkdir()
    Path("data/sources.yaml").write_text("- id: noon\n  file: data/recordings/noon.flac\n")
    with pytest.raises(SourceError, match="`speaker` is missing"):
        run(tmp_path / "lj", *ANN)
    assert files() == ["data/sources.yaml"]


def test_every_bad_row_is_told_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "lj"
    ljspeech(folder)
    (tmp_path / "secret.wav").write_bytes(wav(sounds(9)[8]))
    soundfile.write(folder / "wavs/quiet.wav", np.zeros(9_000), 22_050)
    soundfile.write(folder / "wavs/narrow.wav", voice(0.5, 1), 8_000)
    (folder / "wavs/noise.wav").write_bytes(os.urandom(999))
    (folder / "wavs/cut.wav").write_bytes(wav(sounds(1)[0])[:-5000])
    shutil.copy(folder / "wavs/LJ-0.wav", folder / "wavs/twin.wav")
    with (folder / "metadata.csv").open("a") as table:
        for name in ("gone-1", "gone-2", "LJ-0", "../../secret", "quiet", "narrow", "noise", "cut", "twin", "\0"):
            table.write(f"{name}||Some words.\n")
        table.write("LJ-9||  \nLJ-9|a|b|c\nLJ-9\n")
    with pytest.raises(DataError) as caught:
        run(folder, *ANN)
    told = str(caught.value).replace(f"{folder}/", "").splitlines()
    for line, message in {
        6: "wavs/gone-1.wav is missing",
        7: "wavs/gone-2.wav is missing",
        8: "LJ-0 is already in line 1",
        9: "'../../secret.wav' leads out of",
        10: "is silent",
        11: "has 8000 Hz, too narrow",
        12: "is not audio that can be read",
        13: "was cut short|cut short",
        14: "is the same sound as metadata.csv:1",
        15: "cannot be a file's name",
        16: "LJ-9 has no text",
        17: r"4 fields instead of 2 or 3 .* a \| in the text\?",
        18: "1 fields instead of 2 or 3",
    }.items():
        (row,) = [row for row in told if row.startswith(f"metadata.csv:{line}: ")]
        assert re.search(message, row), row
    assert told[-1] == "nothing was imported; --skip-bad leaves these 13 rows out"
    assert len(told) == 14
    assert files() == []
    run(folder, *ANN, "--skip-bad")
    assert [text for _, text, _ in back()] == [" ".join(text.split()) for text in TEXTS]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("LJ-0|a|caf\xe9\n".encode("latin-1"), r"metadata\.csv:1: byte 0xe9 is not utf-8; .* --encoding"),
        ("LJ-0|a|café\n".encode("utf-16"), r"metadata\.csv: is UTF-16; add --encoding utf-16"),
    ],
)
def test_another_encoding_is_told_and_read_when_it_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    ljspeech(tmp_path / "lj")
    (tmp_path / "lj/metadata.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        run(tmp_path / "lj", *ANN, "--as", "ljspeech")
    run(tmp_path / "lj", *ANN, "--as", "ljspeech", "--encoding", "utf-16" if content[0] > 127 else "latin-1")
    assert [text for _, text, _ in back()] == ["café"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--speaker", "ann"], "add --language, --licence, --consent: it is never guessed"),
        (WHO, "5 sentences do not say who speaks; add --speaker"),
        (["--speaker", "Ann!", *WHO], "--speaker: 'Ann!' cannot be an id"),
        (["--speaker", "ann", *WHO, "--language", "English"], "--language: 'English' is no language code"),
        ([*ANN, "--name", "../x"], "cannot be an id"),
        ([*ANN, "--recording", "noon"], "a dataset brings its own sound"),
    ],
)
def test_what_only_a_person_can_say_is_asked_for(tmp_path: Path, arguments: list[str], message: str) -> None:
    ljspeech(tmp_path / "lj")
    with pytest.raises(DataError, match=message):
        run(tmp_path / "lj", *arguments)
    assert files() == []


def test_what_is_no_dataset_is_refused(tmp_path: Path) -> None:
    looks = r"looks like no format \(metadata\.csv, \.list, \.parquet, saved dataset, audiofolder, subtitles\)"
    for name, message in {"none": "does not exist", "": looks}.items():
        with pytest.raises(DataError, match=message):
            run(tmp_path / "empty" / name if name else tmp_path, *ANN)
    (tmp_path / "metadata.csv").write_text("a|b|c\n")
    with pytest.raises(DataError, match="there is no folder wavs beside it"):
        run(tmp_path, *ANN)


def test_nothing_of_a_speaker_who_took_the_consent_back_comes_in(tmp_path: Path) -> None:
    ljspeech(tmp_path / "lj")
    consent = "{by: ann, when: 2026-03-01, for: tests, evidence: null, revoked: 2026-05-01}"
    Path("data").mkdir(exist_ok=True)
    Path("data/speakers.yaml").write_text(f"speakers: {{ann: {{name: Ann, consent: {consent}}}}}\n")
    with pytest.raises(
        DataError, match=r"speakers\.yaml:1: ann took the consent back on 2026-05-01; nothing was added"
    ):
        run(tmp_path / "lj", *ANN)
    assert files() == ["data/speakers.yaml"]
