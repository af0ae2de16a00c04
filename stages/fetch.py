"""Bring every recording that data/sources.yaml declares: one channel, its own sample rate, with its provenance.

    python -m stages.fetch --sources data/sources.yaml --out data/raw

Reads   data/sources.yaml and what it names: files in data/recordings, or addresses (by yt-dlp)
Writes  data/raw/<id>.flac, <id>.json

A file is read again when its content changes; an address only when it is another one, because what a server sends today
may differ from what the transcript was written for. Another speaker, licence or consent rewrites the record alone. A
recording that fails is told at the end, after the others were finished; what it left in .timbre/fetch goes on from
there at the next run.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tqdm import tqdm

from timbre.audio import to_flac
from timbre.core.content import HASHES, content_key, file_sha256
from timbre.core.errors import DataError, SourceError, raise_all
from timbre.core.params import read
from timbre.core.records import Recording
from timbre.core.safe_text import redacted
from timbre.core.sections import FetchParams
from timbre.mapping.batch import Files
from timbre.mapping.refresh import Job, refresh, rewrite
from timbre.mapping.stage import run_stage
from timbre.project import obstacles
from timbre.project.sources import Source
from timbre.project.sources import read as read_sources

if TYPE_CHECKING:
    from yt_dlp import YoutubeDL

VERSION = 2  # raise when the code gives other bytes for the same input
SCRATCH = Path(".timbre/fetch")  # unfinished downloads, by key; safe to delete
SUFFIXES = (".flac", ".json")
TOLD = ("title", "uploader", "upload_date", "license")  # by the site
LONGEST = 300  # characters kept of each


def fetch_all(declared: Sequence[Source], out: Path, params: FetchParams) -> None:
    jobs = [Job(source.id, key, (source, key)) for source in declared for key in [key_of(source)]]
    problems: list[str] = []
    refresh(out, jobs, partial(bring_each, params=params, problems=problems), suffixes=SUFFIXES, label="fetch")
    for job in jobs:
        redeclare(job, out)
    raise_all(SourceError, problems)


def key_of(source: Source) -> str:
    content = ["url", source.url] if source.url else ["file", file_sha256(Path(source.origin))]
    return content_key(VERSION, content, source.start, source.end)


def bring_each(declared: Sequence[tuple[Source, str]], params: FetchParams, problems: list[str]) -> Iterator[Files]:
    """The files of each entry; none for one that failed, so that an older entry stays and the next one is tried."""
    for source, key in declared:
        try:
            yield bring(source, key, params)
        except DataError as error:
            problems += str(error).splitlines()
            yield {}


def bring(source: Source, key: str, params: FetchParams) -> Files:
    scratch, flac = SCRATCH / key, SCRATCH / f"{key}.flac"
    scratch.mkdir(parents=True, exist_ok=True)
    original, site_facts = download(source, scratch, params) if source.url else (Path(source.origin), {})
    facts = to_flac(
        original,
        flac,
        name=f"{source.id}: {source.origin}",
        start=source.start,
        end=source.end,
        min_seconds=params.min_seconds,
        max_seconds=params.max_hours * 3600,
    )
    recording = Recording(
        **declared_fields(source),
        sha256=facts.sha256,
        sample_rate=facts.sample_rate,
        seconds=round(facts.seconds, 3),
    )
    provenance = {
        **site_facts,
        "file_sha256": file_sha256(original),  # of the original, whatever its container
        "channels": facts.channels,  # two were mixed to one
        "start": source.start,
        "end": source.end,
    }
    shutil.rmtree(scratch)
    return {".flac": flac, ".json": as_json({"key": key, "recording": asdict(recording), "provenance": provenance})}


def declared_fields(source: Source) -> dict[str, str]:
    """What a person says about the recording, and may say otherwise tomorrow; the audio does not depend on it."""
    fields = {name: getattr(source, name) for name in ("id", "speaker", "language", "licence", "consent")}
    return {**fields, "origin": source.origin}


def redeclare(job: Job[tuple[Source, str]], out: Path) -> None:
    """Say in the record what a person says now; a recording that could not be fetched has none, or an older one."""
    source, path = job.payload[0], out / f"{job.name}.json"
    if not path.exists():
        return
    written = {name: value for name, value in json.loads(path.read_bytes()).items() if name != HASHES}
    current = {**written, "recording": {**written["recording"], **declared_fields(source)}}
    if current != written:
        rewrite(out, replace(job, key=written["key"]), SUFFIXES, as_json(current))


def as_json(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode()


def download(source: Source, folder: Path, params: FetchParams) -> tuple[Path, dict[str, Any]]:
    """The address's audio as a file in the folder, and what the site tells about it."""
    import imageio_ffmpeg  # here, like yt-dlp: a run that downloads nothing does not wait a second for them
    from yt_dlp import YoutubeDL
    from yt_dlp.utils import YoutubeDLError

    target, messages = folder / "original", Messages()  # never a name that the site chose
    with tqdm(desc=source.id, unit="B", unit_scale=True, leave=False, dynamic_ncols=True) as bar:
        options = {
            "format": "bestaudio/best",
            "outtmpl": {"default": str(target).replace("%", "%%")},
            "ffmpeg_location": imageio_ffmpeg.get_ffmpeg_exe(),
            "fixup": "never",  # it renames by extension; ffmpeg reads the file as it is
            "retries": params.retries,
            "fragment_retries": params.retries,
            "retry_sleep_functions": {"http": seconds_before_retry, "fragment": seconds_before_retry},
            "socket_timeout": params.timeout_seconds,
            "noplaylist": True,
            "extract_flat": "in_playlist",  # a list is told from a recording without visiting all that it lists
            "playlist_items": "1-2",
            "cachedir": False,
            "updatetime": False,
            "noprogress": True,
            "js_runtimes": {name: {} for name in ("deno", "node", "bun", "quickjs")},  # whichever is there; for YouTube
            "logger": messages,
            "progress_hooks": [partial(watch, source, params, bar)],
        }
        try:
            with YoutubeDL(options) as site:
                site_facts = site.extract_info(source.url, download=False)
                site_facts |= {"filesize": size_of(site, site_facts)}
                check_claims(source, site_facts, params)
                bar.total = site_facts["filesize"] or None
                tqdm.write(redacted(f"{source.id}: {announced(source, site_facts)}"))
                site.process_ie_result(site_facts)
        except YoutubeDLError as error:
            raise SourceError(f"{source.id}: could not download {source.url}: {reason(error, messages)}") from error
    if not target.exists():
        raise SourceError(f"{source.id}: {source.url} gave no file; download it yourself and declare it with `file`")
    return target, {"url": site_facts.get("webpage_url") or source.url, **facts_about(site_facts)}


def size_of(site: YoutubeDL, site_facts: dict[str, Any]) -> int:
    """In bytes; for a plain file yt-dlp does not know it before it downloads, so the server is asked. 0 is unknown."""
    from yt_dlp.networking import HEADRequest
    from yt_dlp.utils import YoutubeDLError

    announced_size = int(site_facts.get("filesize") or site_facts.get("filesize_approx") or 0)
    if announced_size or site_facts.get("protocol") not in ("http", "https"):
        return announced_size
    try:
        with site.urlopen(HEADRequest(site_facts["url"], headers=site_facts.get("http_headers") or {})) as answer:
            return int(answer.headers.get("Content-Length") or 0)
    except (YoutubeDLError, ValueError):  # a server that knows no HEAD; `watch` sees what comes
        return 0


def announced(source: Source, site_facts: dict[str, Any]) -> str:
    """What is about to be downloaded, so that a person can stop it; and where the site says otherwise than they do."""
    facts = facts_about(site_facts)
    seconds, size = int(site_facts.get("duration") or 0), site_facts.get("filesize") or 0
    length = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}" if seconds else "length not told"
    line = f"{facts.get('title', source.url)}, {length}, " + (f"{size / 1e6:.1f} MB" if size else "size not told")
    if facts.get("license", source.licence).casefold() != source.licence.casefold():
        line += f"; its site says {facts['license']!r}, data/sources.yaml {source.licence!r}"
    return line


def check_claims(source: Source, site_facts: dict[str, Any], params: FetchParams) -> None:
    """What the site says before a byte of audio moves; `watch` and `to_flac` check what really comes."""
    if site_facts.get("_type", "video") != "video":
        first = next((entry.get("url") for entry in site_facts.get("entries") or [] if entry.get("url")), None)
        hint = f", such as {first}" if first else ""
        raise SourceError(f"{source.id}: {source.url} is a list of recordings; declare the address of each{hint}")
    if site_facts.get("is_live"):
        raise SourceError(f"{source.id}: {source.url} is a live stream; declare it when it has ended")
    check_size(source, site_facts.get("filesize") or 0, params)
    if site_facts.get("duration"):
        hours = (min(site_facts["duration"], source.end or site_facts["duration"]) - (source.start or 0)) / 3600
        if hours > params.max_hours:
            raise SourceError(
                f"{source.id}: {source.url} lasts {hours:.1f} h; declare a part of it with start and end, "
                "or raise fetch.max_hours in params.yaml"
            )


def check_size(source: Source, size: float, params: FetchParams) -> None:
    if size > params.max_megabytes * 1e6:
        raise SourceError(
            f"{source.id}: {source.url} has {size / 1e6:.1f} MB and fetch.max_megabytes is {params.max_megabytes}; "
            "raise it in params.yaml, or declare another source"
        )
    if SCRATCH.exists() and size > (free := shutil.disk_usage(SCRATCH).free):
        raise SourceError(f"{source.id}: {source.url} has {size / 1e6:.1f} MB and {free / 1e6:.1f} are free; make room")


def watch(source: Source, params: FetchParams, bar: tqdm, progress: dict[str, Any]) -> None:
    """yt-dlp calls this as bytes arrive; a server may send more than it said."""
    check_size(source, max(progress.get("downloaded_bytes") or 0, progress.get("total_bytes") or 0), params)
    bar.update((progress.get("downloaded_bytes") or 0) - bar.n)


def seconds_before_retry(n: int) -> float:
    """`n` is yt-dlp's name for the attempt, from 0."""
    return min(30.0, 2.0**n)


def reason(error: Exception, messages: Messages) -> str:
    """yt-dlp's many lines as one, and what to do."""
    text = re.split(r" \(caused by |; please report|\n", str(error))[0]
    text = re.sub(r"^ERROR: (\[[^\]]*\] )?(\S+: )?(Unable to download webpage: )?", "", text).strip().rstrip(".")
    if any("JavaScript runtime" in warning for warning in messages.warnings):
        return f"{text}; this site needs a JavaScript runtime: install deno, and `pip install yt-dlp-ejs`"
    if "Unsupported URL" in text:
        return "yt-dlp finds no audio there; download it yourself and declare it with `file`"
    if "more expected" in text:
        return "the connection broke off; `dvc repro` goes on from there"
    return f"{text}; see whether it plays in a browser, `dvc repro` tries again"


def facts_about(site_facts: dict[str, Any]) -> dict[str, str]:
    """A stranger wrote these: each becomes one line without control characters, which a terminal would obey."""
    return {key: plain(str(site_facts[key])) for key in TOLD if site_facts.get(key)}


def plain(text: str) -> str:
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split())[:LONGEST]


class Messages:
    """yt-dlp's logger: keeps the warnings, which may say why an error came; the error itself is an exception."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, message: str) -> None:
        self.warnings.append(message)

    def debug(self, message: str) -> None: ...

    info = error = debug


def main(
    sources: Annotated[Path, "what is declared, data/sources.yaml"],
    out: Annotated[Path, "folder of recordings, data/raw"],
) -> None:
    settings = read()
    params = settings.fetch
    obstacles.tell(settings)
    fetch_all(read_sources(sources), out, params)


if __name__ == "__main__":
    run_stage(main)
