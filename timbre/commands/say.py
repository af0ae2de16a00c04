"""Speak a sentence with the voice as it is now.

Loads the base model that params.yaml names with the adapter in models/adapter, and writes FLAC, or WAV if the file's
name ends so. Temperature and the cap on the length are those of `generate` in params.yaml.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from timbre import params
from timbre.errors import DataError, ModelError

EXAMPLES = [
    ('timbre say "The night ferry waits."', "write say.flac"),
    ('timbre say --base "Hello." --out a.wav', "the base model, without the adapter"),
]
ADAPTER = Path("models/adapter")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", help="the sentence")
    parser.add_argument("--out", type=Path, default=Path("say.flac"), help="file to write (say.flac)")
    parser.add_argument("--seed", type=int, default=0, help="another one is another take (0)")
    parser.add_argument("--base", action="store_true", help="without the adapter")


def command(args: argparse.Namespace) -> int:
    text = " ".join(args.text.split())
    if not text:
        raise DataError("there is nothing to say; give a sentence in quotes")
    if args.out.suffix not in (".flac", ".wav"):
        raise DataError(f"{args.out}: name a file that ends in .flac or .wav")
    import soundfile

    from timbre import audio

    samples, rate, ended = speak(text, args.seed, None if args.base else ADAPTER)
    soundfile.write(args.out, audio.to_pcm(samples), rate, subtype="PCM_16")
    cut = "" if ended else "; cut by generate.cap_seconds"
    print(f"{args.out}: {len(samples) / rate:.1f} s{cut}")
    return 0


def speak(text: str, seed: int, adapter: Path | None) -> tuple[Any, int, bool]:
    """Samples, their rate in Hz, and whether the voice ended by itself."""
    from timbre import families

    voice = params.read("voice", families.Params)
    how = params.load()["generate"]
    if adapter and not (adapter / "adapter_config.json").is_file():
        raise ModelError(f"{adapter}: there is no tuned voice yet; `dvc repro train` makes it, --base speaks without")
    model = families.load(voice, adapter, how["precision"])
    seconds = how["cap_seconds"] + how["cap_seconds_per_character"] * len(text)
    request = families.Request(text, (), seed, seconds)
    (spoken,) = model.speak([request], families.Speaking(how["temperature"], how["top_k"], slots=1))
    return model.decode(spoken.codes), model.sample_rate, spoken.ended
