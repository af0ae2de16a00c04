"""Compare voices by ear: a blind listening page, whose answers count beside the machine's numbers.

Opens a local page that plays sentences of two or more voices, equally loud, in random order and without their names.
A voice is a condition (tuned_clone), a version (v1, main) or both (v1:tuned); without any, tuned_clone and base_clone
are compared. Some trials check that somebody listens: the same sound twice, or one with noise. Each answer is a row of
data/opinions/<listener>.tsv at once; commit it, and `dvc repro` shows what people prefer, and how sure that is.

`--export FILE` writes the test as one HTML file for people without the repository. They send back a file of answers,
which `--take FILE` checks line by line and adds.
"""

from __future__ import annotations

import argparse
import hashlib
import secrets
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from timbre.commands.place import given_path
from timbre.core.content import write_atomic
from timbre.core.errors import DataError, SourceError, TimbreError, raise_all
from timbre.core.records import check_id

if TYPE_CHECKING:
    from timbre.versions.sample_sounds import VersionVoice
    from timbre.web.compare.sitting import Sitting

EXAMPLES = [
    ("timbre compare", "the adapter's voice, and cloning alone, blind"),
    ("timbre compare v1 v2 --kind abx", "can anybody hear the difference of two versions?"),
    ("timbre compare base_clone tuned tuned_clone --kind rating", "against the true recording, from 0 to 100"),
    ("timbre compare --export test.html", "one file for people without the repository"),
    ("timbre compare --take answers.tsv", "check and add what they sent back"),
]
USUAL = ("tuned_clone", "base_clone")
LISTENER = Path(".timbre/listener")  # a pseudonym of this machine's, made once


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("voices", nargs="*", metavar="VOICE", help="condition, version, or version:condition")
    parser.add_argument("--kind", choices=("ab", "abx", "rating"), default="ab", help="kind of test (ab)")
    parser.add_argument("-n", type=int, default=20, metavar="N", help="trials, without those that check (20)")
    parser.add_argument("--listener", default="", metavar="NAME", help="pseudonym of the person who listens")
    parser.add_argument("--seed", type=int, help="of the order (random)")
    parser.add_argument("--export", type=given_path, metavar="FILE", help="write the test as one HTML file instead")
    parser.add_argument("--take", type=given_path, metavar="FILE", help="check and add answers to an exported test")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (any that is free)")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")


def command(args: argparse.Namespace) -> int:
    if args.listener:
        check_id(args.listener)
    if args.take:
        return take(args.take, args.listener)
    if args.n < 1:
        raise DataError(f"-n {args.n}: a test has one trial or more")
    sitting, speakers = prepared(args)
    if args.export:
        return export(sitting, speakers, args.export)
    sitting.listener = args.listener or pseudonym()
    return serve(sitting, args.port, browser=not args.no_browser)


def take(file: Path, listener: str) -> int:
    from timbre.editing.owned_files import one_editor
    from timbre.project import listening_tests

    with one_editor():
        taken = listening_tests.take(file, listener)
    print(f"{taken.path}: {taken.listener} answered {taken.answered} of {taken.screens} trials; commit the file")
    return 0


def export(sitting: Sitting, speakers: Sequence[str], file: Path) -> int:
    from timbre.project import listening_tests
    from timbre.web.compare.exported_page import exported

    page = exported(sitting, speakers)
    plan = listening_tests.save(sitting.test)
    write_atomic(file, page)
    print(f"{file}: {len(sitting.test.screens)} trials, {len(page) / 1e6:.1f} MB; send it, and commit {plan}")
    print("what comes back: timbre compare --take FILE")
    return 0


def serve(sitting: Sitting, port: int, browser: bool) -> int:
    from timbre.web.compare.routes import compare_server

    try:
        server = compare_server(sitting, port)
    except (OSError, OverflowError) as error:
        raise TimbreError(f"port {port} cannot be used ({error}); name another with --port") from error
    with server:
        print(f"compare   {server.url}\nCtrl+C ends it; every answer is saved at once", flush=True)
        try:
            if browser:
                webbrowser.open(server.url)
            server.serve()
        except KeyboardInterrupt:
            print()
    if sitting.answered:
        print(f"data/opinions/{sitting.listener}.tsv: {len(sitting.answered)} answers; commit it, then `dvc repro`")
    return 0


def prepared(args: argparse.Namespace) -> tuple[Sitting, list[str]]:
    """The test, and whose voices are in it."""
    from timbre.project.permissions import Permissions, of_dataset
    from timbre.web.compare.planning import ComparedVoice, plan
    from timbre.web.compare.sitting import Sitting

    voices = opened(args.voices)
    used = of_dataset(Path("data/dataset"))
    Permissions().check(used, taking_part=True)
    contents: dict[str, bytes] = {}
    compared = [ComparedVoice(v.key, {p: _kept(contents, v.sound(p)) for p in v.samples}) for v in voices]
    if len({voice.key for voice in compared}) < len(compared):
        raise DataError("two of these are the same voice; name a condition or version that differs")
    first = voices[0]
    truths = (
        {p: _kept(contents, first.clip(clip)) for p, clip in first.true_clips().items()}
        if args.kind == "rating"
        else {}
    )
    reference = next((v.clip(name) for v in voices if (name := v.reference())), None)
    if args.export:
        _mark(contents, voices)
    seed = secrets.randbits(32) if args.seed is None else args.seed
    test = plan(args.kind, compared, {p: t for v in voices for p, t in v.texts.items()}, truths, args.n, seed)
    return Sitting(test, contents.__getitem__, _kept(contents, reference) if reference else None), list(used)


def _mark(contents: dict[str, bytes], voices: Sequence[VersionVoice]) -> None:
    """What goes to others says that it is synthetic; the names, which answers go by, stay those of the samples."""
    from timbre.audio.leaving import marked_copy, voice_of
    from timbre.versions.tables import ADAPTER

    for voice in voices:
        for prompt, sample in voice.samples.items():
            content = voice.sound(prompt)
            key = voice_of(sample, voice.version.lock.outs.get(ADAPTER))
            contents[_named(content)] = marked_copy(content, key)


def _named(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _kept(contents: dict[str, bytes], content: bytes) -> str:
    contents[name := _named(content)] = content
    return name


def opened(names: Sequence[str]) -> list[VersionVoice]:
    from timbre.diff import sounds
    from timbre.project.permissions import Permissions
    from timbre.versions.dvc_outs import Outs
    from timbre.versions.sample_sounds import version_voice
    from timbre.versions.snapshot import open_snapshot
    from timbre.versions.tables import VersionTables

    root = Path.cwd()
    asked = [parsed(name) for name in names] or [("", condition) for condition in USUAL]
    if len(asked) == 1:  # against the voice as it is now
        asked.append(("", USUAL[0]) if asked[0] != ("", USUAL[0]) else ("", USUAL[1]))
    outs = Outs(root)
    versions = {rev: VersionTables(open_snapshot(root, rev or None), outs) for rev, _ in asked}
    here = versions.get("") or VersionTables(open_snapshot(root, None), outs)
    for version in versions.values():
        raise_all(SourceError, sounds.barred(version, here, Permissions()))
    return [version_voice(versions[rev], condition) for rev, condition in asked]


def parsed(name: str) -> tuple[str, str]:
    """Version, empty for the work tree, and condition."""
    from timbre.evaluation.metrics import CONDITIONS

    if name in CONDITIONS:
        return "", name
    version, colon, condition = name.rpartition(":")
    if colon and condition not in CONDITIONS:
        raise DataError(f"{name}: {condition!r} is no condition; there are {', '.join(CONDITIONS)}")
    return (version, condition) if colon else (name, USUAL[0])


def pseudonym() -> str:
    """This machine's, made once; git knows nothing of it."""
    try:
        return check_id(LISTENER.read_text(encoding="utf-8").strip())
    except (OSError, DataError):
        name = f"listener-{secrets.token_hex(3)}"
        write_atomic(LISTENER, f"{name}\n")
        return name
