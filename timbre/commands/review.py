"""Listen to recordings and correct their transcripts in the browser, or record yourself.

Opens a local page with the sound, the lines and how sure Whisper was of each word. Each edit is saved at once to
data/transcripts/<id>.tsv, beginning from the draft where nobody has begun. Only this machine can reach the page. Press
? there for its keys; Ctrl+C here ends it.

`--record ID` opens the recording booth instead: sentence by sentence, each take saved as it ends. Finished, they are
data/recordings/<id>.flac with its transcript, declared in data/sources.yaml.
"""

from __future__ import annotations

import argparse
import webbrowser
from pathlib import Path
from typing import Any

from timbre.commands.place import given_path
from timbre.core.content import read_text
from timbre.core.errors import DataError, TimbreError

EXAMPLES = [
    ("timbre review", "open the page"),
    ("timbre review harbour-noon", "begin with this recording"),
    ("timbre review --record ann-1 --speaker ann --licence CC0-1.0", "record yourself reading sentences"),
    ("timbre review --record ann-2 --speaker ann --licence CC0-1.0 --fill", "the sentences that the voice lacks most"),
    ("timbre review --no-browser --port 8137", "print the address only, to forward the port for example"),
]
SENTENCES = Path("presets/sentences.txt")
MOST = 100  # sentences to read at a time


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", nargs="?", help="id of the recording to begin with")
    parser.add_argument("--record", metavar="ID", help="record from the microphone; id of the new recording")
    parser.add_argument("--speaker", default="", help="id of the person who reads")
    parser.add_argument("--language", default="en", help="language of the sentences, such as en")
    parser.add_argument("--licence", default="", help="licence of the recording")
    parser.add_argument(
        "--prompts", type=given_path, metavar="FILE", help=f"sentences to read, one per line ({SENTENCES})"
    )
    parser.add_argument("--fill", action="store_true", help="read what `timbre coverage` finds missing instead")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (any that is free)")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")


def command(args: argparse.Namespace) -> int:
    from timbre.web.pages import review_server
    from timbre.web.review.transcripts_service import TranscriptsService

    form = booth_form(args)
    transcripts = TranscriptsService()
    if args.id:
        transcripts.recording(args.id)
    try:
        server = review_server(transcripts, args.port, form)
    except (OSError, OverflowError) as error:
        raise TimbreError(f"port {args.port} cannot be used ({error}); name another with --port") from error
    page = f"record#{args.record}" if args.record else f"#{args.id}" if args.id else ""
    with server:
        try:
            print(f"review    {server.url}{page}\nCtrl+C ends it; every edit is saved at once", flush=True)
            if not args.no_browser:
                webbrowser.open(server.url + page)
            server.serve()
        except KeyboardInterrupt:
            print()
    return 0


def booth_form(args: argparse.Namespace) -> dict[str, Any]:
    """What the page's form for a recording begins with; wrong flags are told before a page opens."""
    from timbre.core.records import check_id
    from timbre.web.booth.recording_sessions import Booth

    if not args.record and (args.speaker or args.licence or args.prompts or args.fill):
        raise DataError("--speaker, --licence, --prompts and --fill belong to a recording; name it with --record ID")
    sentences = sentences_of(args.prompts or SENTENCES) if args.prompts or SENTENCES.exists() else ""
    if args.fill:
        sentences = missing(args.prompts or SENTENCES)
    for name in filter(None, (args.record, args.speaker)):
        check_id(name)
    if args.record:
        booth = Booth()
        booth.check_free(args.record)
        booth.check_sentences(sentences.splitlines())
    return {
        "id": args.record or "",
        "speaker": args.speaker,
        "language": args.language,
        "licence": args.licence,
        "sentences": sentences,
    }


def missing(candidates: Path) -> str:
    """The sentences among them that fill the gaps first, all that fill any."""
    from timbre.commands.coverage import next_sentences

    return "\n".join(proposal.text for proposal in next_sentences(candidates, MOST).proposals)


def sentences_of(path: Path) -> str:
    """The file's sentences, one per line; what stands behind `#` at a line's beginning is left out."""
    return "\n".join(row for row in read_text(path).splitlines() if row.strip() and not row.startswith("#"))
