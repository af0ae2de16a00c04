"""The voices of a server: which there are, whether they may be heard now, and which version an alias stands for.

All share one base model and one engine. A voice that was asked for as `champion` or `candidate` follows MLflow's
alias: `timbre promote` changes it without stopping anybody, since the new adapter takes its place beside the old one,
and the old one goes when nobody speaks with it any more.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from timbre import families
from timbre.core.errors import DataError, EngineError, ModelError, SourceError, TimbreError
from timbre.core.params import read
from timbre.core.records import Example, read_jsonl
from timbre.exchange import voice_versions
from timbre.exchange.speaker_choice import marks_speakers
from timbre.exchange.voice_versions import ALIASES, VoiceVersion
from timbre.families import SpeakerTag, Turn
from timbre.families.slots import Slots, open_slots
from timbre.project import speakers
from timbre.project.permissions import SERVE, Permissions
from timbre.synthesis.engine import Engine
from timbre.synthesis.reference import CODES, DATASET, heard, of_speaker

log = logging.getLogger("timbre.serve")
FOLLOW = 2.0  # seconds between two looks at the aliases
OPENAI = (  # names of voices that its clients give where nobody told them others; they mean the default
    "alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage", "shimmer", "verse",
)  # fmt: skip
NO_REFERENCE = "none"
SPEAKER_MARK = ":"  # between version and speaker in a voice's id


class NotServed(DataError):
    """What a client asks for and the server does not have; `param` is the field of the request that says it."""

    def __init__(self, message: str, param: str, code: str | None = None) -> None:
        super().__init__(message)
        self.param, self.code = param, code


def check_consent(version: VoiceVersion) -> None:
    """SourceError where a voice that the version learnt may not be heard from a server."""
    if version.adapter is None:
        return
    Permissions().check_use(version.speakers, version.name, SERVE)


class ServedVoices:
    """Voices by their ids; the first is the default."""

    def __init__(self, versions: Sequence[VoiceVersion], slots: int, waiting: int) -> None:
        for version in versions:
            check_consent(version)
        bases = {version.voice for version in versions}
        if len(bases) > 1:
            raise ModelError(
                "the voices have different base models: " + ", ".join(sorted(base.base for base in bases))
                + "; start a server for each"
            )  # fmt: skip
        (self.base,) = bases
        if len({version.key for version in versions}) > 1 and not self._joins():
            raise ModelError(
                f"a server speaks with one voice of the family {self.base.family}; start another for the other"
            )
        self.versions = {version.id: version for version in versions}
        if len(self.versions) < len(versions):
            raise DataError("two voices have the same name: " + ", ".join(version.name for version in versions))
        self.loaded = {version.key for version in versions if version.adapter}
        self.used: Counter[str] = Counter()  # key → jobs that speak with it
        self.lock = threading.Lock()
        self.voice: families.Voice | None = None
        self.opened = False
        self._consent: tuple[float, dict[str, str | None]] = (-1.0, {})
        self._references: dict[str, tuple[Example, Turn]] = {}
        self._clips: dict[str, tuple[Example, Turn]] = {}  # by speaker
        self.stopped = threading.Event()
        self.engine = Engine(lambda: self._open(slots), waiting)
        if any(name in ALIASES for name in self.versions):
            threading.Thread(target=self._follow, name="timbre-aliases", daemon=True).start()

    def _open(self, count: int) -> Slots:
        """What is spoken with now; after a failure, base and adapters from their files, and none that was there."""
        adapters = {version.key: version.adapter for version in self.versions.values() if version.adapter}
        only = next(iter(adapters.values()), None) if not self._joins() else None
        load = families.load_anew if self.opened else families.load_once
        self.opened, self.voice = True, None
        self.voice = load(self.base, only, read().generate.precision)
        slots = open_slots(self.voice, count, adapters)
        with self.lock:
            self.loaded = set(adapters)
        return slots

    def _joins(self) -> bool:
        """Whether the family speaks with several adapters of one base at once."""
        return families.family(self.base.family).several_adapters

    @property
    def default(self) -> VoiceVersion:
        return next(iter(self.versions.values()))

    def find(self, name: str) -> VoiceVersion:
        """The version that a client means; NotServed where there is none or it may not be heard."""
        version = self.versions.get(name) or (self.default if name in OPENAI else None)
        if version is None:
            there = ", ".join(self.versions)
            raise NotServed(f"there is no voice of this name here; there is {there}", "voice", "no_voice")
        if problem := self._objection(version):
            raise SourceError(problem)
        return version

    def speaker_of(self, version: VoiceVersion, name: str) -> SpeakerTag:
        """Somebody whom the version learnt; whoever has a clip here, if it is the base."""
        if version.adapter is None:
            return self._clip_of(name)[1].speaker
        try:
            return version.speaker(name)
        except DataError as error:
            raise NotServed(str(error), "speaker", "no_speaker") from error

    def names(self) -> Iterator[tuple[str, VoiceVersion, str | None]]:
        """Every voice that a client may ask for; of a version of several speakers also each of them."""
        for name, version in self.versions.items():
            yield name, version, None
            if len(version.speakers) > 1:
                yield from ((f"{name}{SPEAKER_MARK}{speaker}", version, speaker) for speaker in version.speakers)

    def _objection(self, version: VoiceVersion) -> str | None:
        """What forbids it now; data/speakers.yaml is read again when it changes."""
        path = speakers.PATH
        stamp = path.stat().st_mtime if path.exists() else 0.0
        if self._consent[0] != stamp:
            self._consent = (stamp, {})
        known = self._consent[1]
        if version.key not in known:
            try:
                check_consent(version)
                known[version.key] = None
            except TimbreError as error:
                log.warning("refused: %s", error)
                known[version.key] = str(error)
        return known[version.key]

    @contextmanager
    def speaking(self, version: VoiceVersion) -> Iterator[str | None]:
        """The adapter's name in the engine, which keeps it until the block ends."""
        if version.adapter is None:
            yield None
            return
        with self.lock:
            self.used[version.key] += 1
        try:
            yield version.key
        finally:
            with self.lock:
                self.used[version.key] -= 1

    def reference(self, clip: str | None, speaker: str | None = None) -> tuple[Turn, ...]:
        """The clip to clone from; nothing where none is asked for. Its speaker's consent is asked each time."""
        if clip is None or clip == NO_REFERENCE:
            return ()
        if clip not in self._references:
            self._references[clip] = self._read_reference(clip)
        row, turn = self._references[clip]
        if speaker is not None and row.source != speaker:
            raise NotServed(f"the clip is of {row.source}, not of {speaker}", "reference")
        return self._allowed(row, turn)

    def reference_for(
        self, version: VoiceVersion, speaker: str | None, clip: str | None, usual: str | None
    ) -> tuple[Turn, ...]:
        """The `clip` that is asked for, or else the speaker's own, or else the server's `usual` one.

        A server that clones nothing clones a speaker only where nothing else would tell who is to speak.
        """
        is_known = speaker is None or (version.adapter is not None and marks_speakers(version))
        if clip == NO_REFERENCE and not is_known:
            raise NotServed(f"this voice knows {speaker} by a clip alone; leave `reference` out", "reference")
        if clip is not None:
            return self.reference(clip, speaker)
        if speaker is None:
            return self.reference(usual)
        self.speaker_of(version, speaker)
        return self.speakers_clip(speaker) if usual not in (None, NO_REFERENCE) or not is_known else ()

    def speakers_clip(self, speaker: str) -> tuple[Turn, ...]:
        """The clip that is cloned for a speaker, with the consent asked likewise."""
        return self._allowed(*self._clip_of(speaker))

    def _allowed(self, row: Example, turn: Turn) -> tuple[Turn, ...]:
        Permissions().check_use({row.source: [row.recording]}, row.id, SERVE)
        return (turn,)

    def _clip_of(self, speaker: str) -> tuple[Example, Turn]:
        if speaker not in self._clips:
            family = families.family(self.base.family)
            try:
                self._clips[speaker] = of_speaker(speaker, family.cloning, CODES / family.name)
            except DataError as error:
                raise NotServed(str(error), "speaker", "no_speaker") from error
        return self._clips[speaker]

    def speaker(self, version: VoiceVersion, language: str, name: str | None = None) -> Turn:
        """Who speaks where nothing is cloned and nobody says: whom the version learnt most recordings of."""
        tag = version.speaker() if name is None else self.speaker_of(version, name)
        return Turn("", None, language, tag)

    def check_language(self, language: str) -> None:
        """NotServed where the family reads no text of this language."""
        spoken = families.family(self.base.family).languages
        if spoken is not None and language.partition("-")[0].lower() not in spoken:
            raise NotServed(f"language: this voice speaks {', '.join(spoken)}, and not {language}", "language")

    def _read_reference(self, clip: str) -> tuple[Example, Turn]:
        rows = read_jsonl(DATASET / "train.jsonl", Example)
        row = next((row for row in rows if row.id == clip), None)  # a name is looked up, and is never a path
        if row is None:
            raise NotServed("there is no clip of this id among those for training", "reference")
        family = families.family(self.base.family)
        return row, heard(row, CODES / family.name, family.cloning)

    def _follow(self) -> None:
        while not self.stopped.wait(FOLLOW):
            for alias in ALIASES:
                if alias in self.versions:
                    try:
                        self._look(alias)
                    except Exception as error:
                        log.warning("%s stays as it is: %s", alias, error)
            with suppress(EngineError):  # the model is just being opened again; the next look lets go of them
                self._forget_unused()

    def _look(self, alias: str) -> None:
        run = voice_versions.alias_run(alias)
        if run is None or run == self.versions[alias].run:
            return
        self.exchange(voice_versions.of_alias(alias))

    def exchange(self, version: VoiceVersion) -> None:
        """Another version under the same name, from the next request on."""
        if version.voice != self.base:
            raise ModelError(f"{version.name} has another base model now ({version.voice.base}); start the server anew")
        check_consent(version)
        adapter = version.adapter
        if adapter is not None and version.key not in self.loaded:
            before_it = self.engine.restarts
            self.engine.between_frames(lambda slots: slots.load(version.key, adapter))
            if self.engine.restarts != before_it:
                raise EngineError("the model failed just now; the next look takes the new version")
            self.loaded.add(version.key)
        before, self.versions[version.id] = self.versions[version.id], version
        log.info("%s is %s now, after %s", version.name, version.short, before.short)

    def _forget_unused(self) -> None:
        with self.lock:
            wanted = {version.key for version in self.versions.values()} | {key for key, n in self.used.items() if n}
            gone = self.loaded - wanted
            self.loaded -= gone
        for key in gone:
            self.engine.between_frames(lambda slots, key=key: slots.forget(key))  # type: ignore[misc]

    def close(self) -> None:
        self.stopped.set()
        self.engine.close()
