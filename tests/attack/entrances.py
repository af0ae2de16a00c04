"""Every way by which something from outside comes in, each with a good example that is then spoilt."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from tests.attack.branches import hostile_branch
from tests.attack.harness import Entrance, root
from tests.attack.hostile import Hostile
from tests.attack.pages import requests
from tests.attack.project import RATE, TABLE, Project, unchanged, voice_like
from tests.attack.voices import checkpoint_of, listening_requests, speech_requests, traced
from tests.support.listening import sitting
from timbre import audio
from timbre.commands import cli
from timbre.core import params
from timbre.families import lora
from timbre.project import glossary, listening_tests, opinions, permissions, prompts, sources, speakers, transcripts
from timbre.tracking import probe
from timbre.training import checkpoint
from timbre.web.booth import microphone_takes

CSV = "file_name,text,speaker\na.wav,The tide comes in.,ann\nb.wav,The boats go out.,ann\n"
LJSPEECH = "a|The tide comes in.|The tide comes in.\nb|The boats go out.\n"
LIST = "wavs/a.wav|ann|EN|The tide comes in.\nwavs/b.wav|ann|EN|The boats go out.\n"
OPINIONS = (
    "test\ttrial\tkind\tprompt\tfirst\tfirst_sound\tsecond\tsecond_sound\tanswer\tseconds\n"
    f"{'0a' * 6}\t1\tab\tferry\ttuned_clone@{'a1' * 8}\t{'b2' * 8}\tbase@{'c3' * 8}\t{'d4' * 8}\tfirst\t2.5\n"
    f"{'0a' * 6}\t2\tabx\tferry\ttuned_clone@{'a1' * 8}\t{'b2' * 8}\tbase@{'c3' * 8}\t{'d4' * 8}\tright\t4\n"
    f"{'0a' * 6}\t3\trating\tferry\ttuned_clone@{'a1' * 8}\t{'b2' * 8}\t\t\t80\t4.25\n"
)
SRT = "1\n00:00:00,000 --> 00:00:01,500\nThe tide comes in.\n\n2\n00:00:01,600 --> 00:00:02,900\nThe boats go.\n"
ABOUT = ["--speaker", "marina", "--language", "en", "--licence", "CC0-1.0", "--consent", "Ann, 2026-03-01"]
ADAPTER = {
    "peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": r".*(backbone_model)\.layers\.\d+\.(q|k)_proj",
    "use_rslora": True, "bias": "none", "rank_pattern": {}, "modules_to_save": None,
}  # fmt: skip
COMMANDS = (
    "trace", "diff", "log", "resolve", "replace", "accept", "remove", "summary", "estimate", "add", "import", "export",
    "report", "completion", "repair", "runs", "promote", "review", "compare", "coverage", "keys", "release", "say",
    "hooks", "serve",
)  # fmt: skip
FLAGS = ("--json", "--help", "--rev", "--history", "--every", "--local", "--check", "--format", "-n", "--all", "--id",
         "--write", "--glossary", "--ignore-case", "--dry-run", "--theirs", "--as", "--name", "--encoding")  # fmt: skip
WORDS = (
    "morning",
    "noon",
    "marina",
    "adapter",
    "HEAD",
    "HEAD~1",
    "main",
    "tuned-ferry-0",
    "3",
    "a.csv",
    "pier",
    "json",
)


def entrances(folder: Path) -> list[Entrance]:
    project = Project(folder)
    os.chdir(project.root)
    good_params = (root() / "params.yaml").read_text(encoding="utf-8")
    short_params = "\n".join(
        line for line in good_params.splitlines() if line.strip() and not line.strip().startswith("#")
    )
    return [
        Entrance("params", of_file(project, "params.yaml", short_params, lambda path: params.read(path)), 3),
        Entrance("sources", of_file(project, "data/sources.yaml", None, lambda path: sources.read(path)), 3),
        Entrance("sources-commands", of_command(project, "data/sources.yaml", ["accept", "--all"], ["remove", "noon"])),
        Entrance("speakers", of_file(project, "data/speakers.yaml", SPEAKERS, lambda path: speakers.read(path)), 2),
        Entrance("permissions", of_file(project, "data/speakers.yaml", None, lambda _: _allowed())),
        Entrance(
            "transcripts",
            of_file(project, "data/transcripts/noon.tsv", TABLE, lambda path: transcripts.read(path, 3.0)),
            3,
        ),
        Entrance(
            "replace",
            of_command(project, "data/transcripts/noon.tsv", ["replace", "fish", "bread"], ["replace", "--glossary"]),
            2,
        ),
        Entrance("prompts", of_file(project, "data/prompts.tsv", None, lambda path: prompts.read_prompts(path)), 2),
        Entrance("glossary", of_file(project, "data/glossary.txt", None, lambda path: glossary.terms(path))),
        Entrance("drafts", of_json(project, "data/drafts/new.json", DRAFT, lambda path: transcripts.read_draft(path))),
        Entrance("ljspeech", of_import(project, "lj/metadata.csv", LJSPEECH), 2),
        Entrance("audiofolder", of_import(project, "folder/metadata.csv", CSV), 2),
        Entrance("subtitles", of_import(project, "a.srt", SRT), 2),
        Entrance("vtt", of_import(project, "a.vtt", "WEBVTT\n\n" + SRT.replace(",", "."))),
        Entrance(
            "whisper-json",
            of_import(project, "a.json", json.dumps({"segments": [{"start": 0, "end": 1, "text": "A"}]})),
        ),
        Entrance("branch", lambda hostile: hostile_branch(project, hostile), 4),
        Entrance("state", state, 1),
        Entrance("adapter", adapter, 2),
        Entrance("sound", lambda hostile: sound_file(project, hostile), 3),
        Entrance("addresses", addresses, 2),
        Entrance("arguments", arguments, 4),
        Entrance("requests", requests(), 5),
        Entrance("opinions", of_file(project, "data/opinions/ann.tsv", OPINIONS, lambda _: opinions.read()), 2),
        Entrance("answers", of_answers(project), 2),
        Entrance("listening-requests", listening_requests()),
        Entrance("coverage", of_command(project, "data/prompts.tsv", ["coverage"], ["coverage", "--json"])),
        Entrance("sentences", of_command(project, "next.txt", ["coverage", "--candidates", "next.txt"])),
        Entrance("training-list", of_import(project, "gs/train.list", LIST), 2),
        Entrance("speech-requests", speech_requests, 3),
        Entrance("xtts", checkpoint_of("xtts")),
        Entrance("sovits", checkpoint_of("sovits")),
        Entrance("traced-sound", traced(project)),
    ]


SPEAKERS = (
    "speakers:\n  marina:\n    name: Marina\n    consent:\n      by: Marina\n"
    "      when: 2026-03-01\n      for: a voice\n      evidence: null\n"
)
DRAFT = {"audio_sha256": "a", "segments": [{"start": 0.0, "end": 1.0, "text": "A", "words": [{"probability": 0.5}]}]}


def _allowed() -> None:
    allowed = permissions.Permissions()
    allowed.check({"marina": ["noon"]}, taking_part=True)
    allowed.holds_barred_voice("noon", 0.0, 1.0)


def of_file(project: Project, name: str, good: str | None, read: Callable[[Path], object]) -> Callable[[Hostile], None]:
    def attack(hostile: Hostile) -> None:
        content = hostile.text(project.text(name) if good is None else good)
        with project.with_file(name, content):
            print(read(Path(name)))

    return attack


def of_json(project: Project, name: str, good: Any, read: Callable[[Path], object]) -> Callable[[Hostile], None]:
    def attack(hostile: Hostile) -> None:
        with project.with_file(name, json.dumps(hostile.values(good)).encode()):
            print(read(Path(name)))

    return attack


def of_command(project: Project, name: str, *commands: list[str]) -> Callable[[Hostile], None]:
    def attack(hostile: Hostile) -> None:
        with project.with_file(name, hostile.text(project.text(name))):
            cli.execute(hostile.rng.choice(commands))

    return attack


def of_import(project: Project, name: str, good: str) -> Callable[[Hostile], None]:
    settings = (root() / "params.yaml").read_bytes()

    def attack(hostile: Hostile) -> None:
        with project.with_file("params.yaml", settings), project.with_file(name, hostile.text(good)):
            which = ["--recording", "noon"] if name.endswith((".srt", ".vtt", ".json")) else ["--name", "new"]
            where = name.partition("/")[0]  # of a dataset, its folder
            cli.execute(["import", where, "--dry-run", *which, *([] if "--recording" in which else ABOUT)])

    return attack


def of_answers(project: Project) -> Callable[[Hostile], None]:
    """A file that a listener sent back, and the plan of its test."""
    test = sitting().test
    plan = listening_tests.save(test)
    rows = "".join(f"{number}\tfirst\t4.2\n" for number in range(1, len(test.screens) + 1))
    answers = f"# timbre answers {test.id} bea\ntrial\tanswer\tseconds\n{rows}"
    written = plan.read_text(encoding="utf-8")

    def attack(hostile: Hostile) -> None:
        plans = json.dumps(hostile.values(json.loads(written))).encode() if hostile.rng.random() < 0.5 else None
        sent = answers.encode() if plans else hostile.text(answers)
        try:
            with project.with_file(str(plan), plans or written.encode()), project.with_file("sent.tsv", sent):
                cli.execute(["compare", "--take", "sent.tsv"])
        finally:
            for path in Path("data/opinions").glob("*.tsv"):
                path.unlink()

    return attack


def state(hostile: Hostile) -> None:
    import torch

    made = io.BytesIO()
    good: Any = {"state": {"step": 3}, "weights": {"a": torch.zeros(2)}, "optimisers": []}
    odd = hostile.rng.choice((good, good, [], {"state": 1, "weights": 2, "optimisers": 3}, {"state": {"x": 1}} | good))
    torch.save(odd, made)
    path = Path("state.pt")
    path.write_bytes(hostile.binary(made.getvalue()))
    try:
        checkpoint.read_state(path)
    finally:
        path.unlink()


SEARCHES = (
    "(a+)+$",
    "(.*)*x",
    r"(\w|\w)+!",
    ".*.*.*.*.*.*.*x",
    "(",
    "[" * 200,
    "(?:a?){30}a{30}",
    r"(.+)\1+x",
    "a{1,60000}{9}",
)


def adapter(hostile: Hostile) -> None:
    folder = Path("hostile-adapter")
    folder.mkdir(exist_ok=True)
    config = hostile.values(ADAPTER)
    if isinstance(config, dict) and hostile.rng.random() < 0.5:
        config["target_modules"] = hostile.rng.choice(SEARCHES)
    content = json.dumps(config).encode() if hostile.rng.random() < 0.7 else hostile.text(json.dumps(ADAPTER))
    (folder / "adapter_config.json").write_bytes(content)
    (folder / "adapter_model.safetensors").touch()
    lora.check_config(folder)
    names = json.loads(content)["target_modules"]
    if isinstance(names, str):
        re.fullmatch(names, "a" * 40 + ".backbone_model.layers.11.self_attn.q_proj" * 2)


def sound_file(project: Project, hostile: Hostile) -> None:
    rate = hostile.rng.choice((RATE, RATE, 48_000, 8_000, 700_000, 1, 192_000))
    samples = voice_like(hostile.rng.choice((0.0, 0.008, 0.5, 2.0)))
    kinds = {"WAV": rate, "FLAC": min(rate, 655_350), "MP3": 48_000}
    kind = hostile.rng.choice(list(kinds))
    made = io.BytesIO()
    with contextlib.suppress(soundfile.LibsndfileError):
        soundfile.write(made, np.stack([samples] * hostile.rng.choice((1, 1, 2, 5)), 1), kinds[kind], format=kind)
    content = made.getvalue() if hostile.rng.random() < 0.2 or not made.getvalue() else hostile.binary(made.getvalue())
    if hostile.rng.random() < 0.6:
        taken, own = microphone_takes.read(content)
        microphone_takes.measure(taken, own, "The tide comes in.")
        return
    with project.with_file(f"x.{kind.lower()}", content) as path:
        try:
            audio.to_flac(path, Path("y.flac"), name="x", max_seconds=3600)
        finally:
            Path("y.flac").unlink(missing_ok=True)


def addresses(hostile: Hostile) -> None:
    address = hostile.text("https://user@example.org:8080/a/talk.mp3?v=1#t").decode("utf-8", "surrogateescape")
    match hostile.rng.randrange(3):
        case 0:
            entry = {"id": "x", "url": address, "speaker": "ann", "language": "en", "licence": "x", "consent": "y"}
            print(sources.parse(json.dumps([entry]), "s.yaml"))
        case 1:
            with unchanged(Path("data/sources.yaml")):
                cli.execute(["add", f"https://{address.replace(chr(0), '')}", *ABOUT])
        case 2:
            probe(f"http://[::1]:1/{address}"[: hostile.rng.choice((8, 12, 40))])


def arguments(hostile: Hostile) -> None:
    command = hostile.rng.choice(COMMANDS)
    count = hostile.rng.randint(0, 4)
    given = [hostile.argument(*(FLAGS if hostile.rng.random() < 0.4 else WORDS)) for _ in range(count)]
    if command in ("review", "compare", "serve"):
        given += ["--port", hostile.rng.choice(("x", "-1", "70000", "1e3"))]  # none that can be listened on
    owned = [Path(f"data/{name}") for name in ("sources.yaml", "speakers.yaml", "transcripts/noon.tsv")]
    with unchanged(*owned):
        cli.execute([command, *given])
