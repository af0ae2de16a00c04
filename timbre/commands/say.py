"""Speak a text with the current voice, or another version of it, to a file, a player or a pipe.

Loads the base model that params.yaml names with the adapter in models/adapter, or what --voice names. A file's ending
says its format: .flac, .wav, .mp3 or .opus; a pipe and a player get WAV as it is made. Temperature and the cap on the
length are those of `generate`. Every sound is marked as synthetic. `--lines FILE` speaks a file of lines into a folder,
each once: a line that is there already, by the same voice, is not spoken again.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from timbre.commands.place import given_path, given_place
from timbre.core.errors import DataError
from timbre.core.running import undisturbed
from timbre.core.safe_text import harmless, warn
from timbre.synthesis.sinks import FORMATS, PIPE, Write, found_player, sink

if TYPE_CHECKING:
    from timbre.audio.emitting import Mark
    from timbre.families import Audio, Turn, Voice

EXAMPLES = [
    ('timbre say "The night ferry waits."', "write say.flac"),
    ('timbre say --clone --play "Hello."', "play it at once, cloning the reference clip: the best quality"),
    ('timbre say "Hello." --out - | aplay', "write a WAV to a pipe while it is spoken"),
    ('timbre say --voice champion "Hello." --out a.mp3', "with the version that people use"),
    ('timbre say --speaker ann --clone "Hello."', "as one of several speakers that the voice learnt"),
    ("timbre say --lines lines.tsv --out folder", "a file for each line: text, or id, text, seed and voice"),
]
FILE = Path("say.flac")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", nargs="?", help="text to speak, of any length; [pause:1s] is a second of silence")
    to = parser.add_mutually_exclusive_group()
    to.add_argument(
        "--out", type=given_path, default=FILE, help=f"file to write ({FILE}), - is a pipe; folder of --lines"
    )
    to.add_argument("--play", action="store_true", help="play it with aplay, ffplay, mpv or sox")
    parser.add_argument("--lines", type=given_path, metavar="FILE", help="speak each line, or row of a TSV, into --out")
    parser.add_argument("--clone", action="store_true", help="let the voice hear the reference clip first")
    parser.add_argument("--seed", type=int, default=0, help="random seed; another seed gives another take (0)")
    parser.add_argument("--base", action="store_true", help="use the base model without the adapter")
    parser.add_argument(
        "--voice",
        type=given_place,
        metavar="VERSION",
        help="champion, candidate, a commit, a run, or a folder with an adapter",
    )
    parser.add_argument("--speaker", metavar="NAME", help="which of the speakers that the voice learnt")
    parser.add_argument("--speed", type=float, default=1.0, help="0.25 to 4 times as fast, at the same pitch (1)")
    parser.add_argument("--language", default="en", help="language of the text (en)")
    parser.add_argument("--show-text", action="store_true", help="print the text as it is spoken, and speak nothing")
    parser.add_argument("--as-written", action="store_true", help="do not spell out numbers, dates and abbreviations")
    parser.add_argument("--no-mark", metavar="REASON", help="do not mark the sound; the reason is written to the log")


def command(args: argparse.Namespace) -> int:
    check(args)
    if args.lines:
        from timbre.synthesis.spoken_lines import read_lines, speak_lines

        voices = Voices(args)
        print(speak_lines(read_lines(args.lines), args.out, voices, args.language, args.speed, not args.as_written))
        return 0
    text = as_asked(args.text, args)
    if args.show_text:
        print(text)
        return 0
    player = found_player() if args.play else None
    return speak(args, text, player)


def as_asked(text: str, args: argparse.Namespace) -> str:
    from timbre.synthesis.written_text import spelled_out

    return text if args.as_written else spelled_out(text, args.language)


class LoadedVoice(NamedTuple):
    voice: Voice
    mark: Mark
    reference: tuple[Turn, ...]
    like: Turn | None  # who speaks, and in which language, where there is no reference


class Voices:
    """The voice that is asked for, loaded when it is needed; the last one stays."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args

    def get(self, name: str | None = None, speaker: str | None = None, *, speaking: bool = False) -> LoadedVoice:
        """`speaking` is as of `families.load_once`."""
        from timbre import synthesis
        from timbre.exchange import ready_voice, voice_versions
        from timbre.exchange.model_cards import mark_of
        from timbre.exchange.speaker_choice import spoken_as

        speaker = speaker or self.args.speaker
        name = name or self.args.voice or (voice_versions.BASE if self.args.base else None)
        if name is None:
            synthesis.check_tuned(synthesis.ADAPTER)
        version = voice_versions.find(str(synthesis.ADAPTER) if name is None else name)
        reference, like = spoken_as(version, self.args.language, speaker, clone=self.args.clone)
        if name is None:
            voice = synthesis.load(synthesis.ADAPTER, speaking=speaking)
        else:
            voice = ready_voice.loaded(version, speaking=speaking)
        return LoadedVoice(voice, mark_of(version.key, self.args.no_mark), reference, like)


def speak(args: argparse.Namespace, text: str, player: tuple[str, ...] | None) -> int:
    with contextlib.ExitStack() as until_heard:
        until_heard.enter_context(undisturbed())
        return _spoken(args, text, player, until_heard.close)


def _spoken(args: argparse.Namespace, text: str, player: tuple[str, ...] | None, heard: Callable[[], None]) -> int:
    from timbre.audio.emitting import MarkedSound
    from timbre.core.params import read
    from timbre.synthesis.narration import Narration, manner_of, narrated, passages
    from timbre.synthesis.spoken_log import SpokenLog

    parts = passages(text, args.language)
    # a second sentence is spoken after the first one's codes, and these are heard by the rest of the model
    voice, mark, reference, like = Voices(args).get(speaking=len(parts) == 1)
    rate = voice.sample_rate
    warn_of_unknown_words(voice, " ".join(part.text for part in parts))
    manner = manner_of(
        voice, read().generate, seed=args.seed, reference=reference, like=like,
        whole=player is None and args.out != PIPE and len(parts) > 1,
    )  # fmt: skip
    script = Narration(parts, manner)
    pieces = MarkedSound(rate, mark, args.speed).pieces(narrated(voice, script))
    try:
        with sink(args.out, player, rate, mark.tags()) as write:
            performed = perform(pieces, write, heard)
    except BrokenPipeError:  # who listens has heard enough
        return 0
    more = {"unmarked": args.no_mark} if args.no_mark else {}
    SpokenLog().add(door="say", version=mark.version, key=None, text=text, seconds=performed.samples / rate, **more)
    name = player[0] if player else "" if args.out == PIPE else str(args.out)
    print(harmless(performed.line(name, rate)), file=sys.stderr if args.out == PIPE else sys.stdout)
    return 0


def warn_of_unknown_words(voice: Voice, text: str) -> None:
    unknown = getattr(voice, "unknown_words", None)
    if unknown and (words := unknown(text)):
        from timbre.project import known_words

        known = known_words.voice()
        more = f"; {known.told}: {known_words.REMEDY}" if known else ""
        warn(f"warning: this voice does not know {', '.join(words)}, and will spell or mumble them{more}")


def check(args: argparse.Namespace) -> None:
    from timbre.audio.stretching import TEMPOS

    slowest, fastest = TEMPOS
    if not slowest <= args.speed <= fastest:
        raise DataError(f"--speed: {args.speed} is not between {slowest:g} and {fastest:g}")
    if args.no_mark is not None and not args.no_mark.strip():
        raise DataError("--no-mark: give a reason; it stands in .timbre/spoken.jsonl")
    if args.lines:
        if args.text or args.play or args.out == FILE or args.out == PIPE:
            raise DataError("--lines FILE needs --out FOLDER, and no other text")
        return
    if not (args.text or "").strip():
        raise DataError("there is nothing to say; give a sentence in quotes")
    if args.show_text:
        return
    out = args.out
    if out == PIPE and sys.stdout.isatty():
        raise DataError("--out - gives sound, which a terminal cannot show; let a player follow, as in `… | aplay`")
    if out != PIPE and out.suffix not in FORMATS:
        *most, last = FORMATS
        raise DataError(f"{out}: name a file that ends in {', '.join(most)} or {last}")
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


def perform(
    pieces: Generator[Audio, None, bool], write: Write, heard: Callable[[], None] = lambda: None
) -> SpeakingSummary:
    """`heard` is called when there was sound."""
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
        heard()
