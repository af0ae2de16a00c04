"""Serve voices over HTTP: OpenAI's speech API, and a page to try them.

Speaks for many callers at once, with one base model for all the voices. `champion` and `candidate` follow MLflow's
aliases while the server runs. Only this machine can reach it; another address needs a file of API keys. A voice whose
speaker withdrew consent, or did not consent to `serve`, is refused. Ctrl+C or SIGTERM ends it when all have been heard.
"""

from __future__ import annotations

import argparse
import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from timbre.commands.place import given_path
from timbre.core.errors import DataError, TimbreError

if TYPE_CHECKING:
    from timbre.exchange.served_voices import ServedVoices

EXAMPLES = [
    ("timbre serve", "the adapter of the work tree, on http://127.0.0.1:8000"),
    ("timbre serve --voice champion --voice v1.2", "two versions beside each other; the first is the default"),
    ("timbre serve --host 0.0.0.0 --api-key-file keys.txt", "for other machines"),
]
SLOTS = 8  # sentences at once; every slot costs, so a GPU with many callers may have 32
WAITING = 32
PER_KEY = 16


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--voice", action="append", metavar="VERSION",
        help="champion, candidate, base, a commit, a run, or a folder with an adapter (models/adapter); "
        "may be given several times",
    )  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="port (8000); 0 takes any that is free")
    parser.add_argument(
        "--api-key-file", type=given_path, metavar="FILE", help="a line for each key: a name, a space, a key"
    )
    parser.add_argument("--slots", type=int, default=SLOTS, help=f"sentences spoken at once ({SLOTS})")
    parser.add_argument("--waiting", type=int, default=WAITING, help=f"requests that may wait for a slot ({WAITING})")
    parser.add_argument("--per-key", type=int, default=PER_KEY, help=f"requests of one key at once ({PER_KEY})")
    parser.add_argument(
        "--reference", metavar="CLIP", help="clip of the training data to clone from; none clones nothing (the clip of "
        "the samples, if there is one)",
    )  # fmt: skip
    parser.add_argument("--log-text", action="store_true", help="write what was spoken into .timbre/spoken.jsonl, too")


def command(args: argparse.Namespace) -> int:
    check(args)
    from timbre.commands.trace import of_version
    from timbre.exchange import voice_versions
    from timbre.exchange.served_voices import ServedVoices
    from timbre.synthesis.spoken_log import SpokenLog
    from timbre.web.serve.keys import ApiKeys
    from timbre.web.serve.server import SpeechServer
    from timbre.web.serve.speech_routes import SpeechService

    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    keys = ApiKeys.read(args.api_key_file, args.per_key)
    versions = [voice_versions.find(name) for name in dict.fromkeys(args.voice or ["models/adapter"])]
    voices = ServedVoices(versions, args.slots, args.waiting)
    try:
        log = SpokenLog(with_text=args.log_text)
        service = SpeechService(voices, keys, reference_of(voices, args), log, trace=partial(of_version, Path()))
        server = SpeechServer(service, args.host, args.port)
    except TimbreError:
        voices.close()
        raise
    except (OSError, OverflowError) as error:
        voices.close()
        raise TimbreError(f"{args.host}:{args.port} cannot be used ({error}); name another with --port") from error
    with server:
        voices.engine.wait_until_ready()
        named = ", ".join(f"{version.id} ({version.short})" for version in versions)
        print(f"serving   {server.url}\nvoices    {named}\nCtrl+C ends it", flush=True)
        try:
            server.serve()
        except KeyboardInterrupt:
            print()
    return 0


def check(args: argparse.Namespace) -> None:
    from timbre.web.serve.server import is_loopback

    if not is_loopback(args.host) and args.api_key_file is None:
        raise DataError(f"--host {args.host}: other machines can reach it, so it needs keys; add --api-key-file FILE")
    for name in ("slots", "waiting", "per_key"):
        if getattr(args, name) < 1:
            raise DataError(f"--{name.replace('_', '-')}: {getattr(args, name)} is not 1 or more")


def reference_of(voices: ServedVoices, args: argparse.Namespace) -> str | None:
    """The clip to clone from, found before anybody asks; without the samples' clip the voices clone nothing."""
    clip = args.reference or default_reference()
    try:
        voices.reference(clip)
    except DataError as error:
        if args.reference:
            raise DataError(f"--reference {clip}: {error}") from error
        print(f"without a reference clip: {error}", flush=True)
        return None
    return clip


def default_reference() -> str | None:
    """The clip that `generate` cloned from, where it made samples."""
    from timbre.synthesis import cloning_sample

    sample = cloning_sample()
    return sample.reference if sample else None
