"""Languages that the recogniser does not know are refused by name, before it has worked for hours."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages import transcribe
from tests.support.paths import ROOT
from tests.support.tiny_models import random_whisper
from timbre import asr
from timbre.asr import languages
from timbre.core.errors import ModelError
from timbre.core.sections import WhisperParams


def test_a_name_tells_what_a_whisper_knows_and_english_asks_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asr, "load", lambda _: pytest.fail("nothing needs to be loaded"))
    languages.refuse(WhisperParams("small.en"), {"noon": "en"})
    languages.refuse(WhisperParams("no/such/file.pt"), {"noon": "en"})
    languages.refuse(WhisperParams("turbo"), {"noon": "de", "night": "fr"})
    with pytest.raises(ModelError) as caught:
        languages.refuse(WhisperParams("small.en"), {"noon": "en", "prompt gruss": "de", "abend": "fr"})
    assert str(caught.value).splitlines() == [
        "prompt gruss: is in `de`, and whisper.model knows English only; name another in params.yaml, say turbo",
        "abend: is in `fr`, and whisper.model knows English only; name another in params.yaml, say turbo",
    ]
    with pytest.raises(ModelError, match=r"noon: is in `xx`, and whisper\.model does not know it"):
        languages.refuse(WhisperParams("turbo"), {"noon": "xx"})


def test_a_prompt_in_german_stops_an_english_whisper_before_the_first_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = WhisperParams(str(random_whisper(tmp_path / "whisper.pt")))
    sources = ROOT / "data/sources.yaml"
    (tmp_path / "data").mkdir()
    (tmp_path / "data/prompts.tsv").write_text("id\tkind\ttext\tlanguage\ngruss\tdomain\tGuten Tag.\tde\n")
    monkeypatch.setattr(transcribe, "PROMPTS", tmp_path / "data/prompts.tsv")
    with pytest.raises(
        ModelError, match=r"/data/prompts\.tsv: gruss: is in `de`, and whisper\.model knows English only"
    ):
        transcribe.tell_languages(model, sources)
    transcribe.tell_languages(WhisperParams("turbo"), sources)
    assert not capsys.readouterr().err
    (tmp_path / "data/prompts.tsv").write_text("id\tkind\ttext\tlanguage\nyia\tdomain\tΓεια σου.\tel\n")
    transcribe.tell_languages(WhisperParams("turbo"), sources)
    assert "numbers in `el` cannot be spelt out here" in capsys.readouterr().err
