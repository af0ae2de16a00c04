"""The stages of a `dvc repro` are forked from one process that has the libraries, and nobody can tell."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.paths import ROOT
from tests.support.surroundings import QUIET_DVC
from tests.support.waiting import until

pytestmark = pytest.mark.pipeline

STAGE = '''"""What this process is, as JSON."""
import json, os, sys, time
from pathlib import Path
from timbre.core import safe_text
from timbre.mapping import warm

STREAM = ("name", "mode", "encoding", "errors", "newlines", "line_buffering", "write_through")
STREAMS = lambda: (sys.stdin, sys.stdout, sys.stderr)
kind = lambda stream: stream and [
    stream.isatty(), stream.seekable(), stream.buffer.mode, type(stream.buffer).__name__
]  # None: it is closed

if __name__ == "__main__":
    facts = {"pid": os.getpid(), "parent": os.getppid(), "forked": bool(warm.dvc_of_fork()), "name": __spec__.name}
    facts |= {"words": sys.argv[1:], "stage": os.environ["DVC_STAGE"], "folder": os.getcwd(), "umask": os.umask(0o22)}
    facts["streams"] = [[kind(stream), *(str(getattr(stream, name, None)) for name in STREAM)] for stream in STREAMS()]
    safe_text.guard()
    print("said")
    facts |= {"files": len(os.listdir("/proc/self/fd")), "variables": dict(os.environ)}
    facts |= {"ours": sorted(name for name in sys.modules if name.startswith(("timbre", "stages")))}
    DO
    Path(f"{__spec__.name}.json").write_text(json.dumps(facts))
'''
STAGE_NAME = """stage = sys.orig_argv[2].rpartition(".")[2] if len(sys.orig_argv) > 2 else "" """
RUNNER = """import subprocess, sys; print(subprocess.run([sys.executable, "-m", sys.argv[2]]).returncode)"""
OWN = {"pid", "parent", "forked", "files", "variables"}  # facts of one process alone


class Pipeline:
    """A repository whose stages do what they are told, under the real `dvc` and `python`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "stages").mkdir(parents=True)
        shutil.copy(ROOT / "stages/__init__.py", root / "stages")
        subprocess.run(["git", "init", "-q"], cwd=root, check=True)
        self.dvc("init", "-q")

    def write(self, commands: dict[str, str] | None = None, **work: str) -> None:
        """Stages of these names, in this order; `commands` are of those that are not plainly `python -m stages.…`."""
        stages = {}
        for name, code in work.items():
            (self.root / f"stages/{name}.py").write_text(STAGE.replace("DO", code.replace("\n", "\n    ")))
            command = (commands or {}).get(name, "{}").format(f"python -m stages.{name} --of {name}")
            stages[name] = {"cmd": command, "outs": [{f"stages.{name}.json": {"cache": False}}]}
        for name, before in zip(list(work)[1:], work, strict=False):
            stages[name]["deps"] = [f"stages.{before}.json"]
        (self.root / "dvc.yaml").write_text(json.dumps({"stages": stages}))

    def begin(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        variables = {key: value for key, value in os.environ.items() if not key.startswith(("GIT_", "DVC_"))}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        variables |= {"PATH": path, "PYTHONPATH": str(ROOT), **QUIET_DVC, **more.pop("variables", {})}
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} | more
        return subprocess.Popen(["dvc", *words], cwd=self.root, env=variables, text=True, process_group=0, **streams)

    def dvc(self, *words: str, **variables: str) -> tuple[int, str]:
        with self.begin(*words, variables=variables) as process:
            output = process.communicate()[0]
        return process.returncode, output

    def repro(self, **variables: str) -> dict[str, dict[str, Any]]:
        code, output = self.dvc("repro", "-f", **variables)
        assert code == 0, output
        return {path.suffixes[0][1:]: json.loads(path.read_text()) for path in self.root.glob("stages.*.json")}

    def reached(self, name: str) -> int:
        """The number that a stage has written into a file of this name."""
        path = self.root / name
        until(lambda: path.exists() and path.read_text().endswith("\n"))
        return int(path.read_text())


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it
    yield Pipeline(tmp_path / "voice")
    signal.signal(signal.SIGINT, before)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def client(dvc: subprocess.Popen[str]) -> psutil.Process:
    """The process of the stage that DVC started."""
    return next(each for each in psutil.Process(dvc.pid).children(recursive=True) if "-m" in each.cmdline())


def waits(name: str) -> str:
    """A stage says its number and then sleeps."""
    return f"Path('{name}.part').write_text(f'{{os.getpid()}}\\n'); os.rename('{name}.part', '{name}'); time.sleep(600)"


def test_stages_are_forked_from_one_process_that_ends_with_the_run_and_look_like_their_own(pipeline: Pipeline) -> None:
    pipeline.write(one="", two="")
    alone = pipeline.repro(TIMBRE_WARM="0")
    warm = pipeline.repro(TIMBRE_WARM="1")
    assert [facts["forked"] for facts in (*alone.values(), *warm.values())] == [False, False, True, True]
    assert warm["one"]["parent"] == warm["two"]["parent"]
    for name, facts in warm.items():
        other = alone[name]
        assert {k: v for k, v in facts.items() if k not in OWN} == {k: v for k, v in other.items() if k not in OWN}
        assert facts["variables"] | {"TIMBRE_WARM": "0"} == other["variables"]
    until(lambda: gone(warm["one"]["parent"]))


def test_two_runs_at_once_share_nothing(pipeline: Pipeline, tmp_path: Path) -> None:
    meet = "Path('../{}').touch()\nwhile not Path('../{}').exists(): time.sleep(0.01)"
    other = Pipeline(tmp_path / "other")
    pipeline.write(one=meet.format("a", "b"))
    other.write(one=meet.format("b", "a"))
    runs = [each.begin("repro") for each in (pipeline, other)]
    assert [run.wait() for run in runs] == [0, 0], [run.communicate()[0] for run in runs]
    facts = [json.loads((each.root / "stages.one.json").read_text()) for each in (pipeline, other)]
    assert [fact["forked"] for fact in facts] == [True, True]
    assert facts[0]["parent"] != facts[1]["parent"]


def test_an_edit_of_our_own_code_between_two_stages_is_seen(pipeline: Pipeline) -> None:
    (pipeline.root / "stages/helper.py").write_text("VALUE = 1\n")
    read = "from stages import helper; facts['value'] = helper.VALUE"
    pipeline.write(one=f"{read}; Path('stages/helper.py').write_text('VALUE = 1000\\n')", two=read)
    facts = pipeline.repro()
    assert [facts[name]["value"] for name in ("one", "two")] == [1, 1000]
    assert facts["two"]["forked"]


def test_an_edit_between_a_stage_and_dvcs_look_is_noticed_by_the_next(pipeline: Pipeline) -> None:
    work = "from timbre.mapping import inputs; facts['wrong'] = inputs.recorded_wrongly()\n"
    work += "inputs.remember('one', {'notes': 'as it was'})"
    pipeline.write(one=work, two=work)
    assert pipeline.repro()["two"]["wrong"] == {"one": ["notes"]}, "the same run of DVC, though it is no parent"
    code, output = pipeline.dvc("repro", "-f", "one")
    assert (code, json.loads((pipeline.root / "stages.one.json").read_text())["wrong"]) == (0, {}), output


@pytest.mark.parametrize(
    "command",
    [
        "LANGUAGE=fi {}", "umask 027; {}", "ulimit -n 200; {}", "nice -n 1 {}", "cd . && taskset -c 0 {}",
        "RAY_ADDRESS=auto {}", "WORLD_SIZE=1 {}", "COVERAGE_PROCESS_START=rc {}", "TIMBRE_WARM=0 {}", "{} <&-",
    ],
)  # fmt: skip
def test_a_stage_that_starts_otherwise_than_the_others_runs_in_its_own_process(
    pipeline: Pipeline, command: str
) -> None:
    pipeline.write({"two": command}, one="", two="", three="")
    if "taskset" in command and len(os.sched_getaffinity(0)) == 1:
        pytest.skip("one processor")
    facts = pipeline.repro()
    assert {name: fact["forked"] for name, fact in facts.items()} == {"one": True, "two": False, "three": True}


def test_a_stage_goes_on_in_its_own_process_where_the_warm_one_is_lost(pipeline: Pipeline) -> None:
    lose = "if warm.dvc_of_fork(): Path('lost').write_text(str(os.getpid())); os.kill(os.getppid(), 9); time.sleep(600)"
    pipeline.write(one=lose, two="")
    facts = pipeline.repro()
    assert [facts[name]["forked"] for name in ("one", "two")] == [False, True], "the next one starts another"
    assert gone(int((pipeline.root / "lost").read_text()))


def test_a_fork_computes_as_a_process_of_its_own_and_draws_numbers_of_its_own(
    pipeline: Pipeline,
) -> None:
    compute = """
        facts["loaded"] = "torch" in sys.modules
        import numpy, torch
        torch.manual_seed(1)
        product = torch.nn.functional.gelu(torch.randn(300, 300) @ torch.randn(300, 300))
        facts |= {"threads": torch.get_num_threads(), "sum": float(numpy.linalg.norm(product.numpy()))}
        facts |= {"bytes": hash(product.numpy().tobytes()), "drawn": numpy.random.random()}
        import multiprocessing
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            facts["worker"] = pool.map(abs, [-1])
    """
    pipeline.write(train=textwrap.dedent(compute).strip(), generate=textwrap.dedent(compute).strip())
    alone = pipeline.repro(TIMBRE_WARM="0", PYTHONHASHSEED="1")
    warm = pipeline.repro(PYTHONHASHSEED="1")
    assert [warm[name]["loaded"] for name in ("train", "generate")] == [True, True]
    for fact in ("threads", "sum", "bytes", "worker"):
        assert len({str(facts[fact]) for facts in (*alone.values(), *warm.values())}) == 1
    assert warm["train"]["drawn"] != warm["generate"]["drawn"]


def test_nothing_is_forked_once_a_library_has_begun_a_thread(pipeline: Pipeline) -> None:
    (pipeline.root / "threaded.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait).start()\n"
    )
    begin = pipeline.root / "stages/__init__.py"
    begin.write_text(begin.read_text().replace('"argparse",', '"argparse", *(["threaded"] if stage == "two" else []),'))
    begin.write_text(begin.read_text().replace("LIBRARIES = (", f"{STAGE_NAME}\nLIBRARIES = ("))
    pipeline.write(one="", two="", three="")
    assert {name: facts["forked"] for name, facts in pipeline.repro().items()} == {
        "one": True, "two": False, "three": False
    }  # fmt: skip


def test_a_stage_ends_as_its_fork_ends(pipeline: Pipeline) -> None:
    ways = {
        "code": "sys.exit(3)", "said": "sys.exit('no more')", "raised": "1 / 0", "killed": "os.kill(os.getpid(), 15)",
        "aborted": "os.abort()", "fine": "sys.exit()", "large": "sys.exit(259)",
    }  # fmt: skip
    pipeline.write(**{name: f"Path('forked').write_text(str(facts['forked'])); {way}" for name, way in ways.items()})
    (pipeline.root / "dvc").write_text(RUNNER)
    ends = {"0": [], "1": []}
    for switch, of_switch in ends.items():
        for name in ways:
            variables = os.environ | {"PYTHONPATH": str(ROOT), "TIMBRE_WARM": switch, "DVC_STAGE": name}
            words = [sys.executable, "dvc", "repro", f"stages.{name}"]
            done = subprocess.run(words, cwd=pipeline.root, env=variables, capture_output=True, text=True, check=False)
            of_switch.append((name, done.stdout, done.stderr))
            assert (pipeline.root / "forked").read_text() == str(switch == "1")
    assert ends["0"] == ends["1"]


@pytest.mark.parametrize("whom", ["the client", "the whole group"])
def test_a_killed_stage_takes_its_fork_along_and_the_next_run_does_its_work(pipeline: Pipeline, whom: str) -> None:
    pipeline.write(one=f"if not Path('fork').exists(): {waits('fork')}")
    dvc = pipeline.begin("repro")
    fork = pipeline.reached("fork")
    warm = psutil.Process(fork).ppid()
    assert client(dvc).pid != fork
    if whom == "the client":
        client(dvc).kill()
    else:
        os.killpg(dvc.pid, signal.SIGKILL)
    assert dvc.wait() != 0
    until(lambda: gone(fork) and gone(warm))
    assert pipeline.repro()["one"]["forked"]


@pytest.mark.parametrize("whom", ["the client", "the whole group"])
def test_each_signal_reaches_the_fork_once(pipeline: Pipeline, whom: str) -> None:
    count = (
        "import signal\nseen = []\n"
        "def tell(*_):\n    Path('seen').write_text(f'{len(seen)}\\n')\n    sys.exit(7)\n"
        "signal.signal(signal.SIGINT, lambda *_: seen.append(1))\nsignal.signal(signal.SIGTERM, tell)\n"
    )
    pipeline.write({"one": "exec {}"}, one=f"{count}{waits('fork')}")  # dash would wait, and end as Ctrl-C comes
    dvc = pipeline.begin("repro")
    pipeline.reached("fork")
    if whom == "the client":
        client(dvc).send_signal(signal.SIGINT)
    else:
        os.killpg(dvc.pid, signal.SIGINT)  # as a terminal does; DVC waits for its stage
    client(dvc).send_signal(signal.SIGTERM)
    assert pipeline.reached("seen") == 1
    assert "exited with 7" in dvc.communicate()[0]


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("output", ["terminal", "pipe", "file"])
def test_a_fork_has_the_streams_of_its_stage(pipeline: Pipeline, output: str, unbuffered: str) -> None:
    pipeline.write(one="", two="")
    ends, said = {}, {}
    for switch in "01":
        ours, theirs = pty.openpty() if output == "terminal" else os.pipe()
        with (pipeline.root / "said").open("w+") as file:
            given = file if output == "file" else theirs
            streams = {
                "stdin": theirs if output == "terminal" else subprocess.DEVNULL,
                "stdout": given,
                "stderr": given,
            }
            variables = {"TIMBRE_WARM": switch, "PYTHONUNBUFFERED": unbuffered}
            dvc = pipeline.begin("repro", "-f", variables=variables, **streams)
            os.close(theirs)
            said[switch] = b""
            with suppress(OSError):  # nobody has the other end of the terminal open any more
                while part := os.read(ours, 1 << 16):
                    said[switch] += part
            os.close(ours)
            assert dvc.wait() == 0, said[switch]
            said[switch] += Path(file.name).read_bytes()
        ends[switch] = json.loads((pipeline.root / "stages.two.json").read_text())
    assert (ends["0"]["forked"], ends["1"]["forked"]) == (False, True)
    assert ends["0"]["streams"] == ends["1"]["streams"]
    assert said["0"].count(b"said") == said["1"].count(b"said") == 2
