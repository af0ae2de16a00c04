from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.chunk import Cut, Params, check_distinct, cut, plan
from timbre import activity, audio, loudness
from timbre.activity import QUIETEST, Activity
from timbre.errors import DataError
from timbre.records import Clip, Recording, Segment

TALK = Recording("talk", "ann", "en", "CC0-1.0", "own voice", "file", "ab" * 32, 16000, 36000.0)
PARAMS = Params(
    vad="energy", max_seconds=30, min_seconds=2, gap=3, max_pause=0.8, pad=0.2, loudness=None, min_level=-50,
    min_confidence=0.4,
)  # fmt: skip
RATE = 16000


def heard(segments: Sequence[Segment], level: float = -20.0, until: float = 0.0) -> Activity:
    """Speech of one level exactly where the segments are, silence elsewhere."""
    moments = round(100 * (max([until, *(s.end for s in segments)]) + 5))
    made = Activity(np.full(moments, stored(-70), np.uint8), np.zeros(moments, np.uint8))
    for segment in segments:
        place = slice(round(100 * segment.start), round(100 * segment.end))
        made.levels[place], made.speech[place] = stored(level), 1
    return made


def stored(decibels: float) -> int:
    return round((decibels - QUIETEST) * 2)


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
    return plan(TALK, segments, heard(segments), params)[0]


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
def test_every_word_is_in_exactly_one_clip_or_drop_and_in_its_sound(rows: list, params: Params, seed: int) -> None:  # type: ignore[type-arg]
    segments = lines(rows)
    sound = anything(segments, seed)
    clips, drops = plan(TALK, segments, sound, params)
    said = [word for clip in clips for word in clip.text.split()] + [drop.text for drop in drops]
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
def test_time_maps_back_to_the_recording_and_only_long_pauses_are_gone(rows: list, params: Params, seed: int) -> None:  # type: ignore[type-arg]
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


def reasons(segments: list[Segment], sound: Activity | None = None) -> list[str]:
    return [drop.reason for drop in plan(TALK, segments, sound or heard(segments), PARAMS)[1]]


def test_what_is_left_out_says_why() -> None:
    lone = Segment("talk", 1.0, 2.0, "ann", "Yes.")
    assert reasons([lone]) == ["too short: 1.39 s alone, less than chunk.min_seconds (2)"]
    assert reasons([replace(lone, dropped=True)]) == ["dropped: flagged so in the transcript"]
    assert reasons([replace(lone, end=40.0)]) == [
        "too long: 39.00 s do not fit into chunk.max_seconds (30); split the line"
    ]
    assert reasons([lone], heard([lone], -65)) == [
        "silent: its loudest moment has -65 dBFS, below chunk.min_level (-50)"
    ]
    loud = heard([lone])
    assert reasons([lone], replace(loud, speech=0 * loud.speech)) == ["silent: chunk.vad (energy) hears no voice in it"]
    assert reasons([replace(lone, end=4.0, confidence=0.31)]) == [
        "unsure: Whisper gave the words of its draft 0.31, less than chunk.min_confidence (0.4); "
        "nobody has corrected it yet"
    ]
    assert reasons([replace(lone, end=4.0, confidence=0.41), replace(lone, start=6.0, end=9.0)]) == []


def test_a_pause_is_shortened_and_its_middle_is_what_goes() -> None:
    (clip,) = clips_of([Segment("talk", 1, 4, "ann", "One."), Segment("talk", 6, 9, "ann", "Two.")])
    assert clip.spans == [[pytest.approx(0.805), 4.4], [5.6, pytest.approx(9.195)]]
    assert clip.seconds == pytest.approx(3.595 * 2, abs=0.01)
    assert (clip.text, clip.start, clip.end) == ("One. Two.", clip.spans[0][0], clip.spans[1][1])
    assert clip.speech == pytest.approx(6, abs=0.02)


def test_a_pause_inside_a_line_and_silence_at_its_ends_are_shortened_too() -> None:
    said = heard([Segment("talk", 3, 5, "ann", "x"), Segment("talk", 8, 9, "ann", "x")], until=12)
    (clip,) = plan(TALK, [Segment("talk", 1, 11.5, "ann", "One, two.")], said, PARAMS)[0]
    assert clip.spans == [[pytest.approx(2.805), 5.4], [7.6, pytest.approx(9.195)]]


def test_a_voice_that_goes_on_past_its_line_is_not_cut_off_but_the_next_line_is_never_reached() -> None:
    early = [Segment("talk", 1.3, 3.8, "ann", "One."), Segment("talk", 7, 9, "bob", "Two.")]
    spoken = heard([Segment("talk", 1, 4, "ann", "x"), Segment("talk", 6.9, 9, "bob", "x")])
    one, two = plan(TALK, early, spoken, PARAMS)[0]
    assert one.spans == [[pytest.approx(0.805), pytest.approx(4.195)]]
    assert two.spans == [[pytest.approx(6.705), pytest.approx(9.195)]]
    assert not one.abrupt
    close = [early[0], replace(early[1], start=3.9)]
    one, _ = plan(TALK, close, heard([Segment("talk", 1, 9, "ann", "x")]), PARAMS)[0]
    assert 3.8 < one.end <= 3.9
    assert one.abrupt, "a word was cut, and the clip says so"


def test_what_is_heard_beside_the_speech_is_its_noise() -> None:
    segments = [Segment("talk", 1, 4, "ann", "One.")]
    sound = heard(segments)
    assert plan(TALK, segments, sound, PARAMS)[0][0].snr == 50
    sound.levels[sound.speech == 0] = stored(-32)
    assert plan(TALK, segments, sound, PARAMS)[0][0].snr == 12


def test_a_cut_falls_into_the_quietest_moment_beside_the_words() -> None:
    segments = [Segment("talk", 1, 4, "ann", "One.")]
    sound = heard(segments)
    sound.levels[:] = stored(-30)
    sound.levels[405:408] = stored(-60)
    (clip,) = plan(TALK, segments, sound, PARAMS)[0]
    assert clip.end == pytest.approx(4.075, abs=0.001)


def test_another_word_is_the_same_clip_and_other_sound_is_another() -> None:
    segments = talk(20)
    assert ids(segments) == ids(correct(segments, 3))
    other = plan(replace(TALK, sha256="cd" * 32), segments, heard(segments), PARAMS)[0]
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
    job = Cut(recording, [[0.9, 2.3], [4.7, 6.1]], None, "k")
    (files,) = cut([job])
    path = recording.with_name("clip.flac")
    path.write_bytes(files[".flac"])  # type: ignore[arg-type]
    samples, rate = soundfile.read(path)
    assert (rate, len(samples), soundfile.info(path).subtype) == (RATE, round(2.8 * RATE), "PCM_16")
    original, _ = soundfile.read(recording)
    inner = slice(round(0.1 * RATE), round(1.3 * RATE))
    assert np.allclose(samples[inner], original[round(1.0 * RATE) : round(2.2 * RATE)], atol=1e-4)
    for edge in (0, round(1.4 * RATE) - 1, round(1.4 * RATE), -1):
        assert abs(samples[edge]) < 1e-4
    assert list(cut([job])) == [files]


@pytest.mark.parametrize("level", [0.02, 0.2])
def test_a_clip_has_the_stated_loudness_however_it_was_recorded(recording: Path, level: float) -> None:
    samples, rate = soundfile.read(recording)
    soundfile.write(recording, samples / 0.3 * level, rate)
    (files,) = cut([Cut(recording, [[0.9, 6.1]], -23.0, "k")])
    recording.with_name("clip.flac").write_bytes(files[".flac"])  # type: ignore[arg-type]
    made, _ = audio.read(recording.with_name("clip.flac"))
    assert loudness.loudness(made, rate) == pytest.approx(-23, abs=0.1)
    record = json.loads(files[".json"])  # type: ignore[arg-type]
    assert record["key"] == "k"
    before, _ = audio.read(recording, start=0.9, end=6.1)
    assert np.abs(made).max() == pytest.approx(np.abs(before).max() * 10 ** (record["gain"] / 20), rel=0.01)


def test_no_gain_lifts_a_peak_over_the_ceiling_or_noise_out_of_silence() -> None:
    dice = np.random.default_rng(0)
    quiet = dice.normal(0, 0.001, 3 * RATE).astype(np.float32)
    assert loudness.gain(quiet, RATE, -23.0) == loudness.MOST
    quiet[RATE] = 0.5
    assert loudness.gain(quiet, RATE, -23.0) == pytest.approx(5.02)
    assert loudness.gain(np.zeros(3 * RATE, np.float32), RATE, -23.0) == 0
    assert loudness.gain(quiet[:100], RATE, -23.0) == 0


def test_what_was_recorded_too_loud_is_counted_and_a_lone_peak_is_not() -> None:
    wave = np.sin(np.arange(RATE) / 20).astype(np.float32)
    assert loudness.clipped(np.clip(1.5 * wave, -1, 1)) == pytest.approx(0.53, abs=0.02)
    assert loudness.clipped(0.9 * wave) == 0
    assert loudness.clipped(np.array([0, 1, 0, -1, 0], np.float32)) == 0


def test_silence_is_found_in_the_sound_itself(recording: Path) -> None:
    short = replace(TALK, seconds=7.0)
    segments = [Segment("talk", 1.0, 2.0, "ann", "Said."), Segment("talk", 2.1, 2.9, "ann", "Invented.")]
    stored = recording.with_suffix(".npy")
    stored.write_bytes(activity.measure(recording, "energy"))
    sound = activity.open(stored)
    clips, drops = plan(short, segments, sound, replace(PARAMS, min_seconds=1))
    assert [clip.text for clip in clips] == ["Said."]
    assert [drop.text for drop in drops] == ["Invented."]
    assert drops[0].reason.startswith("silent: ")
    end = [Segment("talk", 5.0, 7.0, "ann", "To the very end.")]
    assert plan(short, end, sound, PARAMS)[1][0].text == "To the very end.", "half of it is a pause"
    clips = plan(short, end, sound, replace(PARAMS, min_seconds=1, max_pause=2))[0]
    assert clips[0].end == 7.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pad": -1}, "pad: -1 is below 0"),
        ({"max_seconds": 2}, "max_seconds: 2 leaves"),
        ({"loudness": 3}, "loudness: 3 is not"),
    ],
)
def test_params_that_cannot_work_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(PARAMS, **change)  # type: ignore[arg-type]
