"""Recordings come from files and, by real yt-dlp, from a web server on this machine."""

from __future__ import annotations

import functools
import html
import http.server
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile

from stages import fetch
from timbre.audio import Samples
from timbre.errors import SourceError
from timbre.mapping import file_sha256
from timbre.sources import Source

RATE = 24_000
RAW = Path("data/raw")
PARAMS = fetch.Params(max_hours=1, max_megabytes=10, min_seconds=1, retries=1, timeout_seconds=5)


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
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def tone(seconds: float = 2.0, pitch: float = 220) -> Samples:
    return (0.3 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def local(id: str, pitch: float = 220) -> Source:
    path = f"data/recordings/{id}.wav"
    soundfile.write(path, tone(pitch=pitch), RATE)
    return Source(id, "marina", "en", "CC0-1.0", "own voice", file=path)


def remote(id: str, url: str) -> Source:
    return Source(id, "marina", "en", "CC0-1.0", "own voice", url=url)


def record(id: str) -> dict[str, Any]:
    written: dict[str, Any] = json.loads((RAW / f"{id}.json").read_bytes())
    return written


def failures(*declared: Source, params: fetch.Params = PARAMS) -> list[str]:
    with pytest.raises(SourceError) as caught:
        fetch.fetch_all(declared, RAW, params)
    return str(caught.value).splitlines()


def test_a_file_becomes_a_recording_with_its_provenance() -> None:
    source = local("talk")
    fetch.fetch_all([replace(source, start=0.5)], RAW, PARAMS)
    written = record("talk")
    assert written["recording"] == {
        "id": "talk",
        "speaker": "marina",
        "language": "en",
        "licence": "CC0-1.0",
        "consent": "own voice",
        "origin": "data/recordings/talk.wav",
        "sha256": written["recording"]["sha256"],
        "sample_rate": RATE,
        "seconds": 1.5,
    }
    assert written["provenance"]["channels"] == 1
    assert soundfile.info(RAW / "talk.flac").frames == 1.5 * RATE


def test_two_runs_write_the_same_bytes() -> None:
    source = local("talk")
    contents = []
    for out in (Path("one"), Path("two")):
        fetch.fetch_all([source], out, PARAMS)
        contents.append([path.read_bytes() for path in sorted(out.iterdir())])
    assert contents[0] == contents[1]


def test_only_what_changed_is_brought_again(capsys: pytest.CaptureFixture[str]) -> None:
    declared = [local("one", 200), local("two", 300)]
    fetch.fetch_all(declared, RAW, PARAMS)
    fetch.fetch_all([local("one", 250), declared[1]], RAW, PARAMS)
    assert "fetch: 1 computed, 1 kept, 0 removed" in capsys.readouterr().out


def test_another_licence_rewrites_the_record_alone(capsys: pytest.CaptureFixture[str]) -> None:
    source = local("talk")
    fetch.fetch_all([source], RAW, PARAMS)
    before = (RAW / "talk.flac").stat().st_mtime_ns
    capsys.readouterr()
    fetch.fetch_all([replace(source, licence="CC-BY-4.0", speaker="nele")], RAW, PARAMS)
    assert "0 computed, 1 kept" in capsys.readouterr().out
    assert (record("talk")["recording"]["licence"], record("talk")["recording"]["speaker"]) == ("CC-BY-4.0", "nele")
    assert (RAW / "talk.flac").stat().st_mtime_ns == before


def test_one_that_fails_does_not_keep_the_others_from_being_finished_nor_loses_what_was_there() -> None:
    good, bad = local("good"), local("bad")
    fetch.fetch_all([bad], RAW, PARAMS)
    old = (RAW / "bad.flac").read_bytes(), record("bad")
    Path(bad.origin).write_bytes(b"not audio")
    [told] = failures(bad, good)
    assert told.startswith("bad: data/recordings/bad.wav: is not audio")
    assert record("good")["recording"]["seconds"] == 2
    assert ((RAW / "bad.flac").read_bytes(), record("bad")) == old


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


def test_a_site_that_needs_javascript_says_what_to_install() -> None:
    messages = fetch.Messages()
    messages.warning("[youtube] No supported JavaScript runtime could be found. Only deno is enabled by default; …")
    error = Exception("ERROR: [youtube] abc: Requested format is not available. Use --list-formats for a list")
    told = fetch.reason(error, messages)
    assert told.startswith("Requested format is not available")
    assert "install deno" in told


def test_a_recording_that_is_too_long_is_refused() -> None:
    [told] = failures(local("talk"), params=replace(PARAMS, max_hours=1 / 3600))
    assert told.startswith("talk: data/recordings/talk.wav: is longer than")


def test_what_a_site_claims_is_checked_before_anything_is_downloaded() -> None:
    source = remote("talk", "https://a.b/c")
    with pytest.raises(SourceError, match=r"lasts 9\.0 h; declare a part"):
        fetch.check_claims(source, {"duration": 9 * 3600}, PARAMS)
    with pytest.raises(SourceError, match="live stream"):
        fetch.check_claims(source, {"is_live": True}, PARAMS)
    fetch.check_claims(replace(source, start=60, end=120), {"duration": 9 * 3600}, PARAMS)


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


def encoded(ending: str, folder: str) -> Path:
    """Two seconds of tone in that container, in a video for those that hold one."""
    wav, target = Path("tone.wav"), Path(folder, f"talk.{ending}")
    soundfile.write(wav, np.repeat(tone(), 2), 2 * RATE)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(wav)]
    if ending in ("mp4", "mkv"):
        command += ["-f", "lavfi", "-i", "color=size=16x16:rate=5:duration=2"]
    subprocess.run([*command, str(target)], check=True)
    return target


@pytest.mark.parametrize("ending", ["wav", "flac", "mp3", "m4a", "ogg", "opus", "mp4", "mkv"])
def test_a_local_file_in_any_container_is_a_recording(ending: str) -> None:
    path = encoded(ending, "data/recordings")
    fetch.fetch_all([replace(remote("talk", ""), url=None, file=str(path))], RAW, PARAMS)
    written = record("talk")
    assert written["recording"]["seconds"] == pytest.approx(2, abs=0.1)
    assert written["recording"]["sample_rate"] == 2 * RATE
    assert written["provenance"]["file_sha256"] == file_sha256(path)


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
    assert set(Path().rglob("*")) - before == {
        RAW, RAW / "talk.flac", RAW / "talk.json", fetch.SCRATCH.parent, fetch.SCRATCH
    }  # fmt: skip
    title = record("talk")["provenance"]["title"]
    assert title.startswith("../../$(touch pwned)")
    assert title.isprintable()
    assert len(title) == fetch.LONGEST
