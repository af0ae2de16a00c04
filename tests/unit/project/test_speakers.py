"""data/speakers.yaml is read strictly: who consented to what, every mistake at once, each with its line."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.paths import ROOT
from timbre.core.errors import SourceError
from timbre.editing import yaml_entries
from timbre.project import speakers
from timbre.project.speakers import Consent, Person

ANN = """speakers:
  ann:
    name: Ann Example
    consent:
      by: Ann Example, by letter
      when: 2026-03-01
      for: announcements in the harbour
      evidence: https://example.org/letter.pdf
      revoked: null
"""
WHEN = "      when: 2026-03-01\n"


def mistakes(text: str) -> list[str]:
    with pytest.raises(SourceError) as caught:
        speakers.parse(text, "s.yaml")
    return str(caught.value).splitlines()


def test_an_entry_becomes_a_person() -> None:
    consent = Consent(
        "Ann Example, by letter", "2026-03-01", "announcements in the harbour", "https://example.org/letter.pdf", None
    )
    assert speakers.parse(ANN) == {"ann": Person("ann", "Ann Example", consent)}
    assert speakers.parse(ANN)["ann"].allowed
    assert speakers.parse(ANN)["ann"].line == 2


def test_a_consent_taken_back_allows_nothing_from_whatever_day() -> None:
    for day in ("2026-04-01", "'2026-04-01'", "2999-01-01"):
        assert not speakers.parse(ANN.replace("revoked: null", f"revoked: {day}"))["ann"].allowed
    assert speakers.parse(ANN.replace("      revoked: null\n", ""))["ann"].allowed


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("revoked: null", "revoked: yes", "s.yaml:9: ann: consent: revoked: 'yes' is not a day"),
        ("revoked: null", "revoked: '2026-02-30'", "s.yaml:9: ann: consent: revoked: '2026-02-30' is not a day"),
        ("revoked: null", "revoked: 2026-02-30", "s.yaml: holds an invalid date: day is out of range for month"),
        ("revoked: null", "revokd: 2026-04-01", "s.yaml:9: ann: consent: unknown key `revokd`"),
        ("2026-03-01", "last year", "s.yaml:6: ann: consent: when: 'last year' is not a day; write it as 2026-03-01"),
        ("2026-03-01", "~", "s.yaml:6: ann: consent: when: nothing is not a day"),
        (WHEN, "", "s.yaml:4: ann: consent: `when` is missing"),
        ("Ann Example, by letter", "[]", "s.yaml:5: ann: consent: by: [] is not text"),
        ("name: Ann Example", "name: 7", "s.yaml:3: ann: name: 7 is not text"),
        ("https://example.org/letter.pdf", "/etc/passwd", "s.yaml:8: ann: consent: evidence: '/etc/passwd' is neither"),
        ("https://example.org/letter.pdf", "../letter.pdf", "is neither a file inside the repository nor a link"),
        ("https://example.org/letter.pdf", "'https://['", "is neither a file inside the repository nor a link"),
        ("  ann:\n", "  ../ann:\n", "s.yaml:2: '../ann' cannot be an id"),
        ("  ann:\n", "  7:\n", "s.yaml:2: 7 cannot be an id"),
        ("speakers:\n", "speaker:\n", "s.yaml:1: expected `speakers:`"),
        ("speakers:\n", "also: 1\nspeakers:\n", "s.yaml:1: unknown key `also`"),
        ("    name", "\t name", "s.yaml:3: not YAML"),
    ],
)
def test_a_wrong_value_is_told_with_its_line(old: str, new: str, told: str) -> None:
    assert ANN.count(old) >= 1
    assert told in mistakes(ANN.replace(old, new, 1))[0]


def test_all_mistakes_are_told_at_once() -> None:
    text = ANN.replace(WHEN, "").replace("name: Ann Example", "name: ''") + "  bob: yes\n  eve:\n    consent: given\n"
    assert [line.split(": ")[0] for line in mistakes(text)] == [f"s.yaml:{n}" for n in (3, 4, 9, 10, 11)]


@pytest.mark.parametrize("text", ["", "# nobody yet\n", "speakers:\n"])
def test_a_file_with_nobody_is_nobody(text: str) -> None:
    assert speakers.parse(text) == {}


def test_evidence_that_is_a_file_has_to_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert speakers.read() == {}
    Path("data").mkdir()
    speakers.PATH.write_text(ANN.replace("https://example.org/letter.pdf", "data/letter.pdf"))
    with pytest.raises(SourceError, match=r"speakers\.yaml:2: ann: evidence: data/letter\.pdf does not exist"):
        speakers.read()
    Path("data/letter.pdf").touch()
    assert speakers.read()["ann"].consent.evidence == "data/letter.pdf"


def test_who_is_used_without_consent_is_told_with_the_recordings() -> None:
    found = speakers.parse(ANN.replace("revoked: null", "revoked: 2026-04-01"))
    ann, bob = speakers.problems(found, {"ann": ["noon", "night"], "bob": ["dusk"]})
    assert ann == (
        "data/speakers.yaml:2: ann took the consent back on 2026-04-01; "
        "`timbre remove ann` takes noon, night out, `timbre trace ann` lists what was made of it"
    )
    assert bob.startswith("data/speakers.yaml: no entry for bob, whose voice is in dusk; write down there")
    assert list(speakers.problems(speakers.parse(ANN), {"ann": ["noon"]})) == []


@settings(max_examples=60, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
    st.sampled_from(["", ANN, "{speakers: {}}"]),
)
def test_any_words_of_a_consent_are_written_and_read_back(words: str, before: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "speakers.yaml")
        path.write_text(before)
        eve = Person("eve", words, Consent(words, "2026-03-01", words, None, None))
        try:
            after = yaml_entries.with_people(path, [eve]).after.decode()
        except SourceError:
            assert not words.strip(), "only white space is no text"
            return
        known = speakers.parse(before)
        assert speakers.parse(after) == known | {"eve": replace(eve, number=len(known))}
        assert after.startswith(before) or "{" in before


def entry(name: str, number: int | None) -> str:
    lines = ANN.splitlines(keepends=True)[1:]
    lines[0] = f"  {name}:\n"
    return "".join([*lines[:2], *([] if number is None else [f"    number: {number}\n"]), *lines[2:]])


def numbers(*entries: tuple[str, int | None]) -> dict[str, int]:
    people = speakers.parse("speakers:\n" + "".join(entry(*one) for one in entries))
    return {name: person.number for name, person in people.items()}


def test_who_has_no_number_takes_the_smallest_that_is_free_in_the_files_order() -> None:
    assert numbers(("ann", None)) == {"ann": 0}
    assert numbers(("ann", None), ("bob", None), ("eve", 1)) == {"ann": 0, "bob": 2, "eve": 1}
    assert numbers(("ann", 5), ("bob", None)) == {"ann": 5, "bob": 0}


def test_two_branches_that_add_a_speaker_each_are_noticed_after_the_merge() -> None:
    merged = "speakers:\n" + "".join(entry(*one) for one in (("ann", None), ("bob", 1), ("eve", 1), ("joe", 1)))
    assert mistakes(merged) == [
        "s.yaml:21: eve: number: 1 is bob's already, as where two branches add a speaker each; write 2 here",
        "s.yaml:30: joe: number: 1 is bob's already, as where two branches add a speaker each; write 3 here",
    ]


def test_a_number_is_whole() -> None:
    for wrong in ("-1", "true", "1.5", "one"):
        (told,) = mistakes(ANN.replace("    name: Ann", f"    number: {wrong}\n    name: Ann"))
        assert told.startswith("s.yaml:3: ann: number: ")
        assert told.endswith("is not a whole number, 0 or more")


def test_a_new_speaker_gets_the_number_above_all_others(tmp_path: Path) -> None:
    path = tmp_path / "speakers.yaml"
    path.write_text("speakers:\n" + entry("ann", 4) + entry("bob", None))
    words = "letter"
    new = [Person(name, name, Consent(words, "2026-03-01", words, None, None)) for name in ("eve", "joe")]
    people = speakers.parse(yaml_entries.with_people(path, new).after.decode())
    assert {name: person.number for name, person in people.items()} == {"ann": 4, "bob": 0, "eve": 5, "joe": 6}


def test_this_repository_names_its_own_speaker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert speakers.read()["marina"].allowed


def test_reading_it_loads_nothing_heavy() -> None:
    heavy = {"torch", "numpy", "soundfile", "mlflow", "dvc"}
    code = f"import timbre.project.speakers, sys; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
