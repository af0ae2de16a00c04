"""Where a voice's data is shared: folders and an S3 of one's own, a colleague's clone, and what was not pushed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.desks import HEADER, Desk, begin

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


def desk_at(root: Path, *remote: tuple[str, ...]) -> Desk:
    desk = begin(root)
    for arguments in remote:
        desk.run("dvc", "remote", *arguments)
    desk.write("transcripts/noon.tsv", WORDS)
    desk.publish("First voice")
    return desk


@pytest.mark.pipeline
@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_a_colleague_pulls_and_computes_nothing(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    remote = [("add", "-d", "storage", str(tmp_path / "shared"))]
    if kind == "s3":
        remote = [
            ("add", "-d", "storage", "s3://voices/marina"),
            ("modify", "storage", "endpointurl", request.getfixturevalue("s3")),
        ]
    ours = desk_at(tmp_path / "ours", *remote)
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
    ours.run("dvc", "push", "-q", **keys)
    ours.run("git", "clone", "-q", str(ours.root), str(tmp_path / "theirs"))
    theirs = Desk(tmp_path / "theirs")
    assert not (theirs.root / "counts").exists()
    theirs.run("dvc", "pull", "-q", **keys)
    assert (theirs.root / "counts").read_bytes() == (ours.root / "counts").read_bytes()
    assert "Running stage" not in theirs.run("dvc", "repro").stdout
    theirs.write("transcripts/noon.tsv", WORDS + "1\t2\tann\t\tthree\n")
    assert theirs.run("dvc", "repro").stdout.count("Running stage") == 2
