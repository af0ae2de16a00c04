"""What `timbre doctor` looks at among the files that people own: parameters, recordings, words, consent."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from timbre.audio import bandwidth, recording_sound
from timbre.commands.finding import Finding, Findings
from timbre.core import params
from timbre.core.errors import DataError, ParamsError, SourceError, TranscriptError
from timbre.project import known_words, prompts, sources, speakers, transcripts
from timbre.project.obstacles import obstacles
from timbre.project.sources import Source
from timbre.report.numbers import plural

SOME = 4  # words that are named


def settings() -> Findings:
    try:
        problems = params.problems(params.load())
    except ParamsError as error:
        problems = str(error).splitlines()
    for problem in problems:
        yield Finding("FAIL", "params.yaml", problem, "mend the key; every key is explained beside it")
    if not problems:
        yield Finding("ok", "params.yaml", "every key known, and in range")
        for obstacle in obstacles(params.read()):
            yield Finding("warn", "params.yaml", obstacle)


def recordings() -> Findings:
    try:
        declared = sources.read(sources.PATH)
    except SourceError as error:
        for problem in str(error).splitlines():
            mistake, _, remedy = problem.partition("; ")
            yield Finding("FAIL", "sources", mistake, remedy or "mend the entry")
        return
    written = [path for source in declared if (path := _transcript(source)).exists()]
    said = f"{plural(len(declared), 'recording')} declared, {len(written)} with a transcript of yours"
    yield Finding("ok", "sources", said)
    for path in written:
        try:
            transcripts.read(path)
        except TranscriptError as error:
            for problem in str(error).splitlines():
                yield Finding("FAIL", "transcripts", problem, "mend the line; `segment` stops until then")
    for source in declared:
        if dull := bandwidth.problem(Path(f"data/speech/{source.id}.json")):
            yield Finding("warn", "recordings", dull, "look for a better recording")
    yield from _loudness([source.id for source in declared])


def _loudness(names: Sequence[str]) -> Findings:
    """Of the recordings that `chunk` has measured."""
    measured = {name: recording_sound.read(Path("data/speech"), name) for name in names}
    known = {name: sound.lufs for name, sound in measured.items() if sound.lufs is not None}
    if known:
        soft, loud = min(known, key=lambda name: known[name]), max(known, key=lambda name: known[name])
        said = f"the softest is {soft} with {known[soft]:.0f} LUFS, the loudest {loud} with {known[loud]:.0f} LUFS"
        if ranges := {name: sound.range for name, sound in measured.items() if sound.range is not None}:
            widest = max(ranges, key=lambda name: ranges[name])
            said += f"; {widest} varies most, by {ranges[widest]:.0f} LU"
        if above := {name: sound.snr for name, sound in measured.items() if sound.snr is not None}:
            noisiest = min(above, key=lambda name: above[name])
            said += f"; {noisiest} is the noisiest, its speech {above[noisiest]:.0f} dB above the rest"
        yield Finding("ok", "loudness", said)


def consents() -> Findings:
    """Of everybody who is heard: whose recording it is, and whoever has a line in it."""
    used: dict[str, list[str]] = {}
    try:
        for source in sources.read(sources.PATH):
            for speaker in dict.fromkeys([source.speaker, *_speakers(_transcript(source))]):
                used.setdefault(speaker, []).append(source.id)
        problems = list(speakers.problems(speakers.read(), used))
    except SourceError as error:
        problems = [line for line in str(error).splitlines() if str(speakers.PATH) in line]  # the others are told above
    for problem in problems:
        yield Finding("FAIL", "speakers", problem, "`segment` stops until then")
    if used and not problems:
        yield Finding("ok", "speakers", f"{', '.join(used)}: consent given")


def _transcript(source: Source) -> Path:
    return Path(f"data/transcripts/{source.id}.tsv")


def _speakers(path: Path) -> tuple[str, ...]:
    try:
        return transcripts.read(path).speakers if path.exists() else ()
    except TranscriptError:  # told by `recordings`
        return ()


def vocabulary() -> Findings:
    """Of models that know a few words only: whether the transcripts and prompts keep to them.

    A draft of other speech is in their words, too: there Whisper's probabilities tell.
    """
    spoken, foreign = list(_texts()), list(_foreign_drafts())
    yield from (Finding("warn", "words", line) for line in foreign)
    for known in known_words.configured():
        if unknown := known.unknown(" ".join(spoken)):
            text = f"{known.told}; yours have {len(unknown)} others, such as {', '.join(unknown[:SOME])}"
            yield Finding("warn", "words", text, known_words.REMEDY)
        elif not foreign:
            yield Finding("ok", "words", f"{known.told}, and those of your transcripts and prompts are among them")


def _foreign_drafts() -> Iterator[str]:
    if known := known_words.listener():
        with contextlib.suppress(SourceError):
            for source in sources.read(sources.PATH):
                with contextlib.suppress(DataError):  # no draft yet, or a damaged one: `transcribe` tells it
                    draft = transcripts.read_draft(Path(f"data/drafts/{source.id}.json"))
                    if line := known.foreign(source.id, draft.sure):
                        yield line


def _texts() -> Iterator[str]:
    with contextlib.suppress(SourceError):  # told by `recordings`
        for path in (path for source in sources.read(sources.PATH) if (path := _transcript(source)).exists()):
            yield from (line.text for line in transcripts.readable_lines(path.read_bytes()) if line.flag != "drop")
    if prompts.PATH.exists():
        with contextlib.suppress(DataError):  # `generate` tells it
            yield from (prompt.text for prompt in prompts.read_prompts(prompts.PATH))
