"""The table of prompts: all its mistakes at once, and the repository's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.paths import ROOT
from timbre.core.errors import DataError
from timbre.project.prompts import read_prompts


def test_bad_prompts_are_told_all_at_once_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "prompts.tsv"
    path.write_text(
        "id\tkind\ttext\nferry\tdomain\tThe ferry.\nferry\thard\tAgain.\n../up\tdomain\tA path.\nempty\tdomain\t\n"
        "no tab\nodd\teasy\tA text.\ntrue-1\tdomain\tA text.\nmine\ttrue\tA text.\n"
    )
    with pytest.raises(DataError) as caught:
        read_prompts(path)
    told = str(caught.value).splitlines()
    expected = {3: "twice", 4: "cannot be an id", 5: "one tab between", 6: "one tab between", 7: "'easy' is no kind"}
    for line, words in (expected | {8: "as those of true prompts do", 9: "'true' is no kind"}).items():
        assert any(f"prompts.tsv:{line}: " in message and words in message for message in told), line
    path.write_text("id\ttext\nferry\tThe ferry.\n")
    with pytest.raises(DataError, match=r"prompts.tsv:1: expected the header `id<tab>kind<tab>text`"):
        read_prompts(path)


def test_the_prompts_of_the_repository_are_fine_and_of_both_kinds() -> None:
    found = read_prompts(ROOT / "data/prompts.tsv")
    assert {prompt.kind for prompt in found} == {"domain", "hard"}
    assert len({prompt.text for prompt in found}) == len(found) >= 12


def test_a_prompt_may_name_its_language(tmp_path: Path) -> None:
    path = tmp_path / "prompts.tsv"
    path.write_text("id\tkind\ttext\tlanguage\nferry\tdomain\tThe ferry.\ngruss\thard\tGuten Tag.\tde\n")
    assert [(prompt.text, prompt.language) for prompt in read_prompts(path)] == [
        ("The ferry.", None),
        ("Guten Tag.", "de"),
    ]
    path.write_text("id\tkind\ttext\tlanguage\nferry\tdomain\tThe ferry.\tEnglish\nold\tdomain\tOld.\ten\tde\n")
    with pytest.raises(DataError, match=r"(?s):2: 'English' is no language code.*:3: expected an id, a kind"):
        read_prompts(path)
    path.write_text("id\tkind\ttext\tmood\nferry\tdomain\tThe ferry.\tgood\n")
    with pytest.raises(DataError, match=r"prompts.tsv:1: expected the header"):
        read_prompts(path)
