"""dvc.lock in pieces is what the whole document is, or is left to who reads that."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.paths import ROOT
from timbre.core import content
from timbre.core.content import plain_yaml
from timbre.versions import lock_pieces

LOCK = """schema: '2.0'
stages:
  fetch:
    cmd: python -m stages.fetch --sources data/sources.yaml
      --out data/raw
    deps:
    - path: data/sources.yaml
      hash: md5
      md5: f9247589f12b8d064df9cb1f4eb924a3
      size: 601
    - path: timbre/core
      hash: md5
      md5: '12345678901234567890123456789012.dir'
      nfiles: 9
    params:
      params.yaml:
        fetch.hours: 4
        who: {a: [1, 2], b: null}
    outs:
    - path: data/raw
      md5: 9e9a8de91050549e8a08ca5e5849171c.dir
  train@ann:
    cmd: "python -m stages.train"
    outs:
    - path: models/adapter
"""
ODD = """\
  a: 1|    b:|    - c|    cmd: >|     x|      - y|# z|    # z|---|...||  |    |\t|    d: &e [f]|    g: *e|    h: "i
  - j|  j|    <<: {k: l}|    ? m|    : n|  fetch:|    deps:|    deps: []|    o: {p: q|      r}|    s: !!set {t}|   u: v
     w: x|    - {y: z}|    'a': b|    1: c|  2:|    d: e # f""".replace("\n", "|").split("|")
EDIT = st.tuples(st.integers(0, 26), st.sampled_from(["drop", "again", "odd", "instead"]), st.sampled_from(ODD))


def edited(edits: list[tuple[int, str, str]]) -> str:
    lines = LOCK.splitlines()
    for place, how, odd in edits:
        at = min(place, len(lines) - 1)
        lines[at : at + (how in ("drop", "instead"))] = {"drop": [], "again": [lines[at]]}.get(how, [odd])
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("text", [LOCK, (ROOT / "dvc.lock").read_text()], ids=["small", "demo"])
def test_a_lock_is_read_in_pieces(text: str) -> None:
    document = lock_pieces.read(text)
    assert document is not None
    assert repr(document) == repr(plain_yaml(text.encode()))


@settings(max_examples=300, deadline=None)
@given(st.lists(EDIT, min_size=1, max_size=3))
def test_whatever_was_changed_in_it_the_pieces_say_what_the_whole_says_or_nothing(
    edits: list[tuple[int, str, str]],
) -> None:
    text = edited(edits)
    document = lock_pieces.read(text)
    if document is not None:
        assert repr(document) == repr(plain_yaml(text.encode()))


@pytest.mark.parametrize(
    "text",
    ["", "schema: '2.0'\n", "schema: '2.0'\nstages:\n", LOCK.replace("\n", "\r\n"), LOCK + "more: 1\n",
     "# of DVC\n" + LOCK, LOCK + "  train@ann:\n    cmd: x\n", LOCK + "    cmd: again\n", LOCK + "  none:\n"],
)  # fmt: skip
def test_what_has_another_shape_is_left_to_others(text: str) -> None:
    assert lock_pieces.read(text) is None


def test_what_stood_in_another_lock_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lock_pieces._value.cache_clear()
    read: list[bytes] = []
    monkeypatch.setattr(lock_pieces, "plain_yaml", lambda piece: (read.append(piece), content.plain_yaml(piece))[1])
    lock_pieces.read(LOCK)
    first = len(read)
    document = lock_pieces.read(LOCK.replace("size: 601", "size: 602"))
    assert document is not None
    assert document["stages"]["fetch"]["deps"][0]["size"] == 602
    assert len(read) == first + 1
