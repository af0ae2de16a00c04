"""Check what this machine has and lacks, and say what to do about it.

Each line is `ok`, `warn` (works, but you may want more) or `FAIL` (a stage would stop here); the exit code is 1 when
one fails. Nothing is loaded and nothing is changed: packages are asked for their versions, models looked for on disk,
and servers given a few seconds. With --verify, every file in DVC's cache and in the outputs is also read and compared
with its hash, which finds bit rot; a gigabyte takes seconds.
"""

from __future__ import annotations

import argparse
import configparser
import contextlib
import dataclasses
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from timbre import families, tracking
from timbre.asr import ctranslate2_weights
from timbre.audio import bandwidth, recording_sound
from timbre.commands.options import add_json
from timbre.core import params
from timbre.core.errors import DataError, ParamsError, SourceError, TrackingError, TranscriptError
from timbre.core.records import GO_ON, early_ending
from timbre.core.safe_text import print_json, redacted
from timbre.core.sections import VoiceParams, looks_like_hub
from timbre.project import known_words, prompts, sources, speakers, transcripts
from timbre.project.obstacles import obstacles
from timbre.project.sources import Source
from timbre.report.numbers import plural
from timbre.versions import repair, verify

EXAMPLES = [
    ("timbre doctor", "check Python, device, disk, models, DVC, MLflow"),
    ("timbre doctor --verify", "also read all that DVC keeps, and name damaged files"),
]
PACKAGES = ("torch", "transformers", "peft", "openai-whisper", "dvc", "mlflow")
FAMILIES = typing.get_args(typing.get_type_hints(VoiceParams)["family"])
PATIENCE = 4.0  # seconds for the hub's answer
GIB = 2**30
MOST = 20  # damaged files that are named
SOME = 4  # words that are named
TRAINING = Path("models/adapter/training.json")
SOURCES = Path("data/sources.yaml")


@dataclass(frozen=True)
class Finding:
    level: Literal["ok", "warn", "FAIL"]
    what: str
    text: str
    todo: str = ""


Findings = Iterator[Finding]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--verify", action="store_true", help="compare the cache and all outputs with their hashes")
    add_json(parser)


def command(args: argparse.Namespace) -> int:
    findings = (finding for check in (*CHECKS, *([whole] if args.verify else [])) for finding in check())
    if args.json:
        listed = list(findings)
        print_json([dataclasses.asdict(finding) for finding in listed])
        return int(any(finding.level == "FAIL" for finding in listed))
    failed = False
    for finding in findings:  # each as it is known: a server may take seconds
        failed |= finding.level == "FAIL"
        print(
            f"{finding.level:4}  {finding.what:12} {finding.text}"
            + (f"\n      → {finding.todo}" if finding.todo else "")
        )
    return int(failed)


def python() -> Findings:
    yield Finding("ok", "Python", f"{platform.python_version()}, {sys.prefix}")


def packages() -> Findings:
    installed, missing = {}, []
    for name in PACKAGES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if installed:
        yield Finding("ok", "packages", ", ".join(f"{name} {version}" for name, version in installed.items()))
    if missing:
        yield Finding("FAIL", "packages", f"not installed: {', '.join(missing)}", "`make` installs them into .venv")


def device() -> Findings:
    gpu = _gpu()
    if not gpu:
        small = Path(str(_params().get("voice", {}).get("base", ""))).is_dir()
        text = "no NVIDIA GPU; models run on the CPU"
        yield (
            Finding("ok", "device", text)
            if small
            else Finding(
                "warn", "device", text, "the tiny voice is fast enough so; train one of a billion parameters on a GPU"
            )
        )
    elif importlib.metadata.version("torch").endswith("+cpu"):
        yield Finding("warn", "device", f"{gpu}, which this torch cannot use", "install a torch built for CUDA")
    else:
        yield Finding("ok", "device", gpu)


def _gpu() -> str:
    if not shutil.which("nvidia-smi"):
        return ""
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def machine() -> Findings:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    text = f"{cores} cores, {memory:.0f} GiB memory"
    if memory < 3.5:
        yield Finding("warn", "machine", text, "training the tiny voice takes about 3 GiB; close what you can")
    else:
        yield Finding("ok", "machine", text)


def disk() -> Findings:
    free = shutil.disk_usage(".").free / GIB
    text = f"{free:.0f} GiB free here"
    if free < 1:
        yield Finding("FAIL", "disk", text, "the embedded voice needs 1 GiB; make room")
    elif free < 20:
        yield Finding("warn", "disk", text, "enough for the embedded voice; a large model takes 20 GiB and more")
    else:
        yield Finding("ok", "disk", text)


def settings() -> Findings:
    try:
        problems = params.problems(params.load())
    except ParamsError as error:
        problems = str(error).splitlines()
    for problem in problems:
        yield Finding("FAIL", "params.yaml", problem, "mend the key; every key is explained beside it")
    if not problems:
        yield Finding("ok", "params.yaml", "every key known, and in range")
        for obstacle in obstacles(params.read()):
            yield Finding("warn", "params.yaml", obstacle)


def recordings() -> Findings:
    try:
        declared = sources.read(SOURCES)
    except SourceError as error:
        for problem in str(error).splitlines():
            told, _, remedy = problem.partition("; ")
            yield Finding("FAIL", "sources", told, remedy or "mend the entry")
        return
    written = [path for source in declared if (path := _transcript(source)).exists()]
    said = f"{plural(len(declared), 'recording')} declared, {len(written)} with a transcript of yours"
    yield Finding("ok", "sources", said)
    for path in written:
        try:
            transcripts.read(path)
        except TranscriptError as error:
            for problem in str(error).splitlines():
                yield Finding("FAIL", "transcripts", problem, "mend the line; `segment` stops until then")
    for source in declared:
        if dull := bandwidth.problem(Path(f"data/speech/{source.id}.json")):
            yield Finding("warn", "recordings", dull, "look for a better recording")
    yield from _loudness([source.id for source in declared])


def _loudness(names: Sequence[str]) -> Findings:
    """Of the recordings that `chunk` has measured."""
    measured = {name: recording_sound.read(Path("data/speech"), name) for name in names}
    known = {name: sound.lufs for name, sound in measured.items() if sound.lufs is not None}
    if known:
        soft, loud = min(known, key=lambda name: known[name]), max(known, key=lambda name: known[name])
        said = f"the softest is {soft} with {known[soft]:.0f} LUFS, the loudest {loud} with {known[loud]:.0f} LUFS"
        if ranges := {name: sound.range for name, sound in measured.items() if sound.range is not None}:
            widest = max(ranges, key=lambda name: ranges[name])
            said += f"; {widest} varies most, by {ranges[widest]:.0f} LU"
        if above := {name: sound.snr for name, sound in measured.items() if sound.snr is not None}:
            noisiest = min(above, key=lambda name: above[name])
            said += f"; {noisiest} is the noisiest, its speech {above[noisiest]:.0f} dB above the rest"
        yield Finding("ok", "loudness", said)


def consents() -> Findings:
    """Of everybody who is heard: whose recording it is, and whoever has a line in it."""
    used: dict[str, list[str]] = {}
    try:
        for source in sources.read(SOURCES):
            for speaker in dict.fromkeys([source.speaker, *_speakers(_transcript(source))]):
                used.setdefault(speaker, []).append(source.id)
        problems = list(speakers.problems(speakers.read(), used))
    except SourceError as error:
        problems = [line for line in str(error).splitlines() if str(speakers.PATH) in line]  # the others are told above
    for problem in problems:
        yield Finding("FAIL", "speakers", problem, "`segment` stops until then")
    if used and not problems:
        yield Finding("ok", "speakers", f"{', '.join(used)}: consent given")


def _transcript(source: Source) -> Path:
    return Path(f"data/transcripts/{source.id}.tsv")


def _speakers(path: Path) -> tuple[str, ...]:
    try:
        return transcripts.read(path).speakers if path.exists() else ()
    except TranscriptError:  # told by `recordings`
        return ()


def voice() -> Findings:
    yield _model("voice model", "voice.base")
    name = str(_params().get("voice", {}).get("family", ""))
    if name in FAMILIES and (licence := families.limits(name)):
        todo = "`timbre release` and `timbre push voice` ask for --licence-understood"
        yield Finding("warn", "licence", str(licence), todo)


def trained() -> Findings:
    """Whether the adapter here is one that was not trained to its end."""
    try:
        training = json.loads(TRAINING.read_bytes())
    except (OSError, ValueError):  # not trained yet; what is damaged, `--verify` names
        return
    if isinstance(training, dict) and (ended := early_ending(training)):
        yield Finding("warn", "training", ended, GO_ON)


def encoder() -> Findings:
    yield _model("who speaks", "speaker.model")


def _model(title: str, key: str) -> Finding:
    section, _, name = key.partition(".")
    values = _params().get(section, {})
    model, revision = str(values.get(name, "")), values.get("revision")
    if Path(model).is_dir():
        return Finding("ok", title, model)
    if not looks_like_hub(model):
        return _missing(title, model)
    return _on_hub(title, key, model, revision)


def _missing(title: str, model: str) -> Finding:
    """Git can bring back only what lies in the repository."""
    bring = "" if Path(model).is_absolute() or ".." in Path(model).parts else f"`git checkout -- {model}`, or "
    return Finding("FAIL", title, f"{model} is not here", f"{bring}name another in params.yaml")


def _on_hub(title: str, key: str, name: str, revision: str | None) -> Finding:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str):
        return Finding("ok", title, f"{name}, in the hub's cache")
    try:
        get_hf_file_metadata(hf_hub_url(name, "config.json", revision=revision), timeout=PATIENCE)
    except GatedRepoError:
        return Finding(
            "FAIL",
            title,
            f"{name} is gated",
            f"accept its terms on https://huggingface.co/{name}, then `hf auth login`",
        )
    except RevisionNotFoundError:
        return Finding(
            "FAIL", title, f"{name} has no revision {revision}", f"mend {key.split('.')[0]}.revision in params.yaml"
        )
    except RepositoryNotFoundError:
        return Finding("FAIL", title, f"{name} is not on the hub", f"mend {key} in params.yaml, or `hf auth login`")
    except Exception as error:  # whatever the network is up to: the hub's client raises its transport's own errors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        text = redacted(f"{name} is neither here nor reachable ({reason})")
        return Finding("FAIL", title, text, "get online, or name a folder")
    return Finding("ok", title, f"{name}, on the hub; downloaded at the first use")


def listener() -> Findings:
    name = str(_params().get("whisper", {}).get("model", ""))
    if name.endswith(".pt") or "/" in name:
        there = Path(name).is_file() or ctranslate2_weights.is_folder(name)
        yield Finding("ok", "Whisper", name) if there else _missing("Whisper", name)
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "whisper"
    file = {"turbo": "large-v3-turbo", "large": "large-v3"}.get(name, name)
    if (cache / f"{file}.pt").is_file():
        yield Finding("ok", "Whisper", f"{name}, in {cache}")
    else:
        yield Finding("warn", "Whisper", f"{name} is not here yet", "openai-whisper downloads it at the first use")


def vocabulary() -> Findings:
    """Of models that know a few words only: whether the transcripts and prompts keep to them.

    A draft of other speech is in their words, too: there Whisper's probabilities tell.
    """
    spoken, foreign = list(_texts()), list(_foreign_drafts())
    yield from (Finding("warn", "words", line) for line in foreign)
    for known in known_words.configured():
        if unknown := known.unknown(" ".join(spoken)):
            text = f"{known.told}; yours have {len(unknown)} others, such as {', '.join(unknown[:SOME])}"
            yield Finding("warn", "words", text, known_words.REMEDY)
        elif not foreign:
            yield Finding("ok", "words", f"{known.told}, and those of your transcripts and prompts are among them")


def _foreign_drafts() -> Iterator[str]:
    if known := known_words.listener():
        with contextlib.suppress(SourceError):
            for source in sources.read(SOURCES):
                with contextlib.suppress(DataError):  # no draft yet, or a damaged one: `transcribe` tells it
                    draft = transcripts.read_draft(Path(f"data/drafts/{source.id}.json"))
                    if line := known.foreign(source.id, draft.confidences):
                        yield line


def _texts() -> Iterator[str]:
    with contextlib.suppress(SourceError):  # told by `recordings`
        for path in (path for source in sources.read(SOURCES) if (path := _transcript(source)).exists()):
            yield from (line.text for line in transcripts.readable_lines(path.read_bytes()) if line.flag != "drop")
    if prompts.PATH.exists():
        with contextlib.suppress(DataError):  # `generate` tells it
            yield from (prompt.text for prompt in prompts.read_prompts(prompts.PATH))


def versions() -> Findings:
    if not Path(".dvc/config").exists():
        yield Finding("FAIL", "DVC", "this is no DVC repository", "run this in the repository's root, or `dvc init`")
        return
    for path in repair.damaged(Path()):
        yield Finding("FAIL", "DVC", f"{path} is damaged; DVC starts no stage", "`timbre repair` makes it whole again")
    config = configparser.ConfigParser()
    config.read([".dvc/config", ".dvc/config.local"])
    remotes = [section for section in config.sections() if section.strip("'").startswith("remote")]
    if not remotes:
        todo = "`dvc remote add -d storage /somewhere/else`, then `dvc push`"
        yield Finding("warn", "DVC", "no remote; audio and adapters are on this machine only", todo)
    else:
        yield Finding("ok", "DVC", redacted(", ".join(config[section].get("url", section) for section in remotes)))


def store() -> Findings:
    uri = tracking.store_uri()
    if not uri.startswith(("http://", "https://")):
        path = Path(uri.removeprefix("sqlite:///"))
        exists = not uri.startswith("sqlite:///") or path.exists()
        yield Finding("ok", "MLflow", redacted(uri) if exists else f"{uri}, made by the first run")
        return
    try:
        tracking.probe(uri)
        yield Finding("ok", "MLflow", f"{redacted(uri)} answers")
    except TrackingError as error:
        yield Finding("FAIL", "MLflow", str(error))


def whole() -> Findings:
    """What `--verify` adds."""
    for what, verified in (("cache", verify.cache(Path())), ("outputs", verify.outputs(Path()))):
        for one in verified.damaged[:MOST]:
            yield Finding("FAIL", what, f"{one.path} {one.what}", one.todo)
        if (more := len(verified.damaged) - MOST) > 0:
            yield Finding("FAIL", what, f"and {more} more", "mend these, then ask again")
        if verified.unread:
            todo = "`dvc fetch` brings the lists of their files"
            yield Finding("warn", what, f"could not be checked: {', '.join(verified.unread)}", todo)
        if not verified.damaged:
            yield Finding("ok", what, f"{verified.files} files are what their hashes say")


def _params() -> dict[str, Any]:
    try:
        return params.load()
    except ParamsError:
        return {}  # told by `settings`


CHECKS: tuple[Callable[[], Findings], ...] = (
    python, packages, device, machine, disk, settings, recordings, consents, voice, trained, encoder, listener,
    vocabulary, versions, store,
)  # fmt: skip
