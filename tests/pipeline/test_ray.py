"""A real Ray cluster of two worker processes on this machine: the same bytes as without, also when a worker dies."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pickle
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import encode
from tests.support.entries import jobs, refuse, upper
from tests.support.files import contents
from tests.support.tiny_models import random_csm
from timbre import audio
from timbre.core.content import md5
from timbre.core.errors import DataError, EngineError
from timbre.core.sections import ComputeParams, EncodeParams, VoiceParams
from timbre.mapping import batch, ray_driver, ray_worker
from timbre.mapping.batch import Files
from timbre.mapping.ray_driver import Share
from timbre.mapping.ray_worker import LeftOut
from timbre.mapping.refresh import Job, refresh

# Ray reads these once in a process, so each test of this page that loads it finds the same ones
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
TEXTS = [f"T{number}" for number in range(5)]


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TOKEN.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def ray() -> Iterator[ComputeParams]:
    """Of two CPUs, on the loopback and with a token; `compute` to join it with."""
    environment = {**os.environ, **TOKEN, **ray_driver.SETTINGS, **ray_driver.ALONE, "PYTHONUNBUFFERED": "1"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # a socket's path is short
    options = f"--head --block --port={port} --temp-dir={folder} --num-cpus=2 --object-store-memory={80 * 2**20}"
    command = [Path(sys.executable).with_name("ray"), "start", *options.split(), "--include-dashboard=false"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert any("Ray runtime started" in line for line in process.stdout or []), "Ray ended at once"
        yield ComputeParams("ray", 2, f"127.0.0.1:{port}", "auto")
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
    model, clip = Path("models/base"), Path("clips/a.flac")
    for path, text in ((model / "weights", "old"), (clip, "sound")):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    Path("dvc.lock").write_text("stages:\n  cut:\n    outs:\n    - path: clips\n")
    compute = functools.partial(encode.encode, voice=VoiceParams("csm", str(model), None))
    code = ray_worker.code(Path())
    needed = ray_worker.contents([*ray_worker.named_by(compute), *ray_worker.paths_in([(clip, "key")])])
    assert needed == {"models/base": {"weights": md5(b"old")}, "clips/a.flac": {"": md5(b"sound")}}
    assert ray_worker.differs(code, code) == ""
    assert ray_worker.lacking(needed) == ({}, "")
    clip.unlink()
    assert ray_worker.lacking(needed) == ({"clips/a.flac": md5(b"sound")}, ""), (
        "a stage made it: the remote may have it"
    )
    (model / "other").write_text("more")
    assert "models/base: is another than where it is run from; share" in ray_worker.lacking(needed)[1]
    (model / "other").unlink()
    (model / "weights").unlink()
    assert "models/base: is another" in ray_worker.lacking(needed)[1]
    model.rmdir()
    assert "models/base: is not there; share the folder" in ray_worker.lacking(needed)[1]
    assert "../secret: is not there" in ray_worker.lacking({"../secret": {"": "0"}})[1]
    Path("timbre").mkdir()
    Path("timbre/new.py").touch()
    assert "has other code than where it is run from" in ray_worker.differs(code, ray_worker.code(Path()))


def test_a_cluster_that_does_not_answer_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"^compute\.address: no Ray cluster answers at 127\.0\.0\.1:9 .*cluster\.md"):
        refresh(
            tmp_path,
            jobs(tmp_path, "A"),
            upper,
            suffixes=[".json"],
            label="t",
            engine=ComputeParams("ray", 1, "127.0.0.1:9", "auto"),
        )


def test_without_the_package_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EngineError, match=r"needs the package ray: `pip install -c constraints.txt '\.\[ray\]'`"):
        refresh(
            tmp_path,
            jobs(tmp_path, "A"),
            upper,
            suffixes=[".json"],
            label="t",
            engine=ComputeParams("ray", 1, None, "auto"),
        )


def test_a_machine_that_was_left_out_gets_no_task(ray: ComputeParams, tmp_path: Path) -> None:
    batch = [job.payload for job in jobs(tmp_path, "A")]
    with ray_driver.joined(ray) as module:
        here = module.get_runtime_context().get_node_id()
        cluster = ray_driver.Cluster(module, upper, 2, gpu=False)
        for stale, done in (("0" * len(here), 1), (here, 0)):
            cluster.left_out = {stale: LeftOut(machine="m", node=stale, reason="", files={})}
            assert len(module.wait([cluster.begin(batch)], timeout=60 if done else 2)[0]) == done


class TwoMachines:
    """A cluster of two machines with clones of their own, in one process; a task goes to the last that may get it."""

    class cloudpickle:  # as the module is called
        dumps, loads = staticmethod(pickle.dumps), staticmethod(pickle.loads)

    def __init__(self, clones: dict[str, Path]) -> None:
        self.clones = clones  # by Ray's id of the machine
        self.computed: list[str] = []  # which machine, by batch
        self.outcomes: list[Any] = []  # by task
        self.exceptions = types.SimpleNamespace(
            WorkerCrashedError=TimeoutError, OutOfMemoryError=MemoryError, RayError=ConnectionError
        )

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "NodeID": node, "Resources": {"CPU": 1}} for node in self.clones]

    def put(self, value: Any) -> Any:
        return value

    def remote(self, **options: Any) -> Callable[[Any], TwoMachines]:
        return lambda task: self

    def options(self, label_selector: dict[str, str] | None, **kinds: Any) -> Any:
        taboo = (label_selector or {}).get("ray.io/node-id", "")
        node = [node for node in self.clones if node not in taboo][-1]

        def begin(root: str, compute: bytes, payloads: bytes, home: str, code: str, needed: Any) -> int:
            with contextlib.chdir(self.clones[node]):
                missing, reason = ray_worker.lacking(needed)
                if reason or (missing := ray_worker.fetched(missing)):
                    self.outcomes.append(
                        LeftOut(machine=f"m{node}", node=node, reason=reason or "lacks", files=missing)
                    )
                else:
                    self.computed.append(node)
                    self.outcomes.append(list(pickle.loads(compute)(pickle.loads(payloads))))
            return len(self.outcomes) - 1

        return types.SimpleNamespace(remote=begin)

    def wait(self, tasks: list[Any]) -> tuple[list[Any], list[Any]]:
        return tasks[:1], tasks[1:]

    def get(self, task: int) -> Any:
        return self.outcomes[task]


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TwoMachines:
    """The repository has clips that a stage made, the other machine's clone has none of them; both know a remote."""
    root, other = tmp_path / "repository", tmp_path / "other"
    (tmp_path / "remote").mkdir()
    for folder in (root, other):
        (folder / ".dvc").mkdir(parents=True)
        remote = f"['remote \"shared\"']\n    url = {tmp_path}/remote\n"
        (folder / ".dvc/config").write_text(f"[core]\n    remote = shared\n{remote}")
        (folder / "dvc.lock").write_text("stages:\n  cut:\n    outs:\n    - path: clips\n")
    (root / "clips").mkdir()
    for number in range(4):
        (root / f"clips/c{number}.txt").write_text(f"sound {number}")
    machines = TwoMachines({"1": root, "2": other})
    monkeypatch.chdir(root)
    monkeypatch.setattr(ray_driver, "joined", lambda params: contextlib.nullcontext(machines))
    return machines


def texts(paths: Sequence[Path]) -> list[Files]:
    return [{".json": json.dumps({"key": f"key {path.stem}", "text": path.read_text()}).encode()} for path in paths]


def compute_all(two: TwoMachines) -> dict[str, str]:
    todo = [Job(path.stem, f"key {path.stem}", path) for path in sorted(Path("clips").iterdir())]
    engine = ComputeParams("ray", 1, "127.0.0.1:1", "auto")
    refresh(Path("out"), todo, texts, suffixes=[".json"], label="t", batch=1, engine=engine)
    return {path.stem: json.loads(path.read_text())["text"] for path in Path("out").iterdir()}


def test_a_machine_takes_what_it_lacks_from_the_remote_that_it_is_sent_to(two: TwoMachines, tmp_path: Path) -> None:
    clips = two.clones["2"] / "clips"
    clips.mkdir()
    (clips / "c0.txt").write_text("of a version before")
    assert compute_all(two) == {f"c{number}": f"sound {number}" for number in range(4)}
    assert two.computed == ["2", "2", "2", "2"]
    assert contents(clips) == contents(Path("clips"))
    objects = {path.parent.name + path.name for path in (tmp_path / "remote/files/md5").rglob("*") if path.is_file()}
    assert objects == {md5(path.read_bytes()) for path in clips.iterdir()}, "DVC finds them there, too"


@pytest.mark.parametrize("fault", ["no remote", "an edit of its own", "a damaged remote", "a remote that is full"])
def test_a_stale_machine_computes_nothing_and_the_others_do_its_work(
    two: TwoMachines, fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = two.clones["2"] / "clips"
    match fault:
        case "no remote":
            Path(".dvc/config").write_text("")
        case "an edit of its own":  # of a file that no stage made
            (two.clones["2"] / "dvc.lock").write_text("")
            clips.mkdir()
            (clips / "c3.txt").write_text("edited there")
        case "a damaged remote":
            digest = md5(b"sound 3")
            (tmp_path / "remote/files/md5" / digest[:2]).mkdir(parents=True)
            (tmp_path / "remote/files/md5" / digest[:2] / digest[2:]).write_text("sounb 3")
        case "a remote that is full":
            (tmp_path / "remote/files").touch()
    assert compute_all(two) == {f"c{number}": f"sound {number}" for number in range(4)}
    assert two.computed == (["2", "2", "2", "1"] if fault == "a damaged remote" else ["1"] * 4)
    told = capsys.readouterr().err
    assert told.count("m2: computes nothing of this stage: ") == 1
    if fault == "an edit of its own":
        assert (clips / "c3.txt").read_text() == "edited there"


def test_it_is_an_error_where_all_machines_are_stale(two: TwoMachines) -> None:
    Path(".dvc/config").write_text("")
    two.clones = {"2": two.clones["2"]}
    with pytest.raises(EngineError, match="lacks"):
        compute_all(two)
