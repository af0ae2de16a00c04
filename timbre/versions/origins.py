"""Where a recording, a voice and a line come from, as a version's files say: with the file and line of each."""

from __future__ import annotations

from dataclasses import dataclass

from timbre.project.sources import ORIGINS


@dataclass(frozen=True)
class TracedVoice:
    """A speaker, and what data/speakers.yaml says."""

    id: str
    where: str | None  # file:line; None where there is no entry
    name: str | None = None
    by: str | None = None  # who gave the consent
    when: str | None = None
    use: str | None = None
    evidence: str | None = None
    revoked: str | None = None


@dataclass(frozen=True)
class Origin:
    """A recording, as data/sources.yaml declares it and `fetch` brought it."""

    id: str
    where: str | None  # file:line of the entry; None where it is no longer declared
    speaker: TracedVoice
    language: str | None = None
    licence: str | None = None
    consent: str | None = None  # for this recording, in the declaring person's words
    file: str | None = None
    url: str | None = None
    start: str | None = None  # as declared
    end: str | None = None
    title: str | None = None  # this and the next four as the site says
    uploader: str | None = None
    upload_date: str | None = None
    site_licence: str | None = None
    site_url: str | None = None
    file_sha256: str | None = None  # of what was fetched
    sha256: str | None = None  # of its samples
    seconds: float | None = None

    @property
    def place(self) -> str:
        """Where the sound is."""
        return next((str(getattr(self, key)) for key in ORIGINS if getattr(self, key)), "unknown")


@dataclass(frozen=True)
class TracedLine:
    """A line of a transcript, or of a draft where nobody wrote one."""

    where: str  # file:line
    start: float  # seconds in the recording
    end: float
    speaker: str
    flag: str
    text: str
