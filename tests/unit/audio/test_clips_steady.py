"""Clips stay what they are under edits elsewhere; whatever the lines and the sound, each word is in one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.segment_factory import TALK, clips_of, correct, ids, stored, talk
from timbre.audio.clips import plan
from timbre.audio.speech_activity import Activity
from timbre.core.records import Clip, Segment
from timbre.core.sections import ChunkParams


def shift(segments: list[Segment], at: int) -> list[Segment]:
    edited = replace(segments[at], end=round(segments[at].end - 0.1, 2))
    return [*segments[:at], edited, *segments[at + 1 :]]


def drop(segments: list[Segment], at: int) -> list[Segment]:
    return segments[:at] + segments[at + 1 :]


def flag(segments: list[Segment], at: int) -> list[Segment]:
    return [*segments[:at], replace(segments[at], dropped=True), *segments[at + 1 :]]


def split(segments: list[Segment], at: int) -> list[Segment]:
    old = segments[at]
    middle = round((old.start + old.end) / 2, 2)
    first, second = replace(old, end=middle, text="First half."), replace(old, start=middle, text="Second half.")
    return [*segments[:at], first, second, *segments[at + 1 :]]


@pytest.mark.parametrize(("edit", "bound"), [(shift, 3), (drop, 4), (flag, 4), (split, 4), (correct, 0)])
def test_an_edit_anywhere_in_100_segments_recuts_few_clips(
    edit: Callable[[list[Segment], int], list[Segment]], bound: int
) -> None:
    changed = []
    for seed in (0, 1):
        segments = talk(100, seed)
        before = ids(segments)
        changed += [len(ids(edit(segments, at)) - before) for at in range(seed, len(segments), 3)]
    assert max(changed) <= bound
    assert sorted(changed)[int(len(changed) * 0.95)] <= 2, "nearly always no more than two"


@pytest.mark.parametrize("seed", range(3))
def test_a_time_that_moves_a_tenth_of_a_second_recuts_at_most_two_clips(seed: int) -> None:
    segments = talk(200, seed)
    at = 20 + 60 * seed
    assert 1 <= len(ids(shift(segments, at)) - ids(segments)) <= 2


def test_a_transcript_without_full_stops_is_cut_at_pauses_and_as_steady_under_edits() -> None:
    segments = talk(80, sentence=0)
    before = ids(segments)
    assert max(len(ids(shift(segments, at)) - before) for at in range(0, len(segments), 2)) <= 3
    assert np.mean([clip.seconds for clip in clips_of(segments)]) > 12


SEGMENTS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 10, 40, 90, 200, 700]),  # hundredths of a second of silence before it
        st.integers(1, 3400),  # hundredths of a second of speech
        st.sampled_from(["ann", "ann", "ann", "bob"]),
        st.sampled_from([False] * 5 + [True]),
        st.sampled_from(["", ".", ","]),
    ),
    max_size=40,
)
OPTIONS = st.builds(
    ChunkParams,
    vad=st.just("energy"),
    max_seconds=st.sampled_from([8.0, 12.0, 30.0]),
    min_seconds=st.sampled_from([0.0, 1.0, 3.0]),
    gap=st.sampled_from([0.5, 3.0]),
    max_pause=st.sampled_from([0.0, 0.3, 0.8, 5.0]),
    pad=st.sampled_from([0.0, 0.1, 0.3]),
    loudness=st.none(),
    min_level=st.just(-50.0),
    min_confidence=st.none(),
)


def lines(rows: list) -> list[Segment]:  # type: ignore[type-arg]
    segments, at = [], 0
    for number, (pause, speech, speaker, dropped, stop) in enumerate(rows):
        at += pause
        segments.append(Segment("talk", at / 100, (at + speech) / 100, speaker, f"w{number}{stop}", dropped))
        at += speech
    return segments


def anything(segments: Sequence[Segment], seed: int) -> Activity:
    """Sound that does not care for the lines: voices come, go and stay away where they like."""
    dice = np.random.default_rng(seed)
    moments = round(100 * max([0.0, *(s.end for s in segments)])) + 100
    lengths = dice.choice([10, 20, 40, 120, 400], moments // 10 + 1)
    speech = np.repeat(np.arange(len(lengths)) % 2, lengths)[:moments].astype(np.uint8)
    return Activity(dice.integers(stored(-60), stored(-10), moments).astype(np.uint8), speech)


@settings(deadline=None, max_examples=100)
@given(SEGMENTS, OPTIONS, st.integers(0, 9))
def test_every_word_is_in_exactly_one_clip_or_drop_and_in_its_sound(rows: list, params: ChunkParams, seed: int) -> None:  # type: ignore[type-arg]
    segments = lines(rows)
    sound = anything(segments, seed)
    clips, drops = plan(TALK, segments, sound, params)
    said = [word for clip in clips for word in clip.text.split()] + [drop.text for drop in drops if drop.text]
    assert sorted(said) == sorted(segment.text for segment in segments)
    spoken = {segment.text: segment for segment in segments}
    for clip in clips:
        assert params.min_seconds <= clip.seconds <= params.max_seconds + 0.001
        inside = {segment.text for segment in segments if kept(clip, segment) > 0.0005}
        assert inside == set(clip.text.split()), "the sound holds exactly the words of the text"
        assert all(start < end for start, end in clip.spans)
        assert all(before[1] < after[0] for before, after in pairwise(clip.spans))
        for word in clip.text.split():
            for start, end in sound.runs(spoken[word].start, spoken[word].end):
                assert kept(clip, Segment("talk", start, end, "ann", "voice")) > 1 - 0.0011 / (end - start)
    assert all(one.end <= other.start for one, other in pairwise(clips)), "no two clips hold the same sound"
    assert [drop.start for drop in drops] == sorted(drop.start for drop in drops)
    assert len({clip.id for clip in clips}) == len(clips)


@settings(deadline=None, max_examples=50)
@given(SEGMENTS, OPTIONS, st.integers(0, 9))
def test_time_maps_back_to_the_recording_and_only_long_pauses_are_gone(
    rows: list, params: ChunkParams, seed: int
) -> None:  # type: ignore[type-arg]
    segments = lines(rows)
    sound = anything(segments, seed)
    for clip in plan(TALK, segments, sound, params)[0]:
        for at in np.linspace(0, clip.seconds, 20, endpoint=False):
            there = clip.to_recording(at)
            assert clip.to_clip(there) == pytest.approx(at, abs=1e-6)
        for start, end in clip.spans:
            for there in np.linspace(start, end, 7)[1:-1]:
                assert clip.to_recording(clip.to_clip(there) or 0.0) == pytest.approx(there, abs=1e-6)
        for (_, here), (there, _) in pairwise(clip.spans):
            assert clip.to_clip((here + there) / 2) is None
            own = [s for s in segments if s.text in clip.text.split()]
            assert not any(sound.runs(max(here, s.start), min(there, s.end)) for s in own if s.end > here < there)
        assert clip.to_clip(clip.start - 0.01) is None
        assert clip.to_clip(clip.end + 0.01) is None
        assert clip.to_recording(clip.seconds + 1) == clip.end


def kept(clip: Clip, segment: Segment) -> float:
    """The share of the segment that the clip holds."""
    held = sum(max(0.0, min(end, segment.end) - max(start, segment.start)) for start, end in clip.spans)
    return held / (segment.end - segment.start)
