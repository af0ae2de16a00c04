"""A real Ray cluster of two worker processes on this machine: the same bytes as without, also when a worker dies."""

from __future__ import annotations

import functools
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stages import encode
from tests.support.entries import jobs, refuse, upper
from tests.support.files import contents
from tests.support.tiny_models import random_csm
from timbre import audio
from timbre.core.errors import DataError, EngineError
from timbre.core.sections import ComputeParams, EncodeParams, VoiceParams
from timbre.mapping import batch, ray_driver, ray_worker
from timbre.mapping.ray_driver import Share
from timbre.mapping.refresh import refresh

TEXTS = [f"T{number}" for number in range(5)]


@pytest.fixture(scope="module")
def ray() -> Iterator[ComputeParams]:
    """Of two CPUs, on the loopback and with a token; `compute` to join it with."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    environment = {**os.environ, **token, **ray_driver.SETTINGS, **ray_driver.ALONE, "PYTHONUNBUFFERED": "1"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # a socket's path is short
    options = f"--head --block --port={port} --temp-dir={folder} --num-cpus=2 --object-store-memory={80 * 2**20}"
    command = [Path(sys.executable).with_name("ray"), "start", *options.split(), "--include-dashboard=false"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert any("Ray runtime started" in line for line in process.stdout or []), "Ray ended at once"
        with pytest.MonkeyPatch.context() as patch:
            for name, value in token.items():
                patch.setenv(name, value)
            yield ComputeParams("ray", 2, f"127.0.0.1:{port}")
    finally:
        process.terminate()
        process.communicate(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_cluster_writes_the_same_folder_though_a_worker_is_killed(ray: ComputeParams, tmp_path: Path) -> None:
    refresh(tmp_path / "here", jobs(tmp_path, *TEXTS), upper, suffixes=[".json"], label="t", batch=2)
    todo = jobs(tmp_path, *TEXTS, deaths={"T2": 1})
    done = refresh(tmp_path / "there", todo, upper, suffixes=[".json"], label="t", batch=2, engine=ray)
    assert (tmp_path / "T2.deaths").read_text() == "x"
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    assert done.computed == len(TEXTS)


def test_entries_that_kill_every_worker_are_named_after_the_others_are_finished(
    ray: ComputeParams, tmp_path: Path
) -> None:
    todo = jobs(tmp_path, *TEXTS, deaths={"T1": 9})
    with pytest.raises(EngineError, match=r"^t1: the process that computes it was lost 3 times \(WorkerCrashedError\)"):
        refresh(tmp_path / "there", todo, upper, suffixes=[".json"], label="t", engine=ray)
    assert set(contents(tmp_path / "there")) == {"t0.json", "t2.json", "t3.json", "t4.json"}


def test_a_mistake_in_an_entry_is_told_as_without_a_cluster(ray: ComputeParams, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^T\d: is no sound$"):
        refresh(tmp_path, jobs(tmp_path, *TEXTS), refuse, suffixes=[".json"], label="t", engine=ray)


def test_the_codec_gives_the_same_bytes_on_a_cluster(ray: ComputeParams, tmp_path: Path) -> None:
    random_csm(tmp_path / "csm")
    (tmp_path / "clips").mkdir()
    sound = np.random.default_rng(0).normal(0, 0.1, 3 * 16_000).astype(np.float32)
    for seconds in (1, 2, 3):
        (tmp_path / f"clips/c{seconds}.flac").write_bytes(audio.flac_bytes(sound[: seconds * 16_000], 16_000))
    voice = VoiceParams("csm", str(tmp_path / "csm"), None)
    for name, engine in (("here", batch.HERE), ("there", ray)):
        encode.encode_all(tmp_path / "clips", tmp_path / name, EncodeParams(batch=2), voice, engine)
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    assert len(contents(tmp_path / "here")) == 6


@pytest.mark.parametrize(
    ("nodes", "workers", "gpu", "share"),
    [
        ([{"CPU": 8}], None, True, Share(1, 0, 8)),
        ([{"CPU": 8}], 2, False, Share(4, 0, 2)),
        ([{"CPU": 8}, {"CPU": 4}], 1, False, Share(8, 0, 1)),  # no task needs more than a machine has
        ([{"CPU": 8}], 99, False, Share(1, 0, 8)),
        ([{"CPU": 8, "GPU": 2}, {"CPU": 64}], None, True, Share(1, 1.0, 2)),  # models keep to the GPUs …
        ([{"CPU": 8, "GPU": 2}, {"CPU": 64}], None, False, Share(1, 0, 72)),
        ([{"CPU": 8, "GPU": 1}], 3, True, Share(1, 0.33, 3)),  # … and may share one
    ],
)
def test_a_task_takes_its_share_of_the_cluster(
    nodes: list[dict[str, float]], workers: int | None, gpu: bool, share: Share
) -> None:
    assert ray_driver.share_of(nodes, workers, gpu) == share


def test_a_machine_with_other_code_or_files_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model, clip = Path("models/base"), Path("clip.flac")
    model.mkdir(parents=True)
    (model / "weights").write_text("old")
    clip.write_text("sound")
    compute = functools.partial(encode.encode, voice=VoiceParams("csm", str(model), None))
    code = ray_worker.code(Path())
    needed = ray_worker.contents([*ray_worker.named_by(compute), *ray_worker.paths_in([(clip, "key")])])
    assert set(needed) == {"models/base", "clip.flac"}
    ray_worker.check(code, code, needed)
    (model / "weights").write_text("new one")
    with pytest.raises(EngineError, match="models/base: is another than where it is run from; share"):
        ray_worker.check(code, code, needed)
    clip.unlink()
    with pytest.raises(EngineError, match=r"clip\.flac: is not there; share the folder"):
        ray_worker.check(code, code, {"clip.flac": needed["clip.flac"]})
    Path("timbre").mkdir()
    Path("timbre/new.py").touch()
    with pytest.raises(EngineError, match="has other code than where it is run from"):
        ray_worker.check(code, ray_worker.code(Path()), {})


def test_a_cluster_that_does_not_answer_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"^compute\.address: no Ray cluster answers at 127\.0\.0\.1:9 .*cluster\.md"):
        refresh(
            tmp_path,
            jobs(tmp_path, "A"),
            upper,
            suffixes=[".json"],
            label="t",
            engine=ComputeParams("ray", 1, "127.0.0.1:9"),
        )


def test_without_the_package_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EngineError, match=r"needs the package ray: pip install '\.\[ray\]'"):
        refresh(
            tmp_path, jobs(tmp_path, "A"), upper, suffixes=[".json"], label="t", engine=ComputeParams("ray", 1, None)
        )
