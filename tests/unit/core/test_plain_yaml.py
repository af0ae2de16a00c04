"""YAML read by libyaml is what DVC's own reader makes of it; and no file takes long or brings the process down."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tests.support.paths import ROOT
from tests.support.work import calls_at_most
from timbre.core.content import plain_yaml

PLAIN = st.text("0123456789abcdefoxOX_+-.:~yNtTrueFalsnIif ", min_size=1, max_size=12)


def slow(text: str) -> object:
    return YAML(typ="safe", pure=True).load(text)


@pytest.mark.parametrize("name", ["dvc.yaml", "dvc.lock", "params.yaml", "data/sources.yaml", "data/speakers.yaml"])
def test_our_own_files_are_read_as_dvc_reads_them(name: str) -> None:
    content = (ROOT / name).read_bytes()
    assert plain_yaml(content) == slow(content.decode())


@pytest.mark.parametrize(
    "word",
    ["no", "yes", "on", "1e-4", "1E5", "1:30:05", "0123", "0o17", "1_000", "~", "null", ".5", "-.5", "12e03", "0x1f",
     ".inf", "-.inf", "0b11", "-0b11", "+7", "true", "True", "y", "2026-03-01", "1.", "1.5e+3", "0.0003", "a", "''"],
)  # fmt: skip
def test_a_word_means_what_it_means_to_dvc(word: str) -> None:
    ours, theirs = plain_yaml(f"key: {word}\n".encode()), slow(f"key: {word}\n")
    assert ours == theirs
    assert type(ours["key"]) is type(theirs["key"])  # type: ignore[index]


@given(PLAIN)
def test_any_plain_word_means_what_it_means_to_dvc(word: str) -> None:
    text = f"key: {word.strip()}\n"
    try:
        theirs = slow(text)
    except (YAMLError, ValueError, IndexError):  # ruamel.yaml trips over `-_`
        return
    assert repr(plain_yaml(text.encode())) == repr(theirs)


@pytest.mark.parametrize(
    "text",
    ["a: &x [1, {b: c}]\nd: *x\n", "a: &x {b: 1}\nd:\n  <<: *x\n  c: 2\n", "1: a\n'1': b\n", "a: !!str 7\n",
     "a: !!float 1\n", "a: !!set {b, c}\n", "- &x y\n- *x\n", "a:\n- {}\n- []\n-\n"],
)  # fmt: skip
def test_what_is_rare_is_read_as_dvc_reads_it(text: str) -> None:
    assert plain_yaml(text.encode()) == slow(text)


def test_an_alias_is_what_its_anchor_is() -> None:
    document = plain_yaml(b"a: &x [1]\nb: *x\nc: &y {d: 1}\ne: *y\n")
    assert document["a"] is document["b"]
    assert document["c"] is document["e"]


@pytest.mark.parametrize(
    "content",
    [
        b"!!str {a: b}",
        b"a: !!map [b]",
        b"a: &a [*a]\n",
        b"[" * 200_000,
        b"- " * 50_000,
        b"{a: " * 5_000,
        b"".join(b"  " * level + b"a:\n" for level in range(2_000)),
        b"a: [1\n",
        b"a: 1\na: 2\n",
        b"\xff\xfe",
        b"k0: &k0 [x]\n" + b"".join(b"k%d: &k%d [%s]\n" % (n, n, b"*k%d, " % (n - 1) * 9) for n in range(1, 9)),
        b"a: &a\n  b: *a\n",
        b"!!python/object/apply:os.system [ls]\n",
    ],
)  # fmt: skip
def test_what_is_no_file_of_ours_is_refused_before_much_is_done(content: bytes) -> None:
    with calls_at_most(100_000), pytest.raises(ValueError):  # noqa: PT011  a message of one of two libraries
        plain_yaml(content)
