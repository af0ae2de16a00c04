"""The container without an engine: the commands of its steps in a fresh environment, from what would be sent to it."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import httpx2 as httpx
import pytest
from ruamel.yaml import YAML

from tests.support import dockerfile
from tests.support.servers import free_port, wait_for
from tests.support.speech_server import ROOT, copy_served, served_once
from timbre.commands import cli

KEY = "0123456789abcdef-kitchen"
STAGES = dockerfile.read(ROOT / "Dockerfile")
PROGRAM, BAKED = STAGES["program"], STAGES["baked"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which /opt/source and /opt/timbre are what the steps of the image make.

    The packages that it depends on are those of this environment: pip installs ours alone, without a network.
    """
    image = tmp_path_factory.mktemp("image")
    source = image / "opt/source"
    source.mkdir(parents=True)
    for names, target in PROGRAM.copies():
        for name in names:
            assert dockerfile.sent(ROOT / ".dockerignore", name), f"{name} is not sent to the engine"
            copied(ROOT / name, source / target / (Path(name).name if target.endswith("./") else ""))
    spec = importlib.util.find_spec("setuptools")
    assert spec is not None
    assert spec.origin is not None
    environment = {
        "PATH": f"{image}/opt/timbre/bin:{os.environ['PATH']}", "HOME": str(image), "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "false", "PIP_NO_INDEX": "1", "PYTHONPATH": str(Path(spec.origin).parents[1]),
    }  # fmt: skip
    for command in PROGRAM.of("RUN"):
        if "useradd" not in command:  # for root in the image alone
            here = command.replace("/opt/", f"{image}/opt/")
            done = subprocess.run(["sh", "-c", here], cwd=source, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
    return image


def copied(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)


@pytest.fixture
def voice(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the target `baked` copies, of a repository that can speak."""
    repository, baked = copy_served(served_once(tmp_path_factory), tmp_path / "repository"), tmp_path / "baked"
    for name in ("dvc.yaml", "dvc.lock", "data/sources.yaml", "reports/samples/.gitkeep"):
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).touch()
    shutil.copyfile(ROOT / "data/pronunciations.tsv", repository / "data/pronunciations.tsv")
    for names, target in BAKED.copies():
        for name in names:
            assert dockerfile.sent(ROOT / ".dockerignore", name), f"{name} is not sent to the engine"
            copied(repository / name, baked / target / (Path(name).name if target.endswith("/") else ""))
    return baked


def test_what_is_installed_speaks_with_the_voice_that_was_baked(installed: Path, voice: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"kitchen {KEY}\n")
    port = free_port()
    places = {
        "/run/secrets/keys": str(tmp_path / "keys"),
        "0.0.0.0": "127.0.0.1",
        "timbre": str(installed / "opt/timbre/bin/timbre"),
    }
    command = [places.get(word, word) for word in (*PROGRAM.command("ENTRYPOINT"), *BAKED.command("CMD"))]
    packages = Path(str(importlib.util.find_spec("numpy").origin)).parents[1]  # type: ignore[union-attr]
    environment = {**os.environ, "PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1"}
    server = subprocess.Popen([*command, "--port", str(port)], cwd=voice, env=environment)
    try:
        wait_for(f"http://127.0.0.1:{port}/health", server)
        _, _, check = PROGRAM.of("HEALTHCHECK")[-1].partition("CMD ")
        words = [word.replace(":8000", f":{port}") for word in YAML(typ="safe").load(check)]
        assert subprocess.run([str(installed / "opt/timbre/bin" / words[0]), *words[1:]], check=False).returncode == 0
        assert "Take" in httpx.get(f"http://127.0.0.1:{port}/").text
        assert httpx.get(f"http://127.0.0.1:{port}/static/serve.js").status_code == 200, "the page is in the package"
        headers = {"Authorization": f"Bearer {KEY}"}
        sent = {"input": "the ferry", "response_format": "wav"}
        speech = f"http://127.0.0.1:{port}/v1/audio/speech"
        assert httpx.post(speech, json=sent).status_code == 401
        answer = httpx.post(speech, json=sent, headers=headers, timeout=60)
        assert answer.status_code == 200
        trace = httpx.get(f"http://127.0.0.1:{port}/v1/trace/{answer.headers['x-timbre-version']}", headers=headers)
        assert "voice ann; consent for: " in trace.json()["text"], "without git, too"
        server.send_signal(getattr(signal, PROGRAM.of("STOPSIGNAL")[-1]))
        assert server.wait(60) == 0
    finally:
        server.kill()
        server.wait()


def test_the_image_runs_without_rights_and_the_whole_repository_can_be_mounted() -> None:
    assert PROGRAM.of("USER") == ["timbre"]
    assert any(shlex.split(run)[0] == "useradd" for run in PROGRAM.of("RUN"))
    assert STAGES[""].base == BAKED.base == "program"
    for words in (PROGRAM.command("CMD"), BAKED.command("CMD")):
        args = cli.parser(["serve"]).parse_args([*PROGRAM.command("ENTRYPOINT")[1:], *words])
        assert (args.host, args.port) == ("0.0.0.0", 8000)
    for names, _ in BAKED.copies():
        declared = (ROOT / "dvc.yaml").read_text()
        assert all((ROOT / name).exists() or name in declared for name in names)
    service = YAML(typ="safe").load(ROOT / "compose.yaml")["services"]["timbre"]
    assert (service["ports"], service["volumes"]) == (["127.0.0.1:8000:8000"], [".:/voice"])
