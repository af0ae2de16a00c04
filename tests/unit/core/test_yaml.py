"""YAML that anybody may have written."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ruamel.yaml import YAML

from timbre.core import params, text
from timbre.core.content import NotYaml, parse_yaml
from timbre.core.errors import ParamsError, SourceError
from timbre.project import sources

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    "hostile",
    [LAUGHS, "[" * 1000, "a: 9" + "9" * 5000, "a: 2026-02-30", "a: !!int x", "a: !!float x", "a: [\0]"],
    ids=lambda content: content[:12],
)
def test_what_cannot_be_read_is_told_and_never_unfolded(hostile: str) -> None:
    for kind in ("rt", "safe"):
        with pytest.raises(NotYaml):
            parse_yaml(hostile, kind)


def test_params_whose_aliases_unfold_without_end_are_told(tmp_path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(LAUGHS)
    with pytest.raises(ParamsError, match="aliases stand for more than"):
        params.load(path)


@pytest.mark.parametrize("hostile", ["[" * 2000, "a: " + "{a: " * 2000, "- " * 2000 + "x"], ids=lambda text: text[:6])
def test_brackets_by_the_thousand_are_told_before_the_parser_goes_down(
    hostile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(YAML, "load", lambda *_: pytest.fail("the parser takes seven seconds"))
    with pytest.raises(NotYaml, match="nests too deeply"):
        parse_yaml(hostile)


def test_brackets_in_a_text_nest_nothing() -> None:
    assert parse_yaml(f"a: '{'[' * 2000}'") == {"a": "[" * 2000}


def test_a_key_that_is_no_text_is_unknown(tmp_path) -> None:
    document = parse_yaml("2026-01-01: 1\n? [a, b]\n: 2\n", "safe")
    assert any("unknown section" in line for line in params.problems(document))


def test_a_source_that_takes_its_keys_from_another_is_read() -> None:
    entry = "- &a\n  id: a\n  url: https://example.org/a\n  speaker: ann\n  language: en\n  licence: x\n  consent: y\n"
    found = sources.parse(entry + "- <<: *a\n  id: b\n  url: https://example.org/b\n", "s.yaml")
    assert [(source.id, source.speaker) for source in found] == [("a", "ann"), ("b", "ann")]
    with pytest.raises(SourceError, match=r"s.yaml:8: language: 7 is not text"):
        sources.parse(entry.replace("language: en", "language: 7") + "- <<: *a\n  id: b\n", "s.yaml")


@pytest.mark.parametrize("address", ["http://[", "http://a:b/", "http://a:99999/", "https://"])
def test_an_address_that_no_parser_takes_is_told(address: str) -> None:
    entry = f"- id: a\n  url: '{address}'\n  speaker: ann\n  language: en\n  licence: x\n  consent: y\n"
    with pytest.raises(SourceError, match="is not an http:// or https:// address"):
        sources.parse(entry, "s.yaml")


def test_spaces_by_the_thousand_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search for dashes tries each space of a row with each other one, so it may meet no row of them."""
    searched, dashes = [], text._DASHES
    counted = SimpleNamespace(sub=lambda new, old: (searched.append(old), dashes.sub(new, old))[1])
    monkeypatch.setattr(text, "_DASHES", counted)
    assert text.normalise("a" + " " * 100_000 + "–" + " " * 100_000 + "b") == "a - b"
    assert searched == ["a – b"]
