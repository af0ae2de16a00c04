"""What comes in with voices: checkpoints of other projects, sounds that are traced, and requests to speak."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import soundfile

from tests.attack.hostile import Hostile
from tests.attack.pages import respond
from tests.attack.project import RATE, Project, voice_like
from tests.support.listening import sitting
from timbre.commands import cli
from timbre.synthesis.narration import passages
from timbre.synthesis.written_text import spelled_out
from timbre.web.app import create_app
from timbre.web.compare.routes import compare_routes
from timbre.web.serve import speech_request
from timbre.web.serve.errors import Refusal

REQUEST = {
    "model": "timbre", "voice": "ann", "input": "Dr. Smith paid $5 at 10:30. [pause:1s] It is 12 °C in no. 7!",
    "response_format": "wav", "speed": 1.0, "seed": 3, "temperature": 0.7, "language": "en", "normalize": True,
    "stream_format": "audio", "reference": "none",
}  # fmt: skip
KEY = "0123456789abcdef" * 4


class Foreign:
    """Runs a command where its pickle is loaded as Python does it."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch ran-foreign-code",)


@cache
def released(family: str) -> dict[str, bytes]:
    """The files of a small random model, by their names."""
    import tempfile

    from tests.support.tiny_sovits import random_sovits
    from tests.support.tiny_xtts import random_xtts

    with tempfile.TemporaryDirectory() as folder:
        place = (random_xtts if family == "xtts" else random_sovits)(Path(folder))
        files = sorted(path for path in place.rglob("*") if path.is_file())
        return {path.relative_to(place).as_posix(): path.read_bytes() for path in files}


def checkpoint_of(family: str) -> Callable[[Hostile], None]:
    def attack(hostile: Hostile) -> None:
        import torch

        folder = Path(f"hostile-{family}")
        files = dict(released(family))
        name = hostile.rng.choice([name for name in files if not name.endswith(".safetensors")])
        if name.endswith(".json") and hostile.rng.random() < 0.7:
            files[name] = json.dumps(hostile.values(json.loads(files[name]))).encode()
        elif name.endswith(".json"):
            files[name] = hostile.text(files[name].decode())
        elif hostile.rng.random() < 0.3:
            made = io.BytesIO()
            odd = hostile.values({"model": {"a": 1}, "weight": {}, "config": {"model": {}}})
            torch.save(hostile.rng.choice((Foreign(), {"model": Foreign()}, odd)), made)
            files[name] = made.getvalue()
        else:
            files[name] = hostile.binary(files[name])
        for file, content in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(content)
        _load(family, folder)
        assert not Path("ran-foreign-code").exists()

    return attack


def _load(family: str, folder: Path) -> None:
    from timbre.families.sovits import load as sovits
    from timbre.families.xtts import load as xtts

    if family == "xtts":
        xtts.from_folder(folder)
        xtts.stock_speakers(folder / "speakers_xtts.pth")
    else:
        sovits.load_base(str(folder), None)


@cache
def signed_sounds() -> dict[str, bytes]:
    """One of each container, with the words and the manifest of a version."""
    from timbre.audio import content_credentials

    content_credentials.make_keys("Ann")
    sounds = {}
    for kind in ("wav", "flac", "mp3"):
        made = io.BytesIO()
        with soundfile.SoundFile(made, "w", 48_000 if kind == "mp3" else RATE, 1, format=kind.upper()) as file:
            file.comment = json.dumps({"synthetic": True, "voice": KEY})
            file.write(voice_like(1.0))
        sounds[kind] = content_credentials.signed(made.getvalue(), kind, {"voice": KEY})
    return sounds


def traced(project: Project) -> Callable[[Hostile], None]:
    def attack(hostile: Hostile) -> None:
        kind, content = hostile.rng.choice(sorted(signed_sounds().items()))
        which = hostile.rng.randrange(3)
        if which == 0:  # words of the manifest and of the comment, which both are text within the file
            place = hostile.rng.choice((b"voice", b"synthetic", b"timbre", KEY.encode()))
            content = content.replace(place, hostile.piece().encode("utf-8", "replace")[: len(place)].ljust(len(place)))
        elif which == 1:
            content = hostile.binary(content)
        else:
            at = hostile.rng.randrange(len(content))
            content = content[:at] + hostile.piece().encode("utf-8", "replace")[:500] + content[at:]
        with project.with_file(f"said.{kind}", content):
            cli.execute(["trace", f"said.{kind}", *hostile.rng.choice(([], ["--json"]))])

    return attack


def speech_requests(hostile: Hostile) -> None:
    body = json.dumps(hostile.values(REQUEST)).encode()
    if hostile.rng.random() < 0.3:
        body = hostile.text(json.dumps(REQUEST))
    if hostile.rng.random() < 0.5:
        text = hostile.text(REQUEST["input"] * hostile.rng.choice((1, 1, 40))).decode("utf-8", "surrogateescape")
        body = json.dumps(REQUEST | {"input": text[: hostile.rng.choice((40, 4096))]}).encode()
    try:
        wanted = speech_request.parse(body)
        text = spelled_out(wanted.input, wanted.language) if wanted.normalize else wanted.input
        passages(text, wanted.language)
    except Refusal as refusal:
        print(refusal)


def listening_requests() -> Callable[[Hostile], None]:
    heard = sitting()

    def attack(hostile: Hostile) -> None:
        app = create_app(compare_routes(replace(heard, answered=set())))  # a trial takes one answer
        path = hostile.rng.choice((*["/api/answer"] * 3, "/api/test", "/api/trial/1", "/sound/0123456789abcdef"))
        body = b""
        if path == "/api/answer":
            good = {"trial": 1, "answer": "first", "seconds": 2.0}
            body = json.dumps(hostile.values(good) if hostile.rng.random() < 0.5 else good).encode()
            body = hostile.text(json.dumps(good)) if hostile.rng.random() < 0.2 else body
        elif hostile.rng.random() < 0.5:
            path = f"{path.rpartition('/')[0]}/{hostile.piece()[:3000]}"
        respond(app, path, body)
        for file in Path("data/opinions").glob("*.tsv"):
            file.unlink()

    return attack
