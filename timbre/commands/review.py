"""Hear recordings and correct their words in the browser.

Opens a local page with the sound, the lines and how sure Whisper was of each word. Each edit is saved at once to
data/transcripts/<id>.tsv, beginning from the draft where nobody has begun. Only this machine can reach the page. Press
? there for its keys; Ctrl+C here ends it.
"""

from __future__ import annotations

import argparse
import webbrowser

from timbre.errors import TimbreError

EXAMPLES = [
    ("timbre review", "open the page"),
    ("timbre review harbour-noon", "with this recording"),
    ("timbre review --no-browser --port 8137", "only show its address, for instance to forward the port"),
]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", nargs="?", help="recording to begin with")
    parser.add_argument("--port", type=int, default=0, help="of 127.0.0.1; else one that is free")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")


def command(args: argparse.Namespace) -> int:
    from timbre.review.desk import Desk
    from timbre.review.server import Server

    desk = Desk()
    if args.id:
        desk.recording(args.id)
    try:
        server = Server(desk, args.port)
    except (OSError, OverflowError) as error:
        raise TimbreError(f"port {args.port} cannot be used ({error}); name another with --port") from error
    with server:
        address = server.url + (f"#{args.id}" if args.id else "")
        print(f"review    {address}\nCtrl+C ends it; every edit is saved at once", flush=True)
        if not args.no_browser:
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0
