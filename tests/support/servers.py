"""Servers on this machine, for the time of a test: MLflow's, and the PostgreSQL below it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 120  # seconds until a server that does not come up fails the test


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def mlflow_server(store: str, artifacts: Path, python: Path) -> Iterator[str]:
    """Its address. Artifacts go through it, as a team's would. `python` is that of tests/support/warm_python.py."""
    port = free_port()
    command = [
        python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", store, "--artifacts-destination", artifacts.as_uri(),
    ]  # fmt: skip
    artifacts.mkdir(parents=True, exist_ok=True)
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (artifacts / "server.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=artifacts, env={**os.environ, **quiet})
    try:
        wait_for(f"http://127.0.0.1:{port}/health", server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


def wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert server.poll() is None, "the server ended"
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"{url} never answered")


def postgres_tools() -> Path | None:
    """The folder of Debian's PostgreSQL, or of any on the path."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    on_path = shutil.which("initdb")
    return max(found, default=Path(on_path).parent if on_path else None, key=str)


@contextmanager
def postgres(tools: Path) -> Iterator[str]:
    """The URI of an empty database. PostgreSQL refuses to run as root: then the user `postgres` runs it."""
    folder = Path(tempfile.mkdtemp(prefix="timbre-pg-"))
    data, port = folder / "data", free_port()
    root = os.geteuid() == 0
    if root:
        shutil.chown(folder, "postgres")

    def run(*command: str) -> None:
        user = "postgres" if root else None
        # a server that goes on holds the pipe of its output open: not captured
        done = subprocess.run(
            command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, user=user, group=user,
            extra_groups=[] if root else None,
        )  # fmt: skip
        assert done.returncode == 0, f"{command[0]} failed"

    try:
        run(str(tools / "initdb"), "-D", str(data), "-U", "timbre", "--auth=trust", "--no-sync")
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off"
        run(str(tools / "pg_ctl"), "-D", str(data), "-w", "-o", options, "-l", str(folder / "log"), "start")
        try:
            yield f"postgresql+psycopg2://timbre@127.0.0.1:{port}/postgres"
        finally:
            run(str(tools / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
