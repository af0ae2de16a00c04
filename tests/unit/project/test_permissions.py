"""May this voice be heard: by consent, by what is declared, and by who speaks when."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.consent import entry_of
from timbre.core.errors import DataError, SourceError
from timbre.project import permissions
from timbre.project.permissions import Permissions

HEAD = "start\tend\tspeaker\tflag\ttext\n"


@pytest.fixture
def allowed(project: Path) -> Permissions:
    """Ann's recordings, in one of which Bob (withdrawn), Eve (taken out) and a stranger say something."""
    Path("data/transcripts").mkdir(parents=True)
    people = {"ann": ("talks, Publish", "null"), "bob": ("ads", "2026-04-01"), "eve": ("ads", "null")}
    rows = [entry_of(name, uses=uses, revoked=revoked) for name, (uses, revoked) in people.items()]
    Path("data/speakers.yaml").write_text("speakers:\n" + "".join(rows))
    entry = {"speaker": "ann", "language": "en", "licence": "CC0-1.0", "consent": "hers", "url": "https://a.b/c"}
    Path("data/sources.yaml").write_text(json.dumps([{"id": "noon", **entry}, {"id": "night", **entry}]))
    Path("data/transcripts/noon.tsv").write_text(
        f"{HEAD}0\t1\tann\tok\tYes.\n1\t2\tbob\tdrop\tNo.\n3\t4\teve\tdrop\tHm.\n5\t6\tguest\tdrop\tOh.\n"
    )
    return Permissions()


def test_a_voice_is_heard_with_a_consent_that_stands_and_a_part_in_the_project(allowed: Permissions) -> None:
    heard = [name for name in ("ann", "bob", "eve", "guest", "") if allowed.may_be_heard(name)]
    assert heard == ["ann"]
    assert [name for name in ("ann", "bob", "eve", "guest") if allowed.withdrawn(name)] == ["bob"]
    assert (allowed.may("ann", "publish"), allowed.may("bob", "ads"), allowed.may("eve", "serve")) == (
        True,
        False,
        False,
    )


def test_a_stretch_is_barred_by_whoever_speaks_in_it(allowed: Permissions) -> None:
    stretches = [(0, 1), (0.5, 1.2), (2, 3), (3.9, 5), (5.5, 5.6), (6, 9)]
    assert [allowed.holds_barred_voice("noon", *stretch) for stretch in stretches] == [
        False, True, False, True, True, False,
    ]  # fmt: skip
    assert not allowed.holds_barred_voice("night", 0, 9), "all of it is Ann's as long as nobody wrote a transcript"
    assert allowed.holds_barred_voice("dawn", 0, 9), "which is declared no more"
    assert allowed.withdrawn_stretches("noon") == [(1.0, 2.0)]


def test_whoever_uses_a_voice_is_told_by_what_entry_not(allowed: Permissions) -> None:
    allowed.check({"ann": ["noon"], "eve": ["noon"]})
    with pytest.raises(SourceError) as told:
        allowed.check({"bob": ["noon"], "guest": ["noon"]}, "models/adapter: ")
    first, second = str(told.value).splitlines()
    assert first.startswith("models/adapter: data/speakers.yaml:3: bob took the consent back on 2026-04-01")
    assert second.startswith("models/adapter: data/speakers.yaml: no entry for guest")


def test_a_transcript_with_a_mistake_still_says_who_speaks(allowed: Permissions) -> None:
    path = Path("data/transcripts/noon.tsv")
    path.write_bytes(b"<<<<<<< HEAD\n" + path.read_bytes() + b"x\ty\tann\t\tno times\n\xff\tz\n7\t8\tbob\t\tAgain.\n")
    assert allowed.withdrawn_stretches("noon") == [(1.0, 2.0), (7.0, 8.0)]
    assert not Permissions().may_be_heard("bob")


def test_an_adapter_says_whose_voices_it_learnt_and_an_older_one_is_judged_by_the_dataset(project: Path) -> None:
    rows = [{"source": "ann", "recording": "noon"}, {"source": "ann", "recording": "night"}]
    Path("data/dataset").mkdir(parents=True)
    Path("data/dataset/train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    adapter = Path("models/adapter")
    adapter.mkdir(parents=True)
    assert permissions.of_adapter(adapter) == {"ann": ["noon", "night"]}
    (adapter / "training.json").write_text('{"steps": 3}')
    assert permissions.of_adapter(adapter) == {"ann": ["noon", "night"]}
    (adapter / "training.json").write_text('{"steps": 3, "speakers": {"bob": ["dawn"]}}')
    assert permissions.of_adapter(adapter) == {"bob": ["dawn"]}


def write_adapter(content: str) -> Path:
    path = Path("models/adapter/training.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path.parent


def test_an_adapter_is_heard_with_the_consent_of_all_it_learnt(allowed: Permissions) -> None:
    allowed.check_adapter(write_adapter('{"speakers": {"ann": ["noon"]}}'))
    with pytest.raises(SourceError, match=r"^models/adapter: data/speakers\.yaml:3: bob took the consent back"):
        allowed.check_adapter(write_adapter('{"speakers": {"ann": ["noon"], "bob": ["noon"]}}'))
    with pytest.raises(SourceError, match=r"^models/adapter: eve: was taken out; `dvc repro` makes the voice without"):
        allowed.check_adapter(write_adapter('{"speakers": {"ann": ["noon"], "eve": ["noon"]}}'))
    with pytest.raises(SourceError, match="whose voice it learnt is not known"):
        allowed.check_adapter(write_adapter("{}"))


def test_a_page_is_copied_with_the_consent_of_all_who_sound_in_it(allowed: Permissions) -> None:
    page = Path("index.html")
    page.write_text('<meta charset="utf-8">\n<meta name="timbre:voices" content="ann">\n')
    allowed.check_page(page)
    page.write_text('<meta name="timbre:voices" content="ann bob eve">')
    with pytest.raises(SourceError) as told:
        allowed.check_page(page)
    assert [line.split(",")[0] for line in str(told.value).splitlines()] == [
        "index.html: holds the voice of bob",
        "index.html: holds the voice of eve",
    ]
    page.write_text("<h1>ann</h1>")
    with pytest.raises(DataError, match="does not say whose voices are in it"):
        allowed.check_page(page)


def test_who_speaks_in_a_stretch_is_said_by_the_transcript_or_else_by_the_entry(allowed: Permissions) -> None:
    assert allowed.voices_in("noon", 0.5, 3.5) == ["ann", "bob", "eve"]
    assert allowed.voices_in("night", 0, 1) == ["ann"]
