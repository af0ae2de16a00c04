"""Where a voice's data is shared: folders and an S3 of one's own, a colleague's clone, and what was not pushed."""

from __future__ import annotations

import asyncio
import functools
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import git_histories
from tests.support.dvc_repo import HEADER, Desk, begin
from tests.support.git_history import Voice
from timbre.diff.render import render
from timbre.mapping import dvc_remote

WORDS = HEADER + "0\t1\tann\t\tone two\n"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of a bucket on a server of this machine."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=address, **keys).create_bucket(Bucket="voices")
    yield address
    server.stop()


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """The port of an SSH server of this machine that takes one password, and its home."""
    import asyncssh

    home = tmp_path_factory.mktemp("home")

    class Door(asyncssh.SSHServer):
        def begin_auth(self, username: str) -> bool:
            return True

        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return (username, password) == ("ann", "sesame")

    async def listen() -> asyncssh.SSHAcceptor:
        keys = [asyncssh.generate_private_key("ssh-ed25519")]
        files = functools.partial(asyncssh.SFTPServer, chroot=str(home))
        return await asyncssh.listen("127.0.0.1", 0, server_factory=Door, server_host_keys=keys, sftp_factory=files)

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(listen(), loop).result(30)
    yield server.get_port(), home
    loop.call_soon_threadsafe(server.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(scope="module")
def first(warm: Path, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    desk = begin(tmp_path_factory.mktemp("first") / "voice", warm)
    desk.write("transcripts/noon.tsv", WORDS)
    desk.publish("First voice")
    return desk


Commands = list[tuple[str, ...]]  # words after `dvc remote`


def set_up(kind: str, request: pytest.FixtureRequest, folder: Path) -> tuple[Commands, Commands, dict[str, str]]:
    """As the README says it: what git keeps, what it never sees, and the environment."""
    if kind == "folder":
        return [("add", "-d", "storage", str(folder))], [], {}
    if kind == "ssh":
        port, _ = request.getfixturevalue("ssh")
        kept = [("add", "-d", "storage", f"ssh://ann@127.0.0.1:{port}/voice")]
        return kept, [("modify", "--local", "storage", "password", "sesame")], {}
    endpoint = ("modify", "storage", "endpointurl", request.getfixturevalue("s3"))
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
    return [("add", "-d", "storage", "s3://voices/marina"), endpoint], [], keys


@pytest.mark.pipeline
@pytest.mark.parametrize("kind", ["folder", "s3", "ssh"])
def test_a_colleague_pulls_and_computes_nothing(
    kind: str, first: Desk, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    kept, secret, environment = set_up(kind, request, tmp_path / "shared")
    ours = first.copy(tmp_path / "ours")
    for command in kept + secret:
        ours.run("dvc", "remote", *command)
    ours.run("git", "commit", "-qam", "Share it")
    ours.run("dvc", "push", "-q", **environment)
    ours.run("git", "clone", "-q", str(ours.root), str(tmp_path / "theirs"))
    theirs = Desk(tmp_path / "theirs", ours.warm)
    assert not (theirs.root / "counts").exists()
    assert "sesame" not in (theirs.root / ".dvc/config").read_text()
    for command in secret:
        theirs.run("dvc", "remote", *command)
    theirs.run("dvc", "pull", "-q", **environment)
    assert (theirs.root / "counts").read_bytes() == (ours.root / "counts").read_bytes()
    assert "Running stage" not in theirs.run("dvc", "repro").stdout


def with_remote(root: Path, url: str, *more: str) -> Voice:
    voice = Voice(root)
    lines = ["[core]", "remote = storage", "['remote \"storage\"']", f"url = {url}", *more]
    (voice.root / ".dvc/config").write_text("\n".join(lines) + "\n")
    voice.add("noon", ["The trellis boat leaves.", "It comes back.", "Then it is dark."])
    voice.commit("First voice")
    return voice


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_what_was_not_pushed_is_told(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, more = tmp_path / "shared", ()
    if kind == "s3":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        more = (f"endpointurl = {request.getfixturevalue('s3')}",)
    voice = with_remote(tmp_path / "voice", "s3://voices/new" if kind == "s3" else str(shared), *more)
    if kind == "folder":
        shutil.copytree(voice.root / ".dvc/cache/files", shared / "files")  # what `dvc push` leaves
        found = git_histories.report(voice.root, None, "main")
        assert (found.shared.lacks, found.shared.refused) == ([], "")
        voice.edit("noon", 0, text="The Trelis boat leaves.")
        voice.commit("Correct a name")
    found = git_histories.page(voice.root, "main", None)
    lacks = ["data/segments", "data/chunks", "data/dataset", "models/adapter"]
    assert [path for path in found.report.shared.lacks if kind == "folder" or path in lacks] == lacks
    assert "reports/metrics.json" not in found.report.shared.lacks, "git has it"
    text = render(found, "markdown")
    assert "A colleague cannot get what <code>storage</code> lacks; &#96;dvc push&#96; sends it:" in text
    assert "outputs not in the remote" in text


def test_a_remote_that_is_not_there_is_named_and_ends_nothing(tmp_path: Path) -> None:
    voice = with_remote(tmp_path / "voice", str(tmp_path / "unplugged"))
    found = git_histories.page(voice.root, "main", None)
    assert found.report.shared.refused == f"{tmp_path}/unplugged is not there"
    assert "The remote <code>storage</code> could not be asked" in render(found, "markdown")
    assert git_histories.report(voice.root, "main", None, remotes=False).shared.remote == ""


def test_a_remote_that_never_answers_costs_seconds_and_tells_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice = with_remote(tmp_path / "voice", str(tmp_path))
    asked = dvc_remote.Remote(voice.root)
    monkeypatch.setattr(dvc_remote, "PATIENCE", 0.05)
    assert asked._patiently(lambda: __import__("time").sleep(5)) is None
    assert asked.refused == "no answer within 0 s"
    asked.refused = ""
    monkeypatch.setattr(dvc_remote, "PATIENCE", 10)

    def fail() -> None:
        raise ConnectionError("https://ann:secret@example.org/x refused\nand more")

    assert asked._patiently(fail) is None
    assert asked.refused == "https://example.org/x refused"
    assert asked.read("0" * 32) is None, "it is asked no more"
