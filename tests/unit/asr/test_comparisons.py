"""What `check` compares again after an edit, by how often it does; and that writing English alike loads no torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from timbre.asr import comparisons
from timbre.asr.comparisons import Comparison, Comparisons

HEARD = "the night ferry waits for ten passengers"


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were compared."""
    asked: list[str] = []
    worst = comparisons.worst

    def counting(parts: Sequence[str], heard: str, language: str = "en") -> float:
        asked.extend(parts)
        return worst(parts, heard, language)

    monkeypatch.setattr(comparisons, "worst", counting)
    return asked


def compare(file: Path | None, *texts: str, language: str = "en") -> list[Comparison]:
    with Comparisons(file) as found:
        return [found.of(text, [text], HEARD, language) for text in texts]


def test_after_an_edit_only_the_edited_text_is_compared_again(tmp_path: Path, compared: list[str]) -> None:
    file = tmp_path / "compared.json"
    before = compare(file, "The night ferry waits for ten passengers.", "The ferry waits for 12 passengers.")
    assert before == [
        Comparison(0.0, 0.0, ""),
        Comparison(pytest.approx(0.2, abs=0.1), pytest.approx(0.2, abs=0.1), "12 heard as 10"),
    ]
    compared.clear()
    after = compare(file, "The night ferry waits for ten passengers.", "The ferry waits for ten passengers.")
    assert compared == ["The ferry waits for ten passengers."]
    assert after == compare(None, "The night ferry waits for ten passengers.", "The ferry waits for ten passengers.")
    compared.clear()
    compare(file, "The ferry waits for 12 passengers.")
    assert compared == ["The ferry waits for 12 passengers."], "what the last table did not ask for is not kept"


def test_another_language_or_version_is_compared_again(
    tmp_path: Path, compared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "compared.json"
    compare(file, "Ten passengers.")
    compare(file, "Ten passengers.", language="de")
    monkeypatch.setattr(comparisons, "VERSION", "another")
    compare(file, "Ten passengers.", language="de")
    assert compared == ["Ten passengers."] * 3


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"a": 1}', b'{"a": ["x", 1, ""]}', b"\xff"])
def test_a_file_that_is_damaged_is_as_none(tmp_path: Path, compared: list[str], content: bytes) -> None:
    (tmp_path / "compared.json").write_bytes(content)
    compare(tmp_path / "compared.json", "Ten passengers.")
    assert compared == ["Ten passengers."]


def test_english_is_written_alike_without_torch(tmp_path: Path) -> None:
    code = "import sys; from timbre.asr.normalising import normalise; print(normalise('Ten.'), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["10", "False"]
