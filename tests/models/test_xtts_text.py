"""Text as XTTS' tokenizer is given it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tiny_xtts import tokenizer
from timbre.core.errors import ModelError
from timbre.families.xtts.text import LONGEST, XttsText, check_language


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> XttsText:
    path = tmp_path_factory.mktemp("text") / "vocab.json"
    tokenizer().save(str(path))
    return XttsText(path)


def test_a_sentence_is_small_letters_after_its_language(text: XttsText) -> None:
    tokens = [text.tokenizer.id_to_token(number) for number in text.ids('Dr. "Li" paid 5.')]
    assert "".join(tokens) == "[en]doctor[SPACE]li[SPACE]paid[SPACE]five."


def test_languages_without_a_front_end_are_named() -> None:
    assert len(LONGEST) == 16
    check_language("en")
    with pytest.raises(ModelError, match="XTTS speaks de, but its text front end is not here yet: only en is"):
        check_language("de")
    with pytest.raises(ModelError, match="XTTS does not speak sv; it speaks en, de"):
        check_language("sv")


def test_a_file_that_is_no_tokenizer_of_xtts(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"vocab\.json is missing"):
        XttsText(tmp_path / "vocab.json")
    (tmp_path / "vocab.json").write_text("{")
    with pytest.raises(ModelError, match=r"vocab\.json is no tokenizer"):
        XttsText(tmp_path / "vocab.json")
