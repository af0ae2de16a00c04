"""What taking noise down gains and costs, and whether voices are told apart: each number of docs/cleaning.md.

    python -m benchmarks.cleaning [--only noise words loudness who]

It first brings the real speech that is missing (benchmarks/real_materials.py), and says what cannot be had. Beside our
own cleaning stands noisereduce, where somebody installed it (`pip install noisereduce==3.0.3`); no part of Timbre needs
it. `words` takes a real Whisper, `who` the speaker encoder of the package resemblyzer. Minutes on one core.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import itertools
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import real_materials as materials
from benchmarks.real_speech import hear, recording
from timbre import asr, audio
from timbre.asr.alignment import characters
from timbre.audio import Samples, cleaning, loudness
from timbre.core.records import SpeakerTurn
from timbre.core.sections import SpeakerParams
from timbre.evaluation import ge2e, speaker_encoder, who_speaks, word_errors
from timbre.evaluation.speaker_encoder import AnyVoiceEncoder, Vector

RATE = asr.SAMPLE_RATE
MOST = 12.0  # dB that are taken down, at most: the default of `clean.most`
NOISY = 30  # seconds of the sonnet that noise is mixed into
TAKES = slice(1, 8)  # of linda, which Whisper hears
LIMITS = (0.65, 0.7, 0.75, 0.8)  # of `who.limit`
VOICES = ("linda", "austen", "sonnet-1", "simplicissimus", "lucier")
ECHOING = "lucier"  # in which an echo grows until no voice is left
CONVERSATION = 90  # seconds of two people in turns …
TURN, REST = (2.5, 7.0), (0.2, 0.8)  # … of so many seconds, and silence between them
FIRST_SPEAKER = 0.7  # share of the turns
OTHERS = 0.5  # share of a line in others' turns from which on it is left out, as `segment` does

Cleaner = Callable[[Samples], Samples]


class MixedTurn(NamedTuple):
    """A turn as it was put together."""

    start: float
    end: float
    voice: str


class RememberedEncoder:
    """Embeds no sound twice."""

    def __init__(self, encoder: AnyVoiceEncoder) -> None:
        self.encoder, self.known = encoder, dict[bytes, Vector]()

    def embed(self, samples: Samples) -> Vector:
        sound = samples.tobytes()
        if sound not in self.known:
            self.known[sound] = self.encoder.embed(samples)
        return self.known[sound]


def cleaners() -> dict[str, Cleaner]:
    known: dict[str, Cleaner] = {"cleaned": partial(cleaning.without_noise, rate=RATE, most=MOST)}
    if importlib.util.find_spec("noisereduce"):
        from noisereduce import reduce_noise  # type: ignore[import-not-found,unused-ignore]

        name = f"noisereduce {version('noisereduce')}"
        known[f"{name}, stationary"] = lambda sound: reduce_noise(y=sound, sr=RATE, stationary=True)
        known[f"{name}, prop_decrease 0.75"] = lambda sound: reduce_noise(
            y=sound, sr=RATE, stationary=True, prop_decrease=0.75
        )
    return known


def noise() -> Iterator[str]:
    """How far the voice lies above all else, scale-invariant: what is taken from the voice counts as noise."""
    sounds = [recording("sonnet-1").samples[: NOISY * RATE], take(0)[1]]
    for kind, decibels in (("white", 0), ("white", 10), ("white", 20), ("pink", 0), ("pink", 10), ("", 0)):
        mixed = [sound + beside(kind, sound, decibels, seed) if kind else sound for seed, sound in enumerate(sounds)]
        results = []
        for name, cleaner in cleaners().items():
            above = [fidelity(cleaner(noisy), sound) for noisy, sound in zip(mixed, sounds, strict=True)]
            results.append(f"{name} {', '.join(f'{one:.1f}' for one in above)}")
        yield f"{f'{kind} noise at {decibels} dB' if kind else 'no noise'}: {'; '.join(results)} dB"
    minute = np.tile(sounds[0], 2)
    for name, cleaner in cleaners().items():
        yield f"{name}: {cpu_seconds(partial(cleaner, minute)) * 60:.0f} CPU s for an hour"


def words() -> Iterator[str]:
    """What Whisper makes of takes with white noise, as they are and cleaned."""
    folder = materials.whisper("base")
    if folder is None:
        yield "no Whisper base to hear with"
        return
    texts, sounds = zip(*[take(place) for place in range(TAKES.start, TAKES.stop)], strict=True)
    for decibels in (None, 10, 5):
        mixed = [
            sound if decibels is None else sound + beside("white", sound, decibels, seed)
            for seed, sound in enumerate(sounds)
        ]
        for name, cleaner in [("as they are", as_it_is), *list(cleaners().items())[:2]]:
            heard = [one.text for one in hear(str(folder), [cleaner(sound) for sound in mixed], ["en"] * len(mixed))]
            readings = [word_errors.compare(text, said, "en") for text, said in zip(texts, heard, strict=True)]
            letters = [characters(text, said, "en") for text, said in zip(texts, heard, strict=True)]
            wrong = sum(one.errors for one in readings) / sum(one.words for one in readings)
            cer = sum(one.rate for one in letters) / len(letters)
            level = "no noise" if decibels is None else f"white noise at {decibels} dB"
            yield f"{level}, {name}: {wrong:.1%} wrong words, CER {cer:.1%}"


def loud() -> Iterator[str]:
    """The loudness of whole recordings, and its range."""
    for name in ("sonnet-1", ECHOING):
        with sound_file(recording(name).samples) as path:
            found = loudness.measure(path)
        yield f"{name}: {found.lufs:.1f} LUFS, range {found.range:.1f} LU"


def who() -> Iterator[str]:
    """Lines of the first of two people that are left out, and lines of the second that are kept."""
    if importlib.util.find_spec("resemblyzer") is None:
        yield "no speaker encoder: install resemblyzer (`pip install --no-deps resemblyzer`)"
        return
    encoder = RememberedEncoder(speaker_encoder.load(SpeakerParams(ge2e.RESEMBLYZER, None)))
    pairs = [*itertools.permutations(VOICES, 2), *((name, name) for name in VOICES)]
    told: dict[tuple[str, str], list[tuple[int, int, int, int]]] = {}
    spent = seconds = 0.0
    for first, second in pairs:
        samples, lines = conversation(first, second)
        seconds += len(samples) / RATE
        with sound_file(samples) as path:
            spent += cpu_seconds(partial(who_speaks.find, path, encoder, LIMITS[0]))
            for limit in LIMITS:  # nothing is embedded again
                turns = who_speaks.find(path, encoder, limit)
                told.setdefault((first, second), []).append(decided(lines, turns, first, alone=first == second))
    groups = {
        "pairs of four readers": [pair for pair in pairs if pair[0] != pair[1] and ECHOING not in pair],
        f"pairs with {ECHOING}": [pair for pair in pairs if pair[0] != pair[1] and ECHOING in pair],
        "one voice alone": [pair for pair in pairs if pair[0] == pair[1]],
    }
    for place, limit in enumerate(LIMITS):
        for name, some in groups.items():
            dropped, own, kept, others = (sum(told[pair][place][n] for pair in some) for n in range(4))
            yield f"limit {limit}, {len(some)} {name}: {dropped} of {own} own lines dropped, {kept} of {others} kept"
    yield f"100 s of speech: {spent / seconds * 100:.1f} CPU s"


def as_it_is(sound: Samples) -> Samples:
    return sound


def take(place: int) -> tuple[str, Samples]:
    _, text, sound = materials.clips()[place]
    return text, sound


def beside(kind: str, sound: Samples, decibels: float, seed: int) -> Samples:
    """Noise so many dB below the sound as a whole."""
    made = np.random.default_rng(seed).standard_normal(len(sound))
    if kind == "pink":
        spectrum = np.fft.rfft(made)
        made = np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), len(sound))
    scale = np.sqrt(np.mean(sound**2) / np.mean(made**2)) * 10 ** (-decibels / 20)
    return np.asarray(scale * made, np.float32)


def fidelity(found: Samples, voice: Samples) -> float:
    """dB from what differs up to the voice, whatever the loudness of both."""
    part = np.dot(found, voice) / np.dot(voice, voice) * voice
    return float(10 * np.log10(np.sum(part**2) / np.sum((found - part) ** 2)))


def conversation(first: str, second: str) -> tuple[Samples, list[MixedTurn]]:
    """Two recordings in turns; each goes on where it was left, and begins again where it ends."""
    draw, parts, lines, seconds = random.Random(1), [], [], 0.0
    reached = {first: 0, second: 0}
    while seconds < CONVERSATION:
        name = first if draw.random() < FIRST_SPEAKER else second
        length, sound = round(draw.uniform(*TURN) * RATE), recording(name).samples
        if reached[name] + length > len(sound):
            if all(at + length > len(recording(one).samples) for one, at in reached.items()):
                break
            reached[name] = 0
        said = sound[reached[name] : reached[name] + length]
        reached[name] += length
        rest = np.zeros(round(draw.uniform(*REST) * RATE), np.float32)
        parts += [said, rest]
        lines.append(MixedTurn(seconds, seconds + len(said) / RATE, name))
        seconds += (len(said) + len(rest)) / RATE
    return np.concatenate(parts), lines


def decided(
    lines: Sequence[MixedTurn], turns: Sequence[SpeakerTurn], speaker: str, *, alone: bool
) -> tuple[int, int, int, int]:
    """Own lines left out, own lines, others' lines kept, others' lines; all are written under the speaker's name."""
    shares = [spoken_by(line, turns) for line in lines]
    voices = {turn.voice for turn in turns}
    said = {
        voice: sum(s.get(voice, 0.0) for line, s in zip(lines, shares, strict=True) if line.voice == speaker)
        for voice in voices
    }
    own = max(said, key=lambda voice: said[voice], default=0)
    out = [sum(s for voice, s in share.items() if voice != own) > OTHERS * sum(share.values()) for share in shares]
    mine = [alone or line.voice == speaker for line in lines]
    dropped = sum(left and is_mine for left, is_mine in zip(out, mine, strict=True))
    kept = sum(not left and not is_mine for left, is_mine in zip(out, mine, strict=True))
    return dropped, sum(mine), kept, len(mine) - sum(mine)


def spoken_by(line: MixedTurn, turns: Sequence[SpeakerTurn]) -> dict[int, float]:
    """Seconds of the line by voice."""
    shares: dict[int, float] = {}
    for turn in turns:
        both = min(turn.end, line.end) - max(turn.start, line.start)
        if both > 0:
            shares[turn.voice] = shares.get(turn.voice, 0.0) + both
    return shares


@contextlib.contextmanager
def sound_file(samples: Samples) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sound.flac"
        path.write_bytes(audio.flac_bytes(samples, RATE))
        yield path


def cpu_seconds(call: Callable[[], object]) -> float:
    before = sum(os.times()[:2])
    call()
    return sum(os.times()[:2]) - before


MEASURES: dict[str, Callable[[], Iterator[str]]] = {"noise": noise, "words": words, "loudness": loud, "who": who}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(MEASURES), choices=list(MEASURES), help="which measures")
    options = parser.parse_args()
    for problem in materials.get():
        print(f"not here: {problem}")
    if len(cleaners()) == 1:
        print("not here: noisereduce, to compare with (`pip install noisereduce==3.0.3`)")
    if not materials.clips() or {one.name for one in materials.recordings()} < set(VOICES):
        sys.exit(f"{materials.FOLDER}: too little real speech to measure with")
    for name in options.only:
        for line in MEASURES[name]():
            print(f"{name}: {line}", flush=True)


if __name__ == "__main__":
    main()
