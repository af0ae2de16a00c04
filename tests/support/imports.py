"""Datasets of other people, made up, and what became of them: for the tests of `timbre import`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from tests.support.fake_outputs import voice
from timbre.audio import to_pcm
from timbre.commands import cli
from timbre.project import sources, transcripts

WHO = ["--language", "en", "--licence", "CC0-1.0", "--consent", "hers, by e-mail"]
ANN = ["--speaker", "ann", *WHO]
TEXTS = ['"The tide" comes in.', "The boats; go out!", "Zwölf Schiffe, 12 — é.", "And   back.", "#5 is the last one."]
Sound = tuple[np.ndarray, int]


def sounds(count: int, rate: int = 22_050) -> list[Sound]:
    return [(to_pcm(voice(0.7 + 0.137 * number, number)), rate) for number in range(count)]


def ljspeech(folder: Path, texts: Sequence[str] = TEXTS, rate: int = 22_050) -> list[Sound]:
    (folder / "wavs").mkdir(parents=True)
    made = sounds(len(texts), rate)
    for number, (samples, _) in enumerate(made):
        soundfile.write(folder / f"wavs/LJ-{number}.wav", samples, rate)
    rows = [f"LJ-{number}|as printed|{text}" for number, text in enumerate(texts)]
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return made


def wav(sound: Sound) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, *sound, format="WAV")
    return stream.getvalue()


def run(*arguments: str | Path) -> int:
    return cli.execute(["import", *map(str, arguments)])


def files() -> list[str]:
    return sorted(str(path) for path in Path("data").rglob("*") if path.is_file())


def back() -> list[tuple[str, str, bytes]]:
    """Speaker, text and samples of every line of every recording, cut by the transcript's times."""
    found = []
    for source in sources.read(Path("data/sources.yaml")):
        samples, rate = soundfile.read(source.origin, dtype="int16")
        for line in transcripts.read(Path(f"data/transcripts/{source.id}.tsv"), len(samples) / rate).lines:
            start, end = round(line.start * rate), round(line.end * rate)
            found.append((line.speaker, line.text, heard((samples[start:end], rate))))
    return found


def heard(sound: Sound) -> bytes:
    """Without the silence behind it: a line ends up to a hundredth of a second after its last sample."""
    return bytes(np.trim_zeros(sound[0], "b").tobytes())
