"""The review page's server: who may ask it what, and what a save may do to a file."""

from __future__ import annotations

import io
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.support.consent import write_speakers
from tests.support.review_client import Client, serving
from tests.support.review_repository import RATE, build
from timbre.audio import flac_bytes
from timbre.commands import cli
from timbre.core.errors import DataError, TimbreError
from timbre.web import endpoints
from timbre.web.endpoints import MAX_JSON
from timbre.web.review import transcripts_service
from timbre.web.review.transcripts_service import TranscriptsService


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.chdir(build(tmp_path))
    with serving() as client:
        yield client


def connection(client: Client) -> socket.socket:
    """One that does not have to send a whole request."""
    return socket.create_connection(("127.0.0.1", client.server.port), timeout=60)


def request_head(client: Client, path: str, *headers: str) -> bytes:
    rows = [f"{path} HTTP/1.1", f"Host: 127.0.0.1:{client.server.port}", *headers, "", ""]
    return "\r\n".join(rows).replace(" /", f" /{client.server.access.token}/", 1).encode()


@pytest.mark.parametrize("token", ["wrong", "%00", "..", "x" * 5000])
def test_without_the_token_nothing_is_told(client: Client, token: str) -> None:
    for path in ("", "static/review.js", "api/recordings", "audio/noon"):
        assert client.ask(path, token=token).status == 403
    assert client.ask("api/recording/noon", {"digest": "", "lines": []}, token=token).status == 403


def test_only_this_machine_and_only_its_own_page_may_ask(client: Client) -> None:
    port = client.server.port
    assert client.server.url.startswith(f"http://127.0.0.1:{port}/")
    assert client.ask("", headers={"Host": "evil.example"}).status == 403
    assert client.ask("", headers={"Host": f"evil.example:{port}"}).status == 403
    for origin in ("http://evil.example", "null", "https://127.0.0.1:1", "http://127.0.0.1"):
        assert client.ask("api/recordings", headers={"Origin": origin}).status == 403
        assert client.ask("api/find", {}, headers={"Origin": origin}).status == 403
    assert client.ask("api/recordings", headers={"Origin": f"http://127.0.0.1:{port}"}).status == 200


def test_every_answer_forbids_foreign_scripts_and_frames(client: Client) -> None:
    for path, status in (("", 200), ("record", 200), ("api/recordings", 200), ("nothing", 404), ("audio/noon", 200)):
        answer = client.ask(path)
        assert answer.status == status
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
    page = client.ask("").body.decode()
    assert "<script>" not in page
    assert "style=" not in page
    scripts = [path.read_text() for path in endpoints.STATIC.glob("*.js")]
    assert len(scripts) > 10
    assert "innerHTML" not in "".join(scripts)


@pytest.mark.parametrize(
    "name",
    ["..%2f..%2f..%2fetc%2fpasswd", "%2e%2e", "../../data/sources.yaml", "noon.json", "dawn", "noon%00", "NOON", ""],
)
def test_a_path_that_is_no_recording_leads_nowhere(client: Client, name: str) -> None:
    for path in (f"audio/{name}", f"api/recording/{name}", f"api/peaks/{name}", f"api/digest/{name}"):
        assert client.ask(path).status in (404, 422), path
    assert client.ask(f"api/recording/{name}", {"digest": "", "lines": []}).status in (400, 404, 422)
    assert sorted(path.name for path in Path("data/transcripts").iterdir()) == []


def test_huge_unmeasured_and_foreign_bodies_are_refused(client: Client) -> None:
    path = "api/recording/noon"
    assert client.ask(path, b"", headers={"Content-Length": str(MAX_JSON + 1)}).status == 413
    assert client.ask(path, b"", headers={"Content-Length": "-1"}).status == 400
    assert client.ask(path, b"{}", headers={"Content-Type": "text/plain"}).status == 415
    for body in (b"{", b"[" * 100_000, b"\xff", b"null", b'{"digest": 1, "lines": []}'):
        assert client.ask(path, body).status == 400, body[:20]
    assert client.ask("api/recordings").status == 200, "still there"


def test_a_body_without_its_length_is_refused(client: Client) -> None:
    with connection(client) as stream:
        headers = ("Content-Type: application/json", "Transfer-Encoding: chunked")
        stream.sendall(request_head(client, "POST /api/find", *headers) + b"2\r\n{}\r\n0\r\n\r\n")
        assert b" 411 " in stream.recv(4096).split(b"\r\n")[0]


@contextmanager
def stopped_half_way(client: Client) -> Iterator[list[socket.socket]]:
    """Three clients: one says nothing, one half of a line, one half of a body."""
    body = request_head(client, "POST /api/find", "Content-Type: application/json", "Content-Length: 100")
    with connection(client) as mute, connection(client) as halting, connection(client) as half:
        halting.sendall(b"GET / HT")
        half.sendall(body + b"{")
        yield [mute, halting, half]


def test_clients_that_stop_half_way_stop_nobody_else(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "SILENCE", 3600.0)
    with stopped_half_way(client) as waiting:
        assert client.ask("api/recordings").status == 200
        for one in waiting:
            one.setblocking(False)
            with pytest.raises(BlockingIOError):  # neither answered nor given up: the page did not wait for it
                one.recv(1)


def test_clients_that_stop_half_way_are_given_up(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "SILENCE", 0.3)
    with stopped_half_way(client) as (mute, halting, half):
        assert (mute.recv(100), halting.recv(100)) == (b"", b"")
        assert b" 408 " in half.recv(4096).split(b"\r\n")[0]


def test_a_mistake_of_our_own_is_told_in_the_terminal_and_its_answer_has_the_headers(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(TranscriptsService, "summaries", lambda self: 1 / 0)
    with serving() as broken:
        answer = broken.ask("api/recordings")
    assert answer.status == 500
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "ZeroDivisionError" in caplog.text
    assert client.server.access.token not in caplog.text


def test_the_page_starts_without_a_model_and_ends_by_one_ctrl_c(client: Client) -> None:
    code = (
        "import sys; from timbre.commands import cli; code = cli.execute(['review', '--no-browser'])\n"
        "assert not {'torch', 'transformers', 'mlflow'} & set(sys.modules); sys.exit(code)"
    )
    page = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert page.stdout
    assert page.stdout.readline().startswith("review    http://127.0.0.1:")
    page.send_signal(signal.SIGINT)
    _, complaints = page.communicate(timeout=30)
    assert (page.returncode, complaints) == (0, "")


def test_the_sound_comes_in_the_parts_that_a_player_asks_for(client: Client) -> None:
    whole = Path("data/raw/noon.flac").read_bytes()
    size = len(whole)
    for asked, status, part in [
        (None, 200, whole),
        ("bytes=0-", 206, whole),
        ("bytes=100-199", 206, whole[100:200]),
        ("bytes=-50", 206, whole[-50:]),
        (f"bytes=100-{size * 2}", 206, whole[100:]),
    ]:
        answer = client.ask("audio/noon", headers={"Range": asked} if asked else {})
        assert (answer.status, answer.body) == (status, part), asked
        if asked:
            first = size - 50 if asked == "bytes=-50" else int(asked[6:].split("-")[0])
            assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(part) - 1}/{size}"
    for asked in (f"bytes={size}-", "bytes=5-2", "bytes=-", "lines=0-1", "bytes=-0", f"bytes=-0,{size}-"):
        assert client.ask("audio/noon", headers={"Range": asked}).status in (400, 416), asked
    parts = client.ask("audio/noon", headers={"Range": "bytes=0-1,4-5"})
    assert parts.status == 206
    assert whole[0:2] in parts.body
    assert whole[4:6] in parts.body


def test_a_line_is_heard_while_the_sound_is_still_being_drawn(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, played = threading.Event(), threading.Event()

    def drawn(*_: object) -> bytes:
        begun.set()
        assert played.wait(60), "the player waited for the picture"
        return b"peaks"

    monkeypatch.setattr(transcripts_service, "peaks", drawn)
    with ThreadPoolExecutor(1) as another:
        picture = another.submit(client.ask, "api/peaks/noon")
        assert begun.wait(60)
        assert client.ask("audio/noon", headers={"Range": "bytes=0-9"}).status == 206
        played.set()
        assert picture.result().body == b"peaks"


def test_the_first_save_begins_the_transcript_and_the_next_touches_one_line(client: Client) -> None:
    path = Path("data/transcripts/noon.tsv")
    digest, lines = client.lines()
    assert (digest, lines[1]) == ("", [4.2, 7.6, "ann", "", "Boats leave from pier for."])
    assert not path.exists(), "looking writes nothing"
    lines[1][4] = "Boats leave from pier four."
    digest = client.save(digest, lines).value["digest"]
    before = path.read_bytes()
    assert before.startswith(b"# audio: ")
    path.write_bytes(before := before.replace(b"start\tend", b"# my note\nstart\tend").replace(b"\n", b"\r\n"))
    digest, lines = client.lines()
    lines[0][3] = "ok"
    assert client.save(digest, lines).status == 200
    after = path.read_bytes()
    assert [row for row in after.split(b"\n") if row not in before.split(b"\n")] == [
        b"0.20\t3.60\tann\tok\tThe tide comes in.\r"
    ]
    assert len(after.split(b"\n")) == len(before.split(b"\n"))


def test_an_edit_of_an_older_file_writes_nothing_and_shows_what_the_file_says(client: Client) -> None:
    path = Path("data/transcripts/noon.tsv")
    digest, lines = client.lines()
    digest = client.save(digest, lines).value["digest"]
    theirs = path.read_text().replace("tide", "time")
    path.write_text(theirs)
    lines[0][4] = "Mine."
    answer = client.save(digest, lines)
    assert answer.status == 409
    assert answer.value["theirs"]["lines"][0][4] == "The time comes in."
    assert path.read_text() == theirs
    assert client.save(answer.value["theirs"]["digest"], lines).status == 200
    path.unlink()
    assert client.save(digest, lines).status == 409, "somebody removed it"
    assert not path.exists()


@pytest.mark.parametrize(
    "line",
    [
        [0.2, 3.6, "ann", "", "tab\there"],
        [0.2, 3.6, "ann", "", "break\nhere"],
        [0.2, 3.6, "ann", "", " "],
        [0.2, 3.6, "ann", "", "\ud800"],
        [0.2, 3.6, "ann", "maybe", "x"],
        [0.2, 3.6, "Ann B", "", "x"],
        [3.6, 0.2, "ann", "", "x"],
        [0.2, 9.0, "ann", "", "overlaps the next"],
        [float("nan"), 3.6, "ann", "", "x"],
        [0.2, float("inf"), "ann", "", "x"],
        [10**400, 3.6, "ann", "", "x"],
        [True, 3.6, "ann", "", "x"],
        ["0.2", 3.6, "ann", "", "x"],
        [0.2, 3.6, "ann", "", None],
        [0.2, 3.6, "ann", ""],
        "x",
    ],
)
def test_a_line_that_would_break_the_file_is_refused(client: Client, line: Any) -> None:
    digest, lines = client.lines()
    assert client.save(digest, [line, *lines[1:]]).status == 422
    assert not Path("data/transcripts/noon.tsv").exists()
    digest = client.save(digest, lines).value["digest"]
    before = Path("data/transcripts/noon.tsv").read_bytes()
    assert client.save(digest, [line, *lines[1:]]).status == 422
    assert client.save(digest, [*lines, [20.0, 25.0, "ann", "", "beyond the end"]]).status == 422
    assert Path("data/transcripts/noon.tsv").read_bytes() == before


def test_any_text_comes_back_as_it_was_saved(client: Client) -> None:
    digest, lines = client.lines()
    odd = "<script>alert(1)</script> & \"q\" 'q' \u2028 \u202e ünï 海 😀 \\n | #"
    lines[0][4] = odd
    assert client.save(digest, lines).status == 200
    assert client.lines()[1][0][4] == odd


def test_find_shows_and_replace_writes_only_what_was_shown(client: Client) -> None:
    for name in ("noon", "night"):
        client.save(*client.lines(name), name=name)
    asked = {"old": "pier for", "new": "pier four", "ignore_case": False}
    shown = client.ask("api/find", asked).value
    assert [line["id"] for line in shown["found"]] == ["noon", "night"]
    assert shown["found"][0]["pieces"] == [["Boats leave from ", "pier for", "pier four"], [".", "", ""]]
    path = Path("data/transcripts/night.tsv")
    path.write_text(path.read_text().replace("tide", "time"))
    assert client.ask("api/replace", asked | {"digests": shown["digests"]}).status == 409
    assert "four" not in Path("data/transcripts/noon.tsv").read_text(), "all or nothing"
    shown = client.ask("api/find", asked).value
    assert client.ask("api/replace", asked | {"digests": shown["digests"]}).value == {"places": 2, "number": 0}
    assert "pier four" in Path("data/transcripts/noon.tsv").read_text()
    assert client.ask("api/find", asked | {"old": " "}).status == 422


def test_a_recording_that_cannot_be_opened_does_not_stop_the_others(client: Client) -> None:
    Path("data/transcripts/noon.tsv").write_text("start\tend\tspeaker\tflag\ttext\n5\t2\tann\t\tx\n")
    Path("data/drafts/night.json").unlink()
    noon, night = client.ask("api/recordings").value
    assert "noon.tsv:2: end 2.00 is before start" in noon["problem"]
    assert "`dvc repro transcribe` makes it" in night["problem"]
    assert client.ask("api/recording/noon").status == 422


def test_a_transcript_of_other_audio_is_opened_with_a_warning(client: Client) -> None:
    client.save(*client.lines())
    path = Path("data/transcripts/noon.tsv")
    path.write_text("# audio: 12\n" + path.read_text().split("\n", 1)[1])
    assert "other audio" in client.ask("api/recording/noon").value["warning"]


def test_peaks_are_computed_once_and_say_where_it_is_loud_silent_or_clipped(client: Client) -> None:
    found = client.ask("api/peaks/noon").body
    assert len(found) == 2000
    assert max(found[0:15]) == 0
    assert 100 < max(found) < 255
    (kept,) = Path(".timbre/peaks").iterdir()
    kept.write_bytes(b"kept")
    assert client.ask("api/peaks/noon").body == b"kept"
    loud = np.zeros(RATE, np.float32)
    loud[8000:8100] = 1.0
    Path("data/raw/night.flac").write_bytes(flac_bytes(loud, RATE))
    drawn = client.ask("api/peaks/night").body
    assert (drawn[49], drawn[50], drawn[51]) == (0, 255, 0)


def test_the_command_refuses_what_it_cannot_open(client: Client) -> None:
    with pytest.raises(DataError, match="dawn: no such recording"):
        cli.execute(["review", "dawn", "--no-browser"])
    for port in (client.server.port, 70_000):
        with pytest.raises(TimbreError, match="cannot be used"):
            cli.execute(["review", "--no-browser", "--port", str(port)])


def test_the_list_of_recordings_says_how_each_sounds(client: Client) -> None:
    assert {one["sound"] for one in client.ask("api/recordings").value} == {""}, "nothing is measured yet"
    Path("data/speech").mkdir()
    Path("data/speech/noon.json").write_text('{"key": "k", "loudness": [-21.4, 6.2, -3.0]}')
    told = {one["id"]: one["sound"] for one in client.ask("api/recordings").value}
    assert told.pop("noon") == "-21 LUFS, range 6 LU"
    assert set(told.values()) == {""}


def test_who_took_the_consent_back_is_silent(client: Client) -> None:
    """Their lines, and a whole recording of theirs; what the page keeps of it follows the files."""
    whole = Path("data/raw/noon.flac").read_bytes()
    assert client.ask("audio/noon").body == whole
    head = "start\tend\tspeaker\tflag\ttext\n"
    Path("data/transcripts/noon.tsv").write_text(f"{head}1\t2.5\tann\t\tYes.\n4\t7\tbob\tdrop\tNo.\n")
    write_speakers(Path(), ann="null", bob="2026-04-01")
    heard, rate = soundfile.read(io.BytesIO(client.ask("audio/noon").body), dtype="int16")
    original, _ = soundfile.read(io.BytesIO(whole), dtype="int16")
    assert len(heard) == len(original)
    first, last = 4 * rate, 7 * rate
    assert not heard[first:last].any()
    assert original[first:last].any()
    assert (heard[:first] == original[:first]).all()
    assert (heard[last + 1 :] == original[last + 1 :]).all()
    assert "is silent here; `timbre remove`" in client.ask("api/recording/noon").value["warning"]
    assert len(list(Path(".timbre/muted").iterdir())) == 1
    write_speakers(Path(), ann="2026-04-01", bob="null")
    heard, _ = soundfile.read(io.BytesIO(client.ask("audio/noon").body), dtype="int16")
    assert not heard.any()
    assert len(list(Path(".timbre/muted").iterdir())) == 1
    write_speakers(Path(), ann="null", bob="null")
    assert client.ask("audio/noon").body == whole
