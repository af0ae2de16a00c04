"""`timbre import` of GPT-SoVITS' training lists."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from tests.support.imports import ANN, WHO, back, files, heard, run, sounds
from timbre.core.errors import DataError

pytestmark = pytest.mark.usefixtures("project")
TEXTS = ["The tide comes in.", "The boats | go out!", "And back."]


def written(folder: Path, lines: list[str]) -> list[bytes]:
    (folder / "wavs").mkdir(parents=True)
    made = sounds(len(TEXTS), 32_000)
    for number, sound in enumerate(made):
        soundfile.write(folder / f"wavs/clip_{number}.wav", *sound)
    (folder / "marina.list").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [heard(sound) for sound in made]


def line(number: int, before: str = "wavs/", speaker: str = "Ann Smith", language: str = "EN") -> str:
    return f"{before}clip_{number}.wav|{speaker}|{language}|{TEXTS[number]}"


@pytest.mark.parametrize("before", ["wavs/", "", "output/slicer_opt/", "D:\\GPT-SoVITS\\output\\", "/home/ann/sliced/"])
def test_a_list_is_read_wherever_its_wavs_once_lay(tmp_path: Path, before: str) -> None:
    made = written(tmp_path / "gs", [line(number, before) for number in range(3)])
    assert run(tmp_path / "gs/marina.list", *WHO) == 0
    assert back() == [("ann-smith", text, sound) for text, sound in zip(TEXTS, made, strict=True)]


def test_a_folder_of_lists_is_known_by_its_looks_and_speakers_stay_apart(tmp_path: Path) -> None:
    made = written(tmp_path / "gs", [line(0), line(1, speaker="bob")])
    (tmp_path / "gs/second.list").write_text(line(2) + "\n")
    assert run(tmp_path / "gs", *WHO) == 0
    assert sorted(back()) == sorted(
        [("ann-smith", TEXTS[0], made[0]), ("bob", TEXTS[1], made[1]), ("ann-smith", TEXTS[2], made[2])]
    )


def test_what_is_wrong_is_told_by_line_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "gs/other").mkdir(parents=True)
    lines = [
        line(0), line(1, language="ZH"), "wavs/clip_2.wav|Ann Smith|EN", "gone.wav|Ann Smith|EN|Where?",
        "wavs/clip_2.wav|Ann Smith|EN| ", "../../outside.wav|Ann Smith|EN|Out.", "twice.wav|Ann Smith|EN|Which?",
    ]  # fmt: skip
    written(tmp_path / "gs", lines)
    for folder in ("other", "wavs"):
        (tmp_path / f"gs/{folder}/twice.wav").touch()
    with pytest.raises(DataError) as caught:
        run(tmp_path / "gs/marina.list", *ANN)
    told = str(caught.value)
    for part in (
        "marina.list:2: is in ZH, and --language says en", "marina.list:3: 3 fields instead of 4",
        "marina.list:4: ", "gone.wav is missing", "marina.list:5: wavs/clip_2.wav has no text",
        "marina.list:6: '../../outside.wav' leads out of", "marina.list:7: 'twice.wav' may be ", "leave one of them",
    ):  # fmt: skip
        assert part in told
    assert files() == []


def test_one_speaker_may_be_named_for_all(tmp_path: Path) -> None:
    made = written(tmp_path / "gs", [line(number, language="en") for number in range(3)])
    assert run(tmp_path / "gs/marina.list", *WHO, "--speaker", "ann", "--speaker-column", "") == 0
    assert back() == [("ann", text, sound) for text, sound in zip(TEXTS, made, strict=True)]
