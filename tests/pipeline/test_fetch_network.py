"""Recordings come, by real yt-dlp, from a web server on this machine: whole, once, and not from everywhere."""

from __future__ import annotations

import functools
import html
import http.server
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from stages import fetch
from tests.support.fetching import PARAMS, RATE, RAW, encoded, failures, record, remote, tone
from timbre.core.content import file_sha256

MEMORY = Path(".timbre/entries/data/raw.json")  # of the entries that were made


class Server(http.server.ThreadingHTTPServer):
    """Serves the folder `web`, and remembers what was asked for."""

    asked: list[str]
    breaks = False  # every connection, after the first half of what is left

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        if self.path.startswith("/endless"):  # says nothing of its length
            self.send_response(200)
            self.send_header("Content-Type", "audio/wav")
            self.end_headers()
            while True:
                self.wfile.write(bytes(1 << 20))
        if self.path.startswith("/loop"):
            self.send_response(302)
            self.send_header("Location", "/loop-there" if self.path == "/loop-here" else "/loop-here")
            self.end_headers()
            return
        if self.path.startswith("/claims"):  # two gigabytes, and sends none
            self.send_claim()
            return
        if wanted := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            self.send_rest(int(wanted[1]))
        elif self.path.startswith("/broken"):  # the first time, half of it
            self.send_half()
        else:
            super().do_GET()

    def do_HEAD(self) -> None:
        if self.path.startswith("/claims"):
            self.send_claim()
        else:
            super().do_HEAD()

    def send_claim(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "audio/wav")
        self.send_header("Content-Length", str(2_000_000_000))
        self.end_headers()

    def send_half(self) -> None:
        content = Path(self.translate_path(self.path)).read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", "audio/wav")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])
        self.close_connection = True

    def send_rest(self, first: int) -> None:
        content = Path(self.translate_path(self.path)).read_bytes()
        self.server.asked[-1] += f" from {first}"  # type: ignore[attr-defined]
        self.send_response(206)
        self.send_header("Content-Type", "audio/wav")
        self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        self.wfile.write(content[first : (first + len(content)) // 2 if self.server.breaks else None])  # type: ignore[attr-defined]
        self.close_connection = True

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data/recordings").mkdir(parents=True)
    Path("web").mkdir()


@pytest.fixture
def server() -> Iterator[Server]:
    class Quiet(Server):
        def handle_error(self, *_: Any) -> None: ...  # the client hangs up on what is too large

    server = Quiet(("127.0.0.1", 0), functools.partial(Handler, directory="web"))
    server.asked = []
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_an_address_is_downloaded_once(server: Server) -> None:
    soundfile.write("web/talk.wav", tone(), RATE)
    source = remote("talk", server.address("talk.wav"))
    fetch.fetch_all([source], RAW, PARAMS)
    assert record("talk")["recording"]["seconds"] == 2
    assert record("talk")["recording"]["origin"] == source.url
    assert record("talk")["provenance"]["title"] == "talk"
    assert list(fetch.SCRATCH.iterdir()) == []
    server.asked.clear()
    fetch.fetch_all([replace(source, licence="CC-BY-4.0")], RAW, PARAMS)
    assert server.asked == []
    assert record("talk")["recording"]["licence"] == "CC-BY-4.0"


def test_two_files_of_one_name_do_not_collide(server: Server) -> None:
    for folder, pitch in (("a", 200), ("b", 300)):
        Path("web", folder).mkdir()
        soundfile.write(f"web/{folder}/talk.wav", tone(pitch=pitch), RATE)
    fetch.fetch_all([remote(name, server.address(f"{name}/talk.wav")) for name in ("a", "b")], RAW, PARAMS)
    assert record("a")["recording"]["sha256"] != record("b")["recording"]["sha256"]


def test_a_page_with_a_player_is_a_recording_and_a_page_with_two_is_a_list(server: Server) -> None:
    soundfile.write("web/talk.wav", tone(), RATE)
    for name, players in (("one", 1), ("two", 2)):
        Path(f"web/{name}.html").write_text("<html>" + "<audio src='talk.wav'></audio>" * players + "</html>")
    [told] = failures(remote("two", server.address("two.html")), remote("one", server.address("one.html")))
    assert told.startswith(f"two: {server.address('two.html')} is a list of recordings; declare the address of each")
    assert record("one")["recording"]["seconds"] == 2


def test_a_page_without_audio_and_an_address_that_is_gone_are_one_line_each(server: Server) -> None:
    Path("web/page.html").write_text("<html>nothing to hear</html>")
    page, gone = failures(remote("page", server.address("page.html")), remote("gone", server.address("gone.wav")))
    assert page.startswith(f"page: could not download {server.address('page.html')}: yt-dlp finds no audio there")
    assert gone.startswith(f"gone: could not download {server.address('gone.wav')}: HTTP Error 404")


def test_a_server_that_does_not_answer_is_one_line(server: Server) -> None:
    address = server.address("talk.wav")
    server.shutdown()
    server.server_close()
    [told] = failures(remote("talk", address))
    assert "Connection refused" in told


@pytest.mark.parametrize("name", ["large.wav", "endless.wav"])
def test_a_download_that_is_too_large_is_stopped(server: Server, name: str) -> None:
    soundfile.write("web/large.wav", np.tile(tone(10.0), 5), RATE)
    [told] = failures(remote("talk", server.address(name)), params=replace(PARAMS, max_megabytes=1))
    assert told.startswith(f"talk: {server.address(name)} has ")
    assert "fetch.max_megabytes is 1" in told


def test_a_download_that_was_killed_goes_on_where_it_stopped(server: Server) -> None:
    soundfile.write("web/talk.wav", tone(), RATE)
    source = remote("talk", server.address("talk.wav"))
    begun = fetch.SCRATCH / fetch.key_of(source) / "original.part"
    begun.parent.mkdir(parents=True)
    begun.write_bytes(Path("web/talk.wav").read_bytes()[:30_000])
    fetch.fetch_all([source], RAW, PARAMS)
    assert server.asked[-1] == "/talk.wav from 30000"
    assert record("talk")["provenance"]["file_sha256"] == file_sha256(Path("web/talk.wav"))


def test_a_finished_download_that_was_refused_is_not_downloaded_again(server: Server) -> None:
    soundfile.write("web/talk.wav", tone(), RATE)
    source = remote("talk", server.address("talk.wav"))
    [told] = failures(source, params=replace(PARAMS, min_seconds=5))
    assert "lasts 2.00 s, and at least 5 s" in told
    server.asked.clear()
    fetch.fetch_all([source], RAW, PARAMS)
    assert server.asked.count("/talk.wav") == 1  # yt-dlp looks at the address, and takes the file it has
    assert record("talk")["recording"]["seconds"] == 2


@pytest.mark.parametrize("ending", ["m4a", "mp4"])
def test_a_compressed_file_and_a_video_come_over_the_network(server: Server, ending: str) -> None:
    path = encoded(ending, "web")
    fetch.fetch_all([remote("talk", server.address(path.name))], RAW, PARAMS)
    assert record("talk")["recording"]["seconds"] == pytest.approx(2, abs=0.1)
    assert record("talk")["provenance"]["file_sha256"] == file_sha256(path)


def test_a_connection_that_breaks_half_way_goes_on_from_there(server: Server) -> None:
    soundfile.write("web/broken.wav", tone(), RATE)
    half = Path("web/broken.wav").stat().st_size // 2
    fetch.fetch_all([remote("talk", server.address("broken.wav"))], RAW, PARAMS)
    [again] = re.findall(r"/broken\.wav from (\d+)", server.asked[-1])
    assert 0 < int(again) <= half, "what came of a block that broke is asked for again"
    assert record("talk")["provenance"]["file_sha256"] == file_sha256(Path("web/broken.wav"))


def test_a_download_that_was_given_up_goes_on_at_the_next_run(server: Server) -> None:
    soundfile.write("web/broken.wav", tone(), RATE)
    source, server.breaks = remote("talk", server.address("broken.wav")), True
    [told] = failures(source, params=replace(PARAMS, retries=0))
    assert told == (f"talk: could not download {source.url}: the connection broke off; `dvc repro` goes on from there")
    server.breaks = False
    fetch.fetch_all([source], RAW, PARAMS)
    assert "from" in server.asked[-1]
    assert record("talk")["provenance"]["file_sha256"] == file_sha256(Path("web/broken.wav"))


def test_a_claim_of_two_gigabytes_is_refused_before_a_byte_of_it_comes(server: Server) -> None:
    [told] = failures(remote("talk", server.address("claims.wav")))
    assert told.startswith(f"talk: {server.address('claims.wav')} has 2000.0 MB and fetch.max_megabytes is 10;")
    assert not list(Path(fetch.SCRATCH).rglob("original*"))


def test_a_download_that_the_disk_cannot_hold_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1_000_000_000})
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda path: usage)
    [told] = failures(remote("talk", server.address("claims.wav")), params=replace(PARAMS, max_megabytes=5000))
    assert told.endswith("has 2000.0 MB and 1000.0 are free; make room")


def test_a_redirect_without_end_is_one_line(server: Server) -> None:
    [told] = failures(remote("talk", server.address("loop-here")))
    assert "redirect loop" in told


def test_title_and_size_are_told_before_the_download(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write("web/talk.wav", tone(), RATE)
    fetch.fetch_all([remote("talk", server.address("talk.wav"))], RAW, PARAMS)
    assert "talk: talk, length not told, 0.1 MB\n" in capsys.readouterr().out
    told = {"title": "A talk", "duration": 3733, "filesize": 5e7, "license": "CC BY-NC"}
    assert fetch.announced(remote("talk", "https://a.b/c"), told) == (
        "A talk, 1:02:13, 50.0 MB; its site says 'CC BY-NC', data/sources.yaml 'CC0-1.0'"
    )


HOSTILE = (
    "../../$(touch pwned)`touch pwned`;touch pwned\x1b]0;owned\x07\n<script>alert(1)</script>%(id)s" + "long" * 200
)


def test_what_a_site_says_of_itself_becomes_no_path_no_command_and_no_control_character(server: Server) -> None:
    soundfile.write("web/$(touch pwned);.wav", tone(), RATE)
    page = f"<html><title>{html.escape(HOSTILE)}</title><audio src='$(touch%20pwned);.wav'></audio></html>"
    Path("web/page.html").write_text(page)
    before = set(Path().rglob("*"))
    fetch.fetch_all([remote("talk", server.address("page.html?a=$(touch%20pwned)`touch%20pwned`"))], RAW, PARAMS)
    assert set(Path().rglob("*")) - before - {MEMORY, *MEMORY.parents} == {
        RAW, RAW / "talk.flac", RAW / "talk.json", fetch.SCRATCH
    }  # fmt: skip
    title = record("talk")["provenance"]["title"]
    assert title.startswith("../../$(touch pwned)")
    assert title.isprintable()
    assert len(title) == fetch.LONGEST
