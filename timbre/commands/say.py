"""Speak a sentence with the current voice, to a file, a player or a pipe.

Loads the base model that params.yaml names with the adapter in models/adapter. Files are FLAC, or WAV if the name ends
so; a pipe and a player get WAV as it is made. Temperature and the cap on the length are those of `generate`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from timbre.commands.place import given_path
from timbre.core.errors import DataError
from timbre.synthesis.sinks import PIPE, Write, found_player, sink

if TYPE_CHECKING:
    from timbre.families import Audio

EXAMPLES = [
    ('timbre say "The night ferry waits."', "write say.flac"),
    ('timbre say --clone --play "Hello."', "play it at once, cloning the reference clip: the best quality"),
    ('timbre say "Hello." --out - | aplay', "write a WAV to a pipe while it is spoken"),
    ('timbre say --base "Hello." --out a.wav', "the base model, without the adapter"),
]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", help="sentence to speak")
    to = parser.add_mutually_exclusive_group()
    to.add_argument("--out", type=given_path, default=Path("say.flac"), help="file to write (say.flac); - is a pipe")
    to.add_argument("--play", action="store_true", help="play it with aplay, ffplay, mpv or sox")
    parser.add_argument("--clone", action="store_true", help="let the voice hear the reference clip first")
    parser.add_argument("--seed", type=int, default=0, help="random seed; another seed gives another take (0)")
    parser.add_argument("--base", action="store_true", help="use the base model without the adapter")


def command(args: argparse.Namespace) -> int:
    text = " ".join(args.text.split())
    check(text, args.out)
    player = found_player() if args.play else None
    from timbre import synthesis

    context = synthesis.reference_clip() if args.clone else ()
    voice = synthesis.load(None if args.base else synthesis.ADAPTER)
    pieces = synthesis.say(voice, text, seed=args.seed, context=context)
    try:
        with sink(args.out, player, voice.sample_rate) as write:
            told = perform(pieces, write)
    except BrokenPipeError:  # who listens has heard enough
        return 0
    name = player[0] if player else "" if args.out == PIPE else str(args.out)
    print(told.line(name, voice.sample_rate), file=sys.stderr if args.out == PIPE else sys.stdout)
    return 0


def check(text: str, out: Path) -> None:
    if not text:
        raise DataError("there is nothing to say; give a sentence in quotes")
    if out == PIPE and sys.stdout.isatty():
        raise DataError("--out - gives sound, which a terminal cannot show; let a player follow, as in `… | aplay`")
    if out != PIPE and out.suffix not in (".flac", ".wav"):
        raise DataError(f"{out}: name a file that ends in .flac or .wav")
    if not out.parent.is_dir():
        raise DataError(f"{out}: there is no folder {out.parent}")


class SpeakingSummary(NamedTuple):
    """How a sentence went."""

    samples: int
    first: float  # seconds until there was sound
    took: float  # seconds of computing, without those in which a player or disk was waited for
    ended: bool  # by itself, not by the cap

    def line(self, name: str, rate: int) -> str:
        seconds = self.samples / rate
        factor = f", {self.took / seconds:.2f} of real time" if seconds else ""
        cut = "" if self.ended else "; cut by generate.cap_seconds"
        begun = f"spoken in {self.took:.1f} s{factor}, first sound after {self.first:.2f} s{cut}"
        return f"{name or 'sound'}: {seconds:.1f} s, {begun}"


def perform(pieces: Generator[Audio, None, bool], write: Write) -> SpeakingSummary:
    samples, first, took = 0, 0.0, 0.0
    while True:
        began = time.perf_counter()
        try:
            piece = next(pieces)
        except StopIteration as end:
            return SpeakingSummary(samples, first, took + time.perf_counter() - began, end.value)
        took += time.perf_counter() - began
        first = first or took
        samples += len(piece)
        write(piece)
