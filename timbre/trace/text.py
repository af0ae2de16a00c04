"""A trace as a tree for the terminal: what it is on top, then what it comes from or what was made of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from timbre.trace.facts import (
    Adapter,
    Forward,
    Past,
    Trace,
    TracedClip,
    TracedSample,
    TrainedClips,
    Use,
)
from timbre.trace.tree import Node, TreeRow, rows
from timbre.tracking.run import TrackedRun
from timbre.versions.origins import Origin, TracedLine, TracedVoice
from timbre.versions.tables import ADAPTER
from timbre.versions.version_ids import DIGITS

SHOWN = 20  # recordings or gaps that are listed without --every
SAMPLING = ("temperature", "top_k", "top_p", "repetition_penalty", "cap_seconds", "cap_seconds_per_character")
TRAINING = ("rank", "alpha", "learning_rate", "epochs", "batch", "seed")
LEAVING = (
    "`timbre remove {} --write`, then `dvc repro`, takes all of this out; until then raw sound and drafts stay too. "
    "Git, DVC's cache and remotes, and MLflow keep older versions: --history lists them"
)


def draw(trace: Trace, every: bool = False, width: int | None = None) -> str:
    """`every`: list all clips and samples, not only the first few. Rows are broken at `width` characters."""
    target = trace.found
    if isinstance(target, TracedSample):
        head, nodes = _sample(target, every)
    elif isinstance(target, TracedClip):
        head, nodes = _clip_head(target), [*_clip(target), *_from_clip(target, every)]
    elif isinstance(target, Adapter):
        head, nodes = _adapter_head(target), _adapter(target, every)
    else:
        head, nodes = _forward(target, every)
    nodes += [Node("MLflow", _run(run)) for run in trace.runs]
    if trace.history:
        now = _adapter_of(target.uses) if isinstance(target, Forward) else None
        nodes.append(Node("history", "", [_past(past, now) for past in trace.history]))
    nodes.append(Node("version", _version(trace)))
    nodes += _some_of([Node("missing", line) for line in trace.missing], every, "gap")
    drawn = [TreeRow("", "", text) for text in head] + list(rows(nodes))
    return "\n".join(text for row in drawn for text in row.broken(width))


def _sample(sample: TracedSample, every: bool) -> tuple[list[str], list[Node]]:
    ended = "ended by itself" if sample.ended else "cut off at its longest"
    head = [f"{sample.id}  “{sample.text}”", f"{sample.audio}, {sample.seconds:.2f} s, {ended}"]
    if sample.heard is not None:
        wrong = f": {sample.errors} of {sample.words} words wrong" if sample.errors else ": every word right"
        head.append(f"Whisper heard “{sample.heard}”{wrong}")
    if sample.similarity is not None:
        head.append(f"similarity to the speaker {sample.similarity:.2f}")
    prompt = _joined(sample.prompt, sample.prompt_where, sample.kind)
    nodes = [
        Node("prompt", prompt, [Node("truth", _clip_line(sample.truth))] if sample.truth else []),
        Node("spoken", _joined(f"seed {sample.seed}", *_some(sample.sampling, SAMPLING))),
        Node("base", _joined(sample.base, sample.base_key, sample.base_licence)),
    ]
    if sample.reference:
        nodes.append(Node("cloned", _clip_line(sample.reference), _clip(sample.reference)))
    elif sample.reference_id:
        nodes.append(Node("cloned", f"clip {sample.reference_id}"))
    if sample.adapter:
        nodes.append(Node("adapter", "; ".join(_adapter_head(sample.adapter)), _adapter(sample.adapter, every, False)))
    elif sample.adapter_key:
        nodes.append(Node("adapter", f"of key {sample.adapter_key}"))
    return head, nodes


def _clip_line(clip: TracedClip) -> str:
    return f"clip {clip.id}, {_span(clip.start, clip.end)} of {clip.recording.id}: “{clip.text}”"


def _clip_head(clip: TracedClip) -> list[str]:
    return [f"{clip.id}  “{clip.text}”", f"{clip.audio}, {clip.seconds:.2f} s, {clip.part}"]


def _clip(clip: TracedClip) -> list[Node]:
    cut = f", in {len(clip.spans)} pieces with the pause between them shortened" if len(clip.spans) > 1 else ""
    nodes = [Node("line", _line(line)) for line in clip.lines]
    if clip.changed:
        nodes.append(Node("edited", "the lines say something else now than the clip was made with; `dvc repro`"))
    nodes += [Node("note", note) for note in clip.notes]
    return [*nodes, Node("from", f"{_span(clip.start, clip.end)} of {clip.recording.id}{cut}", _origin(clip.recording))]


def _from_clip(clip: TracedClip, every: bool) -> list[Node]:
    learnt = f"{_named(clip.learnt_by)} learnt from it" if clip.learnt_by else "the one here has not learnt from it"
    return [Node("adapter", learnt), Node("cloned", f"by {_samples(clip.cloned_by, every)}")]


def _line(line: TracedLine) -> str:
    flag = f" [{line.flag}]" if line.flag else ""
    return f"{line.where}  {_span(line.start, line.end)}{flag}  “{line.text}”"


def _adapter_head(adapter: Adapter) -> list[str]:
    best = ""
    if adapter.best_step is not None and adapter.best_eval_loss is not None:
        best = f", step {adapter.best_step} of {adapter.steps}, evaluation loss {adapter.best_eval_loss:.3f}"
    for told in (adapter.began_with, adapter.ended_early):
        best += f"; {told}" if told else ""
    return [f"{_named(adapter.version or adapter.path)}, {adapter.path}{best}"]


def _named(version: str) -> str:
    """By its id as every command prints it; a path where no lock names it."""
    return version if "/" in version else f"version {version[:DIGITS]}"


def _adapter(adapter: Adapter, every: bool, whole: bool = True) -> list[Node]:
    """`whole`: with what a sample of it says already."""
    clips = sum(len(trained.clips) for trained in adapter.learnt)
    table = f" (MD5 {adapter.table})" if adapter.table else ""
    amount = f"{_count(clips, 'clip')}, {_clock(adapter.seconds)}" if adapter.learnt else "no clip that is known"
    learnt = f"{amount}, of data/dataset/train.jsonl{table}"
    below = _some_of(
        [Node(trained.recording.id, _learnt(trained), _every(trained, every)) for trained in adapter.learnt], every
    )
    voices = {trained.recording.speaker.id: trained.recording.speaker for trained in adapter.learnt}
    nodes = [Node("base", _joined(adapter.base or "unknown", adapter.base_licence))] if whole else []
    nodes += [Node("trained", ", ".join(_some(adapter.params, TRAINING))), Node("learnt", learnt, below)]
    nodes += [Node("voice", _voice(voice), _consent(voice)) for voice in voices.values()]
    return nodes + ([Node("spoke", _samples(adapter.samples, every))] if whole else [])


def _some_of(nodes: list[Node], every: bool, noun: str = "recording") -> list[Node]:
    if every or len(nodes) <= SHOWN:
        return nodes
    more = len(nodes) - SHOWN
    return [*nodes[:SHOWN], Node("…", f"and {_count(more, noun)} more; --every lists them")]


def _learnt(trained: TrainedClips) -> str:
    amount = f"{_count(len(trained.clips), 'clip')}, {_clock(trained.seconds)}"
    origin = trained.recording
    return f"{amount}; {_source(origin)}; {origin.speaker.id}, {origin.licence or 'NO LICENCE'}"


def _every(trained: TrainedClips, every: bool) -> list[Node]:
    if not every:
        return []
    return [
        Node(piece.id, f"{_span(piece.start, piece.end)}, {_places(piece.lines)}: “{piece.text}”")
        for piece in trained.clips
    ]


def _places(lines: Sequence[str]) -> str:
    """`data/transcripts/noon.tsv:14–16`"""
    if not lines:
        return "of no line that is there now"
    mark = "#" if "#" in lines[0] else ":"
    last = lines[-1].rpartition(mark)[2]
    return lines[0] + (f"–{last}" if len(lines) > 1 else "")


def _origin(origin: Origin) -> list[Node]:
    nodes = [Node("source", _source(origin))]
    site = {"title": origin.title, "by": origin.uploader, "of": origin.upload_date, "licence": origin.site_licence}
    if facts := [f"{name} {value}" for name, value in site.items() if value]:
        nodes.append(Node("site", ", ".join(facts)))
    if origin.file_sha256:
        nodes.append(Node("sha256", origin.file_sha256))
    nodes.append(Node("rights", f"{origin.licence or 'NO LICENCE'}; {origin.consent or 'no word of consent'}"))
    return [*nodes, Node("voice", _voice(origin.speaker), _consent(origin.speaker))]


def _source(origin: Origin) -> str:
    part = f", {origin.start or 0} to {origin.end or 'the end'}" if origin.start or origin.end else ""
    return f"{origin.place}{part} ({origin.where or 'no longer declared'})"


def _voice(voice: TracedVoice) -> str:
    name = f", {voice.name}" if voice.name and voice.name != voice.id else ""
    return f"{voice.id}{name}" + (f" ({voice.where})" if voice.where else ": NO ENTRY in data/speakers.yaml")


def _consent(voice: TracedVoice) -> list[Node]:
    if voice.where is None:
        return []
    nodes = [Node("consent", f"{voice.when}, by {voice.by}"), Node("for", voice.use or "")]
    nodes.append(Node("evidence", voice.evidence or "none is named"))
    return [Node("TAKEN BACK", f"on {voice.revoked}")] * bool(voice.revoked) + nodes


def _forward(forward: Forward, every: bool) -> tuple[list[str], list[Node]]:
    if forward.voice:
        head, nodes = [_voice(forward.voice)], _consent(forward.voice)
        nodes += _some_of([Node(use.recording.id, _words(use), _own(use, every)) for use in forward.uses], every)
    elif forward.uses:
        [use] = forward.uses
        head, nodes = [f"{forward.name}  {_words(use)}"], [*_origin(use.recording), *_own(use, every)]
    else:
        head, nodes = [forward.name], []
    nodes += _made(forward.uses, every)
    barred = [use.recording.speaker for use in forward.uses] + ([forward.voice] if forward.voice else [])
    if forward.uses and any(voice.revoked or voice.where is None for voice in barred):
        nodes.append(Node("to do", LEAVING.format(forward.name)))
    return head, nodes


def _words(use: Use) -> str:
    seconds = f"{_clock(use.recording.seconds)}, " if use.recording.seconds else ""
    if not use.lines:
        return f"{seconds}no words yet"
    reviewed = "all" if use.heard == use.lines else use.heard
    return f"{seconds}{_count(use.lines, 'line')} of {use.transcript or 'a draft'}, {reviewed} heard by a person"


def _own(use: Use, every: bool) -> list[Node]:
    if use.training is None:
        return [
            Node("files", ", ".join(use.files) or "none here"),
            Node("clips", "not known, their tables are not here"),
        ]
    parts = f"{len(use.training)} to learn from, {len(use.evaluation)} to evaluate on, {use.left_out} left out"
    clips = Node("clips", parts)
    if every:
        clips.below = [Node("learn", " ".join(use.training)), Node("evaluate", " ".join(use.evaluation))]
    return [Node("files", ", ".join(use.files) or "none here"), clips]


def _made(uses: Sequence[Use], every: bool) -> list[Node]:
    if not uses:
        return [Node("made", "nothing of this version")]
    if any(use.learnt is None for use in uses):
        return [Node("adapter", "not known whether it learnt from it, its table is not here")]
    learnt = sum(len(use.learnt or ()) for use in uses)
    adapter = _adapter_of(uses)
    spoken = sorted({name for use in uses for name in use.spoken})
    cloned = sorted({name for use in uses for name in use.cloned} - set(spoken))
    name = f"{_named(adapter or ADAPTER)}, learnt from {_count(learnt, 'clip')} of it"
    return [
        Node("adapter", name if learnt else "none has learnt from it"),
        Node("spoken", f"{_samples(spoken, every)} by that adapter" if spoken else "no sample"),
        Node("cloned", f"{_samples(cloned, every)} by the base alone" if cloned else "no sample of the base alone"),
    ]


def _adapter_of(uses: Sequence[Use]) -> str | None:
    return next((use.version for use in uses if use.version), None)


def _samples(names: Sequence[str], every: bool) -> str:
    if every:
        return " ".join(names)
    kinds = Counter(name.split("-")[0] for name in names)
    return " and ".join(f"{_count(number, 'sample')} {kind}-*" for kind, number in kinds.items()) or "no sample"


def _past(past: Past, now: str | None) -> Node:
    """`now` is the id of the version at hand."""
    name = " ".join(past.tags) or past.commit[:8]
    learnt = "clips not reachable" if past.clips is None else f"{past.clips} of its {past.of} clips"
    id = (past.md5 or "").removesuffix(".dir")
    about = ", the one here" if id == now else "" if past.adapter else ", whose weights are not here"
    outcome = f"{_named(id)}{about}; {learnt}" if past.md5 else "no adapter yet"
    where = f" ({past.commit[:8]})" if past.tags else ""
    text = f"{past.date}{where} “{past.subject}”: {outcome}"
    return Node(name, text, [Node("MLflow", _run(run)) for run in past.runs])


def _run(run: TrackedRun) -> str:
    return f"run {run.name}, {run.id}"


def _version(trace: Trace) -> str:
    at = f"commit {trace.commit[:8]}" if trace.commit else "no commit yet"
    return at + (f" and {_count(trace.changed, 'changed file')}" if trace.changed else "")


def _some(values: dict[str, object], names: Sequence[str]) -> list[str]:
    return [f"{name.replace('_', ' ')} {values[name]}" for name in names if name in values]


def _span(start: float, end: float) -> str:
    return f"{start:.2f}–{end:.2f} s"


def _clock(seconds: float) -> str:
    whole = round(seconds)
    hours = f"{whole // 3600}:" if whole >= 3600 else ""
    return f"{hours}{whole // 60 % 60:0{2 if hours else 1}}:{whole % 60:02}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _joined(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part)
