"""Where a talk is divided into clips, and what is left out and why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support.segment_factory import PARAMS, TALK, clips_of, correct, heard, ids, stored, talk
from timbre.audio.clips import plan
from timbre.audio.line_times import settled
from timbre.audio.speech_activity import Activity
from timbre.core.records import Segment


def test_clips_end_on_sentences_and_are_long() -> None:
    clips = clips_of(talk(400))
    ended = [clip.text.endswith(".") for clip in clips]
    assert sum(ended) / len(ended) > 0.8  # the others stand before a long pause, or no sentence ends within 30 s
    assert max(clip.seconds for clip in clips) <= 30
    assert np.mean([clip.seconds for clip in clips]) > 12


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
    assert reasons([replace(lone, end=4.0, others=0.834)]) == [
        "other voice: 83% of it is in the turns of others (section who); flag it ok to keep it"
    ]
    assert reasons([replace(lone, end=4.0, confidence=0.41), replace(lone, start=6.0, end=9.0)]) == []


def test_a_pause_is_shortened_and_its_middle_is_what_goes() -> None:
    (clip,) = clips_of([Segment("talk", 1, 4, "ann", "One."), Segment("talk", 6, 9, "ann", "Two.")])
    assert clip.spans == [[pytest.approx(0.805), 4.4], [5.6, pytest.approx(9.195)]]
    assert clip.seconds == pytest.approx(3.595 * 2, abs=0.01)
    assert (clip.text, clip.start, clip.end) == ("One. Two.", clip.spans[0][0], clip.spans[1][1])
    assert clip.speech == pytest.approx(6, abs=0.02)


def test_a_clip_says_where_it_may_end_early() -> None:
    lines = [("One,", 1, 3), ("two.", 3.2, 5), ("Three.", 5.4, 8), ("Four", 10, 12), ("five.", 12.2, 14)]
    (clip,) = clips_of([Segment("talk", start, end, "ann", text) for text, start, end in lines])
    (two, at_two), (three, at_three) = clip.sentence_ends
    assert [clip.text[: int(characters)] for characters in (two, three)] == ["One, two.", "One, two. Three."]
    assert 5.0 < clip.to_recording(at_two) < 5.4
    assert 8.0 <= clip.to_recording(at_three) < 8.5, "before the cut of the long pause"


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
    noisy = plan(TALK, segments, sound, PARAMS)[0][0].snr
    assert noisy == pytest.approx(11.7, abs=0.05), "12 dB from the noise to the sum of speech and noise"
    sound.levels[sound.speech == 0] = stored(-20)
    assert plan(TALK, segments, sound, PARAMS)[0][0].snr == -10


def test_digital_silence_is_no_background() -> None:
    segments = [Segment("talk", 1, 4, "ann", "One.")]
    sound = heard(segments)
    sound.levels[sound.speech == 0] = 0
    sound.levels[110:140] = stored(
        -40
    )  # the quietest tenth of the words tells, and makes them half a decibel less loud
    assert plan(TALK, segments, sound, PARAMS)[0][0].snr == 19.5
    sound.levels[60:95] = stored(-60)  # a third of a second before the words tells more
    assert plan(TALK, segments, sound, PARAMS)[0][0].snr == 39.5


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pad": -1}, "pad: -1.0 is below 0"),
        ({"max_seconds": 2}, "max_seconds: 2.0 leaves"),
        ({"loudness": 3}, "loudness: 3 is not"),
    ],
)
def test_params_that_cannot_work_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(PARAMS, **change)  # type: ignore[arg-type]


def with_voice(sound: Activity, start: float, end: float) -> Activity:
    place = slice(round(100 * start), round(100 * end))
    sound.levels[place], sound.speech[place] = stored(-20), 1
    return sound


PAIR = [Segment("talk", 1, 4, "ann", "One."), Segment("talk", 6, 9, "ann", "Two.")]


def test_what_somebody_says_without_a_line_is_told_and_in_no_clip() -> None:
    clips, drops = plan(TALK, PAIR, with_voice(heard(PAIR), 4.7, 5.4), PARAMS)
    assert [clip.text for clip in clips] == ["One.", "Two."]
    assert clips[0].end < 4.7
    assert clips[1].start > 5.4
    (drop,) = drops
    assert (drop.start, drop.end, drop.text) == (4.7, 5.4, "")
    assert drop.reason == "unwritten: somebody speaks for 0.7 s, and no line says what"


def test_a_flagged_line_is_no_speech_without_a_line() -> None:
    lines = [PAIR[0], Segment("talk", 4.6, 5.5, "ann", "Cough.", dropped=True), PAIR[1]]
    assert [drop.reason.split(":")[0] for drop in plan(TALK, lines, heard(lines), PARAMS)[1]] == ["dropped"]


def test_a_pause_is_not_shortened_where_the_last_syllable_goes_on() -> None:
    sound = with_voice(with_voice(heard(PAIR), 4, 4.55), 5.5, 6)
    first, second = plan(TALK, PAIR, sound, PARAMS)[0]
    assert first.end >= 4.55
    assert second.start <= 5.5


@pytest.mark.parametrize("seed", range(8))
def test_no_voice_is_ever_cut_out_of_a_clip(seed: int) -> None:
    segments = talk(40, seed)
    sound, dice = heard(segments), np.random.default_rng(seed)
    for _ in range(60):  # voices beside the lines, and past their ends
        start = dice.uniform(0, segments[-1].end)
        with_voice(sound, start, start + dice.uniform(0.05, 0.9))
    for clip in plan(TALK, segments, sound, PARAMS)[0]:
        for (_, end), (start, _) in zip(clip.spans, clip.spans[1:], strict=False):
            assert not sound.speaks(end, start).any()
        assert clip.seconds <= PARAMS.max_seconds


def drafted(*times: tuple[float, float]) -> list[Segment]:
    return [Segment("talk", a, b, "ann", f"Line {a:g}.", confidence=0.9) for a, b in times]


def test_a_drafts_line_that_ends_too_early_ends_in_the_silence_behind_its_last_word() -> None:
    lines, true = drafted((1, 3.75), (3.75, 7)), drafted((1, 4), (4.2, 7))
    sound = heard(true)
    placed = settled(lines, sound)
    assert 3.99 <= placed[0].end < placed[1].start <= 4.21
    assert settled([replace(line, confidence=None) for line in lines], sound) != placed  # a person's stay as they are


def test_a_drafts_line_ends_in_the_quietest_moment_where_nobody_stops_speaking() -> None:
    sound = heard(drafted((1, 7)))
    sound.levels[410:420] = stored(-40)
    first, second = settled(drafted((1, 4), (4, 7)), sound)
    assert first.end == second.start == pytest.approx(4.15, abs=0.03)


def test_a_persons_lines_keep_their_times() -> None:
    lines = [replace(line, confidence=None) for line in drafted((1, 3.75), (3.75, 7))]
    assert settled(lines, heard(drafted((1, 4), (4.2, 7)))) == lines
