"""Every way by which something from outside comes in, each with a good example that is then spoilt."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import soundfile

from tests.attack.harness import Entrance, root
from tests.attack.hostile import Hostile
from tests.support.git_histories import MORNING, NOON
from tests.support.git_history import Voice
from timbre import audio
from timbre.audio import flac_bytes
from timbre.commands import cli
from timbre.core import params
from timbre.diff.compare import compare
from timbre.diff.render import FORMATS, render
from timbre.diff.sections.page import Page
from timbre.families import lora
from timbre.project import glossary, permissions, prompts, sources, speakers, transcripts
from timbre.trace import text as trace_text
from timbre.tracking import probe
from timbre.training import checkpoint
from timbre.versions.dvc_outs import Outs
from timbre.versions.snapshot import Snapshot, open_snapshot
from timbre.versions.tables import VersionTables
from timbre.web.app import create_app
from timbre.web.booth import microphone_takes
from timbre.web.booth.recording_sessions import Booth
from timbre.web.booth.routes import booth_routes
from timbre.web.review.routes import review_routes
from timbre.web.review.transcripts_service import TranscriptsService

RATE = 16_000
TABLE = (
    "start\tend\tspeaker\tflag\ttext\n0.00\t1.50\tmarina\tok\tThe tide comes in.\n1.60\t3.00\tmarina\t\tThe boats go.\n"
)
CSV = "file_name,text,speaker\na.wav,The tide comes in.,ann\nb.wav,The boats go out.,ann\n"
LJSPEECH = "a|The tide comes in.|The tide comes in.\nb|The boats go out.\n"
SRT = "1\n00:00:00,000 --> 00:00:01,500\nThe tide comes in.\n\n2\n00:00:01,600 --> 00:00:02,900\nThe boats go.\n"
ABOUT = ["--speaker", "marina", "--language", "en", "--licence", "CC0-1.0", "--consent", "Ann, 2026-03-01"]
ADAPTER = {
    "peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": r".*(backbone_model)\.layers\.\d+\.(q|k)_proj",
    "use_rslora": True, "bias": "none", "rank_pattern": {}, "modules_to_save": None,
}  # fmt: skip
COMMANDS = (
    "trace", "diff", "log", "resolve", "replace", "accept", "remove", "summary", "estimate", "add", "import", "export",
    "report", "completion", "repair", "runs", "promote", "review",
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


class Project:
    """A small project with two versions, in which files are spoilt and then made good again."""

    def __init__(self, folder: Path) -> None:
        voice = Voice(folder / "a/b/c/project")  # deep, so that no ../ leads out of the folder
        self.root = voice.root
        voice.add("morning", MORNING)
        voice.commit("first")
        voice.add("noon", NOON)
        voice.wrong["ferry"] = 3
        voice.commit("second")
        sound = voice_like(3.0)
        for name in ("morning", "noon"):
            path = self.root / f"data/recordings/{name}.flac"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(flac_bytes(sound, RATE))
        (self.root / "data/glossary.txt").write_text("trellis\nMarlow # a name\n")
        (self.root / "data/prompts.tsv").write_text("id\tkind\ttext\nferry\tdomain\tThe ferry comes.\n")
        (self.root / "data/raw").mkdir()
        for name in ("morning", "noon"):
            (self.root / f"data/raw/{name}.flac").write_bytes(flac_bytes(sound, RATE))
            about = {"id": name, "speaker": "marina", "language": "en", "licence": "x", "consent": "y", "origin": "z",
                     "sha256": audio.sha256(sound), "sample_rate": RATE, "seconds": 3.0}  # fmt: skip
            (self.root / f"data/raw/{name}.json").write_text(json.dumps({"recording": about}))
        for name in ("a.wav", "b.wav"):
            soundfile.write(self.root / name, sound, RATE)
            for folder in ("lj/wavs", "folder"):
                (self.root / folder).mkdir(parents=True, exist_ok=True)
                shutil.copy(self.root / name, self.root / folder / name)

    @contextlib.contextmanager
    def with_file(self, name: str, content: bytes) -> Iterator[Path]:
        path = self.root / name
        before = path.read_bytes() if path.exists() else None
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True) if before is None else path.write_bytes(before)

    def text(self, name: str) -> str:
        return (self.root / name).read_text(encoding="utf-8")


def voice_like(seconds: float) -> np.ndarray:
    times = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * 220 * times) * (np.sin(2 * np.pi * times) > -0.5)).astype(np.float32)


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
        Entrance("requests", requests(project), 5),
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


class OtherBranch(Snapshot):
    """A commit in which somebody changed one file or several."""

    def __init__(self, good: Snapshot, changed: dict[str, bytes | None]) -> None:
        self._good, self._changed, self.name = good, changed, "theirs"

    def list(self, folder: str) -> list[str]:
        here = {path for path in self._good.list(folder) if self._changed.get(path, b"") is not None}
        return sorted(here | {path for path in self._changed if path.startswith(f"{folder}/")})

    def size(self, path: str) -> int | None:
        content = self.read(path)
        return None if content is None else len(content)

    def read(self, path: str) -> bytes | None:
        return self._changed[path] if path in self._changed else self._good.read(path)


class OtherOuts(Outs):
    """DVC's cache where objects were spoilt, too."""

    def __init__(self, where: Path, hostile: Hostile) -> None:
        super().__init__(where, remotes=False)
        self._hostile = hostile

    def _object(self, digest: str, path: str) -> bytes | None:
        content = super()._object(digest, path)
        if content and self._hostile.rng.random() < 0.3:
            return self._hostile.text(content.decode(errors="replace"))
        return content


BRANCH = ("dvc.lock", "dvc.yaml", "params.yaml", "data/sources.yaml", "data/speakers.yaml", "data/transcripts/noon.tsv",
          "reports/metrics.json")  # fmt: skip


def hostile_branch(project: Project, hostile: Hostile) -> None:
    from timbre.trace.facts import Trace
    from timbre.trace.follow import follow
    from timbre.trace.version import TracedVersion

    with open_snapshot(project.root, "HEAD~1") as before, open_snapshot(project.root, "HEAD") as head:
        changed: dict[str, bytes | None] = {}
        for path in hostile.rng.sample(BRANCH, hostile.rng.randint(1, 3)):
            good = (head.read(path) or b"").decode()
            if path.endswith((".lock", ".json")) and hostile.rng.random() < 0.6:
                changed[path] = json.dumps(hostile.values(json.loads(good))).encode()
            else:
                changed[path] = hostile.text(good)
        if hostile.rng.random() < 0.1:
            changed[f"data/transcripts/{hostile.piece()[:100]}.tsv"] = hostile.text(TABLE)
        theirs, outs = OtherBranch(head, changed), OtherOuts(project.root, hostile)
        if hostile.rng.random() < 0.3:
            version = TracedVersion(theirs, outs, head)
            found = follow(version, hostile.rng.choice(("adapter", "noon", "marina", "tuned-ferry-0")))
            print(trace_text.draw(Trace(None, 0, found, (), (), version.gaps()), True, None))
        else:
            report = compare(VersionTables(before, outs), VersionTables(theirs, outs), remote=False)
            print(render(Page(report), hostile.rng.choice([form for form in FORMATS if form != "html"]), False))


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


@contextlib.contextmanager
def unchanged(*paths: Path) -> Iterator[None]:
    before = [path.read_bytes() for path in paths]
    try:
        yield
    finally:
        for path, content in zip(paths, before, strict=True):
            path.write_bytes(content)


def arguments(hostile: Hostile) -> None:
    command = hostile.rng.choice(COMMANDS)
    count = hostile.rng.randint(0, 4)
    given = [hostile.argument(*(FLAGS if hostile.rng.random() < 0.4 else WORDS)) for _ in range(count)]
    if command == "review":
        given += ["--port", hostile.rng.choice(("x", "-1", "70000", "1e3"))]  # none that can be listened on
    owned = [Path(f"data/{name}") for name in ("sources.yaml", "speakers.yaml", "transcripts/noon.tsv")]
    with unchanged(*owned):
        cli.execute([command, *given])


PATHS = (
    "/api/recordings", "/api/recording/noon", "/api/digest/noon", "/api/offers", "/api/peaks/noon", "/api/sound/noon",
    "/audio/noon", "/api/booth", "/api/booth/new", "/api/find", "/api/replace", "/api/replace/1", "/take/new/abc",
    "/api/dismissed/noon", "/api/finish/new", "/api/take/new/abc", "/api/untake/new/abc",
)  # fmt: skip
BODIES: dict[str, Any] = {
    "/api/recording/noon": {"digest": "", "lines": [[0.0, 1.0, "marina", "", "A"]]},
    "/api/dismissed/noon": {"draft": "a", "names": ["a"]},
    "/api/find": {"old": "fish", "new": "bread", "ignore_case": False},
    "/api/replace": {"old": "fish", "new": "bread", "ignore_case": False, "digests": {"noon": ""}},
    "/api/replace/1": {"redo": False, "open": "noon"},
    "/api/booth/new": {"speaker": "marina", "language": "en", "licence": "x", "sentences": "One.", "consent": None},
    "/api/finish/new": {}, "/api/untake/new/abc": {},
}  # fmt: skip


def requests(project: Project) -> Callable[[Hostile], None]:
    app = create_app([*review_routes(TranscriptsService()), *booth_routes(Booth(), {})])

    def attack(hostile: Hostile) -> None:
        path = hostile.rng.choice(PATHS)
        body = b""
        kind = b"application/json"
        if path in BODIES and hostile.rng.random() < 0.9:
            good = BODIES[path]
            body = json.dumps(hostile.values(good) if hostile.rng.random() < 0.8 else good).encode()
            body = hostile.text(body.decode()) if hostile.rng.random() < 0.2 else body
        elif path.startswith("/api/take"):
            made = io.BytesIO()
            soundfile.write(made, voice_like(hostile.rng.choice((0.008, 1.0))), RATE, format="WAV")
            body, kind = hostile.binary(made.getvalue()), b"audio/wav"
        if hostile.rng.random() < 0.3:
            path = f"{path.rpartition('/')[0]}/{hostile.piece()[:3000]}"
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        if hostile.rng.random() < 0.1:
            headers.append(
                (
                    hostile.rng.choice((b"range", b"content-length", b"content-type")),
                    hostile.piece().encode(errors="replace")[:200],
                )
            )
        with unchanged(Path("data/sources.yaml"), Path("data/speakers.yaml"), Path("data/transcripts/noon.tsv")):
            status = asked(_ask(app, "POST" if body else "GET", path, headers, body))
        assert status < 500, f"{path} answered {status}"

    return attack


def asked(question: Coroutine[Any, Any, int]) -> int:
    """In a thread of its own: a test of a page, run before in this process, leaves a loop running in this one."""
    answers: list[int | BaseException] = []

    def ask() -> None:
        try:
            answers.append(asyncio.run(question))
        except BaseException as error:  # raised again where it is seen
            answers.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join()
    if isinstance(answers[0], BaseException):
        raise answers[0]
    return answers[0]


async def _ask(app: Any, method: str, path: str, headers: list[tuple[bytes, bytes]], body: bytes) -> int:
    status = 0
    sent = False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if sent:
            return {"type": "http.disconnect"}
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]

    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
             "raw_path": quote(path, errors="replace").encode(), "root_path": "", "query_string": b"",
             "headers": headers, "scheme": "http", "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1)}  # fmt: skip
    await app(scope, receive, send)
    return status
