"""Takes the pictures of docs/pictures from the demo: the report, the review page, a diff, MLflow's runs.

    dvc repro && python docs/screenshots.py          # or the names of some: report review diff mlflow

Needs a finished demo, playwright (`pip install -c constraints.txt -e '.[test]'`) and a `chromium`. Colours are reduced
to a palette, so that a picture stays below 200 KB.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
PICTURES = Path(__file__).parent / "pictures"
BIN = Path(sys.executable).parent
SIZE = {"width": 1280, "height": 800}
LARGEST = 200_000  # bytes of a picture
PORT = 5137
# What MLflow's page remembers in the browser: columns of the table of runs, and that its assistant is closed, which
# takes a quarter of the page.
COLUMNS = [
    "params.`train.learning_rate`", "metrics.`wer/base`", "metrics.`wer/tuned_clone`", "metrics.`similarity/base`",
    "metrics.`similarity/tuned_clone`", "tags.`gates`",
]  # fmt: skip
VIEW = {
    'MLflowLocalStorage-1.1-ExperimentPage-["1"]-ReactComponentState': json.dumps({"selectedColumns": COLUMNS}),
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",
    "mlflow.assistant.panelOpen_v1": "false",
}
SLOW = 120_000  # ms that MLflow's page may take on a busy machine
EDITS = {  # what the branch of the diff's picture changes: file → (old, new)
    "data/transcripts/harbour-noon.tsv": [("Penzance", "Penzanse"), ("\tok\tMusic", "\tdrop\tMusic")],
    "params.yaml": [("learning_rate: 2.0e-4", "learning_rate: 1.0e-4")],
}


@contextlib.contextmanager
def report(page: Page) -> Iterator[None]:
    page.goto((ROOT / "reports/index.html").as_uri())
    yield


@contextlib.contextmanager
def review(page: Page) -> Iterator[None]:
    with served("timbre", "review", "harbour-noon", "--no-browser", "--port", str(PORT)) as first_line:
        page.goto(first_line.split()[-1])
        page.wait_for_selector("body[data-ready]")
        page.wait_for_timeout(1500)  # the waveform is drawn when its peaks have come
        yield


@contextlib.contextmanager
def diff(page: Page) -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        clone, html = Path(folder, "clone"), Path(folder, "diff.html")
        run("git", "clone", "--quiet", str(ROOT), str(clone))
        run(str(BIN / "dvc"), "cache", "dir", "--local", str(ROOT / ".dvc/cache"), cwd=clone)
        for file, changes in EDITS.items():
            text = (clone / file).read_text(encoding="utf-8")
            for old, new in changes:
                assert old in text, f"{file} no longer has {old!r}"
                text = text.replace(old, new, 1)
            (clone / file).write_text(text, encoding="utf-8")
        run(str(BIN / "timbre"), "diff", "HEAD", "--local", "--full", str(html), cwd=clone)
        page.goto(html.as_uri())
        yield


@contextlib.contextmanager
def mlflow(page: Page) -> Iterator[None]:
    """The runs of the experiment, a row each, with what one compares first."""
    address = f"http://127.0.0.1:{PORT}"
    page.set_default_timeout(SLOW)
    page.set_viewport_size({"width": 1280, "height": 420})
    page.add_init_script("".join(f"localStorage.setItem({key!r}, {json.dumps(value)});" for key, value in VIEW.items()))
    with served("mlflow", "ui", "--workers", "1", "--port", str(PORT)):
        until_answers(address)
        page.goto(f"{address}/#/experiments/{experiment()}/runs?workflowType=machine_learning&compareRunsMode=TABLE")
        page.wait_for_selector("a[href*='/runs/']")
        page.get_by_text("train.learning_rate").first.wait_for()
        page.wait_for_timeout(5_000)  # its icons have no mark that they are complete
        yield


def experiment() -> str:
    """Id of the experiment that `track` writes to."""
    from timbre import tracking

    found = tracking.experiment_of(tracking.connect(), create=False)
    assert found, "no run yet: `dvc repro` records one"
    return found


TAKES = {take.__name__: take for take in (report, review, diff, mlflow)}


@contextlib.contextmanager
def served(*command: str) -> Iterator[str]:
    """The command's first line, while it runs."""
    process = subprocess.Popen(
        [str(BIN / command[0]), *command[1:]], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline()
    finally:
        process.terminate()
        process.wait()


def until_answers(address: str, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(address, timeout=2).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def run(*command: str, cwd: Path = ROOT) -> None:
    subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL)


def small(png: bytes) -> bytes:
    """With fewer colours, until it is small enough."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    for colours in (256, 128, 64, 32):
        packed = io.BytesIO()
        picture.quantize(colours, dither=Image.Dither.NONE).save(packed, "png", optimize=True)
        if packed.tell() < LARGEST:
            return packed.getvalue()
    raise SystemExit(f"a picture of {packed.tell()} bytes; take a smaller part")


def take(browser: Any, names: list[str]) -> None:
    PICTURES.mkdir(exist_ok=True)
    for name in names:
        page = browser.new_page(viewport=SIZE)
        with TAKES[name](page):
            content = small(page.screenshot())
        (PICTURES / f"{name}.png").write_bytes(content)
        print(f"docs/pictures/{name}.png: {len(content):,} bytes")
        page.close()


if __name__ == "__main__":
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        take(opened, sys.argv[1:] or list(TAKES))
        opened.close()
