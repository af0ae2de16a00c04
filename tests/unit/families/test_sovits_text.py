"""English as GPT-SoVITS' phones."""

from __future__ import annotations

import pytest

from tests.support.paths import ROOT
from timbre.families.sovits.text import IDS, PHONES, UnknownWordError, dictionary, ids, phones
from timbre.project import transcripts
from timbre.project.prompts import read_prompts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The ferry waits.", "DH AH0 F EH1 R IY0 W EY1 T S ."),
        ("At 3, Dr. Li?!", "AE1 T TH R IY1 , D AA1 K T ER0 L IY1 ?"),
        ("Café — «au lait»…", "K AH0 F EY1 - OW1 L EY1 …"),
        ("XQA NASA", "EH1 K S K Y UW1 EY1 N AE1 S AH0"),
        ("Dishcloth's ostrich's", "D IH1 SH K L AO1 TH S AO1 S T R IH0 CH AH0 Z"),
        ("a snowferry", "AH0 S N OW1 F EH1 R IY0"),
    ],
)
def test_a_sentence_in_phones(text: str, expected: str) -> None:
    assert " ".join(phones(text)) == expected


def test_ids_are_upstream_s_and_a_short_text_begins_with_a_stop() -> None:
    assert ids("Hello, world!") == [51, 12, 62, 68, 1, 91, 39, 62, 26, 0]
    assert ids("Hi.") == [IDS["."], 51, 22, IDS["."]]
    assert {phone for line in dictionary().values() for phone in line.split()} <= IDS.keys()
    assert max(IDS.values()) < PHONES


def test_the_demo_has_phones() -> None:
    lines = [line for path in (ROOT / "data/transcripts").glob("*.tsv") for line in transcripts.read(path).lines]
    texts = [line.text for line in lines] + [prompt.text for prompt in read_prompts(ROOT / "data/prompts.tsv")]
    assert len(texts) > 120
    assert all(phones(text) for text in texts)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Mr. Zubrzycki came", "'Zubrzycki' is not in the pronouncing dictionary"),
        ("...", "has no word"),
        ("你好", "no word"),
    ],
)
def test_a_word_without_phones_is_named(text: str, message: str) -> None:
    with pytest.raises(UnknownWordError, match=message):
        phones(text)
