"""From the lines of a recording to its clips: each line is in exactly one, or left out with a reason.

timbre/audio/clip_plan.py says which lines make a clip together. What is kept of the recording for it: its lines,
without the middles of silent pauses longer than `max_pause` wherever they are, and silence around them. Where a voice
goes on past a line's end, as it does where Whisper set the end too early, the clip goes on with it, never into another
line. A clip's spans say which seconds of the recording it holds; `Clip.to_recording` maps its time back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import floor

import numpy as np

from timbre.audio import LEVEL_WINDOW as MOMENT
from timbre.audio import line_times, speech_activity
from timbre.audio.clip_plan import ClipLimits, Part, SpokenSegment, length, pauses, stack
from timbre.audio.speech_activity import Activity
from timbre.core.content import content_key
from timbre.core.records import Clip, Drop, Recording, Segment
from timbre.core.sections import ChunkParams
from timbre.core.text import ends_sentence, join

VERSION = 2  # of a clip's id; raise when other bytes are cut of the same input, here or in cutting.py
TINY = 1e-6  # seconds; sums of times differ by less
QUIET = 3.0  # dB above the quietest moment that are as good for a cut: noise itself varies so much
REACH = 0.6  # seconds that a voice may go on past its line; longer, it is no last syllable but words without a line
SLACK = 0.3  # seconds beside a line that are still its own: a breath, a last syllable
UNWRITTEN = 0.5  # seconds of voice outside of all lines that a person is told of; shorter, it is a cough
ABRUPT = 20.0  # dB below the clip's speech; louder at a cut, and a word was cut


def plan(
    recording: Recording, segments: Sequence[Segment], sound: Activity, params: ChunkParams
) -> tuple[list[Clip], list[Drop]]:
    """Every segment in exactly one clip or drop, both in the order of time; and a drop for what nobody has written."""
    clips: list[Clip] = []
    placed = line_times.settled(segments, sound)
    spoken = apart([spoken_of(segment, sound, params.max_pause) for segment in placed], sound, params.max_pause)
    drops = {index: why for index, line in enumerate(spoken) if (why := unfit(line, sound, params))}
    texts = [segment.text for segment in segments] + [""]
    ends = [ends_sentence(text, following, recording.language) for text, following in pairwise(texts)]
    for part in stack(spoken, drops, ends, limits_of(params)):
        spans = spans_of(part, spoken, sound, params, recording.seconds)
        clip = clip_of(recording, [segments[i] for i in part], spans, sound, params)
        lines = [placed[index] for index in part]
        stops = sentence_ends(clip, lines, [ends[index] for index in part], sound, recording.language)
        clip = replace(clip, sentence_ends=stops)
        if clip.seconds >= params.min_seconds:
            clips.append(clip)
            continue
        why = f"too short: {clip.seconds:.2f} s alone, less than chunk.min_seconds ({params.min_seconds:g})"
        drops |= dict.fromkeys(part, why)
    left_out = [(segments[index], drops[index]) for index in sorted(drops)]
    dropped = [Drop(s.recording, s.start, s.end, s.text, why) for s, why in left_out]
    dropped += unwritten(recording, placed, sound)
    return clips, sorted(dropped, key=lambda drop: drop.start)


def limits_of(params: ChunkParams) -> ClipLimits:
    return ClipLimits(params.max_seconds, params.min_seconds, params.gap, params.max_pause, params.pad)


def spoken_of(segment: Segment, sound: Activity, max_pause: float) -> SpokenSegment:
    """The segment without its long pauses; whole where nobody is heard in it."""
    runs = sound.runs(segment.start, segment.end)
    edges = [segment.start, *(time for stretch in runs for time in stretch), segment.end]
    quiet = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a > max_pause + TINY] if runs else []
    times = [segment.start, *(time for pause in quiet for time in pause), segment.end]
    stretches = [(a, b) for a, b in zip(times[::2], times[1::2], strict=True) if b > a]
    return SpokenSegment(segment, tuple(stretches))


def apart(spoken: Sequence[SpokenSegment], sound: Activity, max_pause: float) -> list[SpokenSegment]:
    """The lines; one before which somebody speaks in the middle of a long pause begins a new clip.

    So no voice is cut out of a clip, and none stays in one without its words. Last syllables stay with their line: each
    end of a clip waits for the voice.
    """
    lines = list(spoken)
    for index, (before, after) in enumerate(pairwise(spoken)):
        removed = before.end + max_pause / 2, after.start - max_pause / 2
        if after.start - before.end > max_pause + TINY and sound.speaks(*removed).any():
            lines[index + 1] = replace(after, apart=True)
    return lines


def unwritten(recording: Recording, segments: Sequence[Segment], sound: Activity) -> list[Drop]:
    """Where somebody speaks and no line says what."""
    edges = [0.0, *(time for s in segments for time in (s.start - SLACK, s.end + SLACK)), recording.seconds]
    gaps = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= UNWRITTEN]
    return [
        Drop(
            recording.id,
            round(run[0][0], 2),
            round(run[-1][1], 2),
            "",
            f"unwritten: somebody speaks for {sum(b - a for a, b in run):.1f} s, and no line says what",
        )
        for start, end in gaps
        if (run := sound.runs(start, end)) and sum(b - a for a, b in run) >= UNWRITTEN
    ]


def unfit(spoken: SpokenSegment, sound: Activity, params: ChunkParams) -> str | None:
    segment = spoken.segment
    if segment.dropped:
        return "dropped: flagged so in the transcript"
    if segment.others:
        return f"other voice: {segment.others:.0%} of it is in the turns of others (section who); flag it ok to keep it"
    seconds = length([0], [spoken], limits_of(params)) - 2 * params.pad
    if seconds + 2 * params.pad > params.max_seconds:
        return f"too long: {seconds:.2f} s do not fit into chunk.max_seconds ({params.max_seconds:g}); split the line"
    loudest = sound.decibels(segment.start, segment.end).max(initial=speech_activity.QUIETEST)
    if loudest < params.min_level:
        return f"silent: its loudest moment has {loudest:.0f} dBFS, below chunk.min_level ({params.min_level:g})"
    if not sound.speaks(segment.start, segment.end).any():
        return f"silent: chunk.vad ({params.vad}) hears no voice in it"
    if segment.confidence is not None and segment.confidence < (params.min_confidence or 0):
        return (
            f"unsure: Whisper gave the words of its draft {segment.confidence:.2f}, less than chunk.min_confidence "
            f"({params.min_confidence:g}); nobody has corrected it yet"
        )
    return None


def spans_of(
    part: Part, spoken: Sequence[SpokenSegment], sound: Activity, params: ChunkParams, seconds: float
) -> list[list[float]]:
    """What to keep of the recording, to a millisecond: its words and silence around them, no neighbour's word."""
    first, last = part[0], part[-1]
    earliest = between(spoken[first - 1], spoken[first], sound) if first else 0.0
    latest = between(spoken[last], spoken[last + 1], sound) if last + 1 < len(spoken) else floor(seconds * 1000) / 1000
    reach = min(REACH, max(0.0, params.max_seconds - length(part, spoken, limits_of(params))) / 2)
    begin, end = spoken[first].start, spoken[last].end
    begin = voice_from(sound, max(earliest, begin - reach), begin)
    end = voice_until(sound, end, min(latest, end + reach))
    times = [sound.quietest(max(earliest, begin - params.pad), begin, QUIET, 0)]
    for here, there in pauses(part, spoken):
        if there - here > params.max_pause + TINY:  # its middle goes: what a word leaves behind and a breath stay
            times += [here + params.max_pause / 2, there - params.max_pause / 2]
    times.append(sound.quietest(end, max(end, min(latest, end + params.pad)), QUIET, 1))
    return [[round(a, 3), round(b, 3)] for a, b in zip(times[::2], times[1::2], strict=True)]


def between(before: SpokenSegment, after: SpokenSegment, sound: Activity) -> float:
    """Where the clip of one line must end and that of the next may begin, so that no two hold the same sound."""
    start, end = before.segment.end, after.segment.start
    return sound.quietest((3 * start + end) / 4, (start + 3 * end) / 4, QUIET, 0.5)


def voice_from(sound: Activity, earliest: float, begin: float) -> float:
    """Where the voice that is heard at `begin` began, no earlier than `earliest`."""
    runs = sound.runs(earliest, begin)
    return runs[-1][0] if runs and runs[-1][1] >= begin - MOMENT else begin


def voice_until(sound: Activity, end: float, latest: float) -> float:
    runs = sound.runs(end, latest)
    return runs[0][1] if runs and runs[0][0] <= end + MOMENT else end


def clip_of(
    recording: Recording, segments: Sequence[Segment], spans: list[list[float]], sound: Activity, params: ChunkParams
) -> Clip:
    spoken = np.concatenate([sound.speaks(start, end) for start, end in spans])
    level = np.concatenate([sound.decibels(start, end) for start, end in spans])
    speech = speech_activity.mean_decibels(level[spoken])
    edges = [sound.at(spans[0][0]), sound.at(spans[-1][1])]
    return Clip(
        id=content_key(VERSION, recording.sha256, recording.sample_rate, spans, params.loudness),
        recording=recording.id,
        speaker=segments[0].speaker,
        start=spans[0][0],
        end=spans[-1][1],
        spans=spans,
        seconds=round(sum(end - start for start, end in spans), 3),
        text=join([segment.text for segment in segments], recording.language),
        speech=round(float(spoken.sum()) * MOMENT, 2),
        snr=round(sound.snr(spans), 1),
        abrupt=any(voice and level > speech - ABRUPT for voice, level in edges),
    )


def sentence_ends(
    clip: Clip, lines: Sequence[Segment], ends: Sequence[bool], sound: Activity, language: str
) -> list[list[float]]:
    """Where the clip may end early: after a sentence, in the quietest moment before the next."""
    stops: list[list[float]] = []
    texts: list[str] = []
    for (before, after), ended in zip(pairwise(lines), ends, strict=False):
        texts.append(before.text)
        at = clip.to_clip(sound.quietest(before.end, after.start, QUIET, 0.5))
        at = at if at is not None else clip.to_clip(before.end)  # the pause was cut short
        if ended and at is not None:
            stops.append([len(join(texts, language)), round(at, 3)])
    return stops
