"""The id of a version, which every command prints and takes."""

from __future__ import annotations

from timbre.audio.watermark import KEY_DIGITS
from timbre.versions.version_ids import DIGITS, of_outs


def test_a_mark_carries_as_much_of_an_id_as_is_printed() -> None:
    assert DIGITS == KEY_DIGITS


def test_the_id_is_the_hash_of_the_adapter() -> None:
    assert of_outs({"models/adapter": "5b734143.dir", "data/dataset": "0123.dir"}) == "5b734143"
    assert of_outs({"data/dataset": "0123.dir"}) is None
