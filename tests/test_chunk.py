from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.chunk import Cut, Params, check_distinct, cut, levels_in, plan
from timbre.errors import DataError
from timbre.records import Clip, Recording, Segment

TALK = Recording("talk", "ann", "en", "CC0-1.0", "own voice", "file", "ab" * 32, 16000, 36000.0)
PARAMS = Params(max_seconds=30, min_seconds=2, gap=3, max_pause=0.8, pad=0.2, min_level=-50, workers=1)
RATE = 16000


def loud(start: float, end: float) -> npt.NDArray[np.float64]:
    return np.full(round((end - start) * 100), -20.0)


def talk(count: int, seed: int = 0, sentence: float = 0.6, longest: float = 7.0) -> list[Segment]:
    """A made-up talk: lines of 1.5 to 7 s, short pauses and now and then a long one, most lines a whole sentence."""
    dice = random.Random(seed)
    segments, at = [], 0.5
    for number in range(count):
        end = round(at + dice.uniform(1.5, longest), 2)
        stop = "." if dice.random() < sentence else ","
        segments.append(Segment("talk", round(at, 2), end, "ann", f"Line number {number}{stop}"))
        at = end + dice.choice([0.0, 0.2, 0.4, 0.6, 1.0, 1.5] * 4 + [5.0])
    return segments


def clips_of(segments: list[Segment], params: Params = PARAMS) -> list[Clip]:
    return plan(TALK, segments, loud, params)[0]


def ids(segments: list[Segment], params: Params = PARAMS) -> set[str]:
    return {clip.id for clip in clips_of(segments, params)}


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


def correct(segments: list[Segment], at: int) -> list[Segment]:
    edited = replace(segments[at], text=segments[at].text.replace("Line", "Lyne"))
    return [*segments[:at], edited, *segments[at + 1 :]]


@pytest.mark.parametrize(("edit", "bound"), [(shift, 3), (drop, 4), (flag, 4), (split, 4), (correct, 0)])
@pytest.mark.parametrize("seed", [0, 1])
def test_an_edit_anywhere_in_200_segments_recuts_few_clips(
    edit: Callable[[list[Segment], int], list[Segment]], bound: int, seed: int
) -> None:
    segments = talk(200, seed)
    before = ids(segments)
    changed = [len(ids(edit(segments, at)) - before) for at in range(0, len(segments), 2)]
    assert max(changed) <= bound
    assert sorted(changed)[int(len(changed) * 0.95)] <= 2, "nearly always no more than two"


@pytest.mark.parametrize("seed", range(3))
def test_a_time_that_moves_a_tenth_of_a_second_recuts_at_most_two_clips(seed: int) -> None:
    segments = talk(200, seed)
    at = 20 + 60 * seed
    assert 1 <= len(ids(shift(segments, at)) - ids(segments)) <= 2


def test_clips_end_on_sentences_and_are_long() -> None:
    clips = clips_of(talk(400))
    ended = [clip.text.endswith(".") for clip in clips]
    assert sum(ended) / len(ended) > 0.8  # the others stand before a long pause, or no sentence ends within 30 s
    assert max(clip.seconds for clip in clips) <= 30
    assert np.mean([clip.seconds for clip in clips]) > 12


def test_a_transcript_without_full_stops_is_cut_at_pauses_and_as_steady_under_edits() -> None:
    segments = talk(200, sentence=0)
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
    Params,
    max_seconds=st.sampled_from([8.0, 12.0, 30.0]),
    min_seconds=st.sampled_from([0.0, 1.0, 3.0]),
    gap=st.sampled_from([0.5, 3.0]),
    max_pause=st.sampled_from([0.0, 0.8, 5.0]),
    pad=st.sampled_from([0.0, 0.1, 0.3]),
    min_level=st.just(-50.0),
    workers=st.just(1),
)


@settings(deadline=None, max_examples=100)
@given(SEGMENTS, OPTIONS, st.integers(0, 9))
def test_every_word_is_in_exactly_one_clip_or_drop_and_in_its_sound(rows: list, params: Params, seed: int) -> None:  # type: ignore[type-arg]
    segments, at = [], 0
    for number, (pause, speech, speaker, dropped, stop) in enumerate(rows):
        at += pause
        segments.append(Segment("talk", at / 100, (at + speech) / 100, speaker, f"w{number}{stop}", dropped))
        at += speech

    def noise(start: float, end: float) -> npt.NDArray[np.float64]:
        return np.random.default_rng(seed).uniform(-60, -20, int((end - start) * 100 + 0.001))

    clips, drops = plan(TALK, segments, noise, params)
    said = [word for clip in clips for word in clip.text.split()] + [drop.text for drop in drops]
    assert sorted(said) == sorted(segment.text for segment in segments)
    spoken = {segment.text: segment for segment in segments}
    for clip in clips:
        assert params.min_seconds <= clip.seconds <= params.max_seconds + 0.001
        inside = {segment.text for segment in segments if kept(clip, segment) > 0.0005}
        assert inside == set(clip.text.split()), "the sound holds exactly the words of the text"
        assert all(kept(clip, spoken[word]) == pytest.approx(1, abs=0.1) for word in clip.text.split())
        assert all(start < end for start, end in clip.spans)
        assert all(before[1] < after[0] for before, after in pairwise(clip.spans))
    assert [drop.start for drop in drops] == sorted(drop.start for drop in drops)
    assert len({clip.id for clip in clips}) == len(clips)


def kept(clip: Clip, segment: Segment) -> float:
    """The share of the segment that the clip holds."""
    held = sum(max(0.0, min(end, segment.end) - max(start, segment.start)) for start, end in clip.spans)
    return held / (segment.end - segment.start)


def reasons(segments: list[Segment], levels: Callable[[float, float], npt.NDArray[np.float64]] = loud) -> list[str]:
    return [drop.reason for drop in plan(TALK, segments, levels, PARAMS)[1]]


def test_what_is_left_out_says_why() -> None:
    lone = Segment("talk", 1.0, 2.0, "ann", "Yes.")
    assert reasons([lone]) == ["too short: 1.39 s alone, less than chunk.min_seconds (2)"]
    assert reasons([replace(lone, dropped=True)]) == ["dropped: flagged so in the transcript"]
    assert reasons([replace(lone, end=40.0)]) == [
        "too long: 39.00 s do not fit into chunk.max_seconds (30); split the line"
    ]
    assert reasons([lone], lambda a, b: loud(a, b) - 50) == [
        "silent: its loudest moment has -70 dBFS, below chunk.min_level (-50)"
    ]


def test_a_pause_is_shortened_and_its_middle_is_what_goes() -> None:
    (clip,) = clips_of([Segment("talk", 1, 4, "ann", "One."), Segment("talk", 6, 9, "ann", "Two.")])
    assert clip.spans == [[pytest.approx(0.805), 4.4], [5.6, pytest.approx(9.195)]]
    assert clip.seconds == pytest.approx(3.595 * 2, abs=0.01)
    assert (clip.text, clip.start, clip.end) == ("One. Two.", clip.spans[0][0], clip.spans[1][1])


def test_a_cut_falls_into_the_quietest_moment_beside_the_words() -> None:
    def valley(start: float, end: float) -> npt.NDArray[np.float64]:
        times = start + (np.arange(int((end - start) * 100 + 0.5)) + 0.5) / 100
        return np.where(abs(times - 4.065) < 0.02, -60.0, -30.0)

    (clip,) = plan(TALK, [Segment("talk", 1, 4, "ann", "One.")], valley, PARAMS)[0]
    assert clip.end == pytest.approx(4.075, abs=0.011)


def test_another_word_is_the_same_clip_and_other_sound_is_another() -> None:
    segments = talk(20)
    assert ids(segments) == ids(correct(segments, 3))
    other = plan(replace(TALK, sha256="cd" * 32), segments, loud, PARAMS)[0]
    assert not {clip.id for clip in other} & ids(segments)


def test_the_same_sound_under_two_names_is_refused() -> None:
    with pytest.raises(DataError, match="again: is the same sound as talk"):
        check_distinct([TALK, replace(TALK, id="again")])


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Tones of 300, 600 and 900 Hz, a second each, a second of near silence around each."""
    time = np.arange(7 * RATE) / RATE
    tone = 0.3 * np.sin(2 * np.pi * 300 * ((time.astype(int) + 1) // 2) * time) * (time.astype(int) % 2)
    path = tmp_path / "talk.flac"
    soundfile.write(path, tone + 1e-4, RATE, subtype="PCM_16")
    return path


def test_a_clip_holds_the_sound_of_its_spans_and_fades_at_every_cut(recording: Path) -> None:
    (files,) = cut([Cut(recording, [[0.9, 2.3], [4.7, 6.1]])])
    path = recording.with_name("clip.flac")
    path.write_bytes(files[".flac"])  # type: ignore[arg-type]
    samples, rate = soundfile.read(path)
    assert (rate, len(samples), soundfile.info(path).subtype) == (RATE, round(2.8 * RATE), "PCM_16")
    original, _ = soundfile.read(recording)
    inner = slice(round(0.1 * RATE), round(1.3 * RATE))
    assert np.allclose(samples[inner], original[round(1.0 * RATE) : round(2.2 * RATE)], atol=1e-4)
    for edge in (0, round(1.4 * RATE) - 1, round(1.4 * RATE), -1):
        assert abs(samples[edge]) < 1e-4
    assert list(cut([Cut(recording, [[0.9, 2.3], [4.7, 6.1]])])) == [files]


def test_silence_is_found_in_the_sound_itself(recording: Path) -> None:
    short = replace(TALK, seconds=7.0)
    segments = [Segment("talk", 1.0, 2.0, "ann", "Said."), Segment("talk", 2.0, 3.0, "ann", "Invented.")]
    clips, drops = plan(short, segments, partial(levels_in, recording), replace(PARAMS, min_seconds=1))
    assert [clip.text for clip in clips] == ["Said."]
    assert [drop.text for drop in drops] == ["Invented."]
    assert drops[0].reason.startswith("silent: ")
    end = [Segment("talk", 5.0, 7.0, "ann", "To the very end.")]
    assert plan(short, end, partial(levels_in, recording), PARAMS)[0][0].end == 7.0


@pytest.mark.parametrize(
    ("change", "message"),
    [({"pad": -1}, "pad: -1 is below 0"), ({"max_seconds": 2}, "max_seconds: 2 leaves"), ({"workers": 0}, "workers")],
)
def test_params_that_cannot_work_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(PARAMS, **change)  # type: ignore[arg-type]
