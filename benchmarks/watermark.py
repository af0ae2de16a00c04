"""How well the mark in the sound is found again, and what it costs: on the demo's own samples.

    dvc pull                           # or `make`
    python -m benchmarks.watermark

Marks samples of `tuned_clone` of 2 s and more, treats them as sounds are treated on their way, and looks for the mark.
A mark is named where its payload is read whole; it is found where it is there without doubt, be it readable or not, so
that it can be compared with known versions. False alarms are looked for in the same samples unmarked, treated alike,
and in recordings of other voices. Whisper and the speaker encoder of params.yaml hear the samples with the mark and
without.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import soundfile
import soxr
from tqdm import tqdm

from benchmarks import table
from benchmarks.table import ResultTable, TimedRow
from timbre import asr, audio
from timbre.audio import Samples
from timbre.audio.stretching import Stretcher
from timbre.audio.watermark import detect, marked
from timbre.core.params import read
from timbre.core.records import Sample, from_json
from timbre.evaluation import speaker_encoder, word_errors
from timbre.evaluation.speaker_encoder import KnownVoices, centre

ROOT = Path(__file__).parents[1]
PAYLOAD = "d3979b06"
SHORTEST = 2.0  # seconds of a sample
RATE = 16_000  # Hz
WIDE = 24_000  # Hz, of most voices


def main() -> None:
    table.run("watermark", __doc__, arguments, measure)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--samples", type=int, default=16)


def measure(options: argparse.Namespace) -> Iterator[ResultTable]:
    samples = list(chosen(options.samples))
    rows = []
    for name, treat in tqdm(TREATMENTS.items(), unit="treatment", leave=False, disable=None):
        rows.append(treated(name, treat, [sound for _, sound in samples]))
    wide = [np.asarray(soxr.resample(sound, RATE, WIDE), np.float32) for _, sound in samples]
    rows.append(treated("spoken at 24 kHz, then at 16 kHz", narrowed, wide, WIDE))
    others = [audio.read(path, RATE)[0] for path in sorted((ROOT / "models/tiny/voices").rglob("*.flac"))]
    began = time.perf_counter()
    false = sum(detect(sound, RATE) is not None for sound in others)
    rows.append(TimedRow("recordings of other voices", [time.perf_counter() - began], extra={"sounds": len(others),
                    "false alarms": str(false)}))  # fmt: skip
    yield ResultTable(
        f"{len(samples)} samples of the demo",
        rows,
    )
    yield ResultTable("the same samples", list(heard(samples)))


def chosen(most: int) -> Iterator[tuple[Sample, Samples]]:
    for path in sorted((ROOT / "reports/samples").glob("tuned_clone-*.json")):
        sample = from_json(path.read_text(encoding="utf-8"), Sample, str(path))
        if sample.seconds >= SHORTEST and most > 0:
            most -= 1
            yield sample, audio.read(path.with_suffix(".flac"), RATE)[0]


def treated(name: str, treat: Callable[[Samples], Samples], sounds: list[Samples], rate: int = RATE) -> TimedRow:
    """`rate` is that of the sounds when they are marked; treated, they have RATE."""
    named, found, false, began = 0, 0, 0, time.perf_counter()
    for sound in sounds:
        mark = detect(treat(marked(sound, PAYLOAD, rate)), RATE)
        named += mark is not None and mark.payload == PAYLOAD
        found += mark is not None
        false += detect(treat(sound), RATE) is not None
    extra: dict[str, float | str] = {
        "sounds": len(sounds), "named": str(named), "found": str(found), "false alarms": str(false)
    }  # fmt: skip
    return TimedRow(name, [time.perf_counter() - began], extra=extra)


def coded(sound: Samples, codec: str, rate: str, suffix: str) -> Samples:
    """To a file of a lossy codec and back, by ffmpeg."""
    tool = imageio_ffmpeg.get_ffmpeg_exe()
    with tempfile.TemporaryDirectory() as folder:
        first, file, last = (Path(folder) / name for name in ("a.wav", f"b{suffix}", "c.wav"))
        first.write_bytes(wav(sound))
        for command in (
            ["-i", str(first), "-c:a", codec, "-b:a", rate, str(file)],
            ["-i", str(file), "-ar", str(RATE), "-ac", "1", str(last)],
        ):
            subprocess.run([tool, "-v", "error", *command], check=True, stdin=subprocess.DEVNULL)
        return audio.read(last, RATE)[0]


def wav(sound: Samples) -> bytes:
    target = io.BytesIO()
    soundfile.write(target, sound, RATE, format="WAV", subtype="PCM_16")
    return target.getvalue()


def resampled(sound: Samples, rate: int) -> Samples:
    return np.asarray(soxr.resample(soxr.resample(sound, RATE, rate), rate, RATE), np.float32)


def narrowed(sound: Samples) -> Samples:
    return np.asarray(soxr.resample(sound, WIDE, RATE), np.float32)


def noisy(sound: Samples) -> Samples:
    noise = np.random.default_rng(len(sound)).standard_normal(len(sound)).astype(np.float32)
    return sound + 0.1 * float(np.sqrt(np.mean(sound**2))) * noise  # 20 dB below the sound


def stretched(sound: Samples, speed: float) -> Samples:
    stretcher = Stretcher(speed, RATE)
    return np.concatenate((stretcher.feed(sound), stretcher.finish()))


def cropped(sound: Samples) -> Samples:
    start = (len(sound) - 2 * RATE) // 2
    return sound[start : start + 2 * RATE]


TREATMENTS: dict[str, Callable[[Samples], Samples]] = {
    "as it is": lambda sound: sound,
    "MP3, 64 kb/s": lambda sound: coded(sound, "libmp3lame", "64k", ".mp3"),
    "Opus, 24 kb/s": lambda sound: coded(sound, "libopus", "24k", ".opus"),
    "at 12 kHz": lambda sound: resampled(sound, 12_000),
    "noise at -20 dB": noisy,
    "2 s of it": cropped,
    "5 % faster": lambda sound: stretched(sound, 1.05),
    "5 % slower": lambda sound: stretched(sound, 0.95),
}


def heard(samples: list[tuple[Sample, Samples]]) -> Iterator[TimedRow]:
    """Words and similarity, as `evaluate` measures them."""
    settings = read(ROOT / "params.yaml")
    encoder = speaker_encoder.load(settings.speaker)
    clips = sorted((ROOT / "data/clips").glob("*.flac"))[:24]
    speaker = KnownVoices(centre([encoder.embed(audio.read(path, RATE)[0]) for path in clips]), {})
    for name, payload in (("without the mark", None), ("with the mark", PAYLOAD)):
        began = time.perf_counter()
        sounds = [marked(sound, payload, RATE) if payload else sound for _, sound in samples]
        texts = asr.texts(settings.whisper, sounds)
        readings = [word_errors.compare(sample.text, text) for (sample, _), text in zip(samples, texts, strict=True)]
        similarity = np.mean([speaker.similarity(encoder.embed(sound)) for sound in sounds])
        extra: dict[str, float | str] = {
            "word errors": f"{sum(one.errors for one in readings)} of {sum(one.words for one in readings)}",
            "similarity to the speaker": f"{similarity:.3f}",
        }
        yield TimedRow(name, [time.perf_counter() - began], extra=extra)


if __name__ == "__main__":
    main()
