"""What `chunk` refuses before it cuts anything."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stages.chunk import check_distinct
from tests.support.segment_factory import TALK
from timbre.core.errors import DataError


def test_the_same_sound_under_two_names_is_refused() -> None:
    with pytest.raises(DataError, match="again: is the same sound as talk"):
        check_distinct([TALK, replace(TALK, id="again")])
