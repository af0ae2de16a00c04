"""What people prefer: the newer version or the older one, and its conditions, from blind listening tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from timbre.core.errors import DataError
from timbre.core.records import USED, ListeningAnswer
from timbre.diff.regression import PreferredShare
from timbre.project import opinions
from timbre.report import people
from timbre.report.numbers import plural
from timbre.versions.sample_sounds import version_voice
from timbre.versions.tables import VersionTables

if TYPE_CHECKING:
    from timbre.evaluation.preferences import Vote


def preferences(old: VersionTables, new: VersionTables) -> list[str]:
    """A sentence each; none where nobody listened."""
    same = new.evidence.preferences == old.evidence.preferences
    return [*_between(old, new), *([] if same else people.sentences(new.evidence))]


def preferred(old: VersionTables, new: VersionTables) -> PreferredShare | None:
    """None where nobody heard both."""
    if not (votes := _both(old, new)):
        return None
    from timbre.evaluation.preferences import share

    return PreferredShare(*share(votes), len(votes))


def _both(old: VersionTables, new: VersionTables) -> list[Vote]:
    """Answers that heard both versions."""
    answers = _answers(new)
    if not answers:
        return []
    try:
        keys = {version_voice(version, USED).key: value for version, value in ((old, 0.0), (new, 1.0))}
    except DataError:
        return []  # one of the two has no samples that can be had
    return list(_votes(answers, keys)) if len(keys) == 2 else []


def _between(old: VersionTables, new: VersionTables) -> Iterator[str]:
    if votes := _both(old, new):
        from timbre.evaluation.preferences import share

        listeners = plural(len({vote.listener for vote in votes}), "listener")
        counted = plural(len(votes), "answer")
        preferred = people.share_with_interval(*share(votes))
        yield f"{new.name} over {old.name}: {preferred} of {counted} prefer it; {listeners}"


def _answers(version: VersionTables) -> dict[str, list[ListeningAnswer]]:
    """By listener; a row that cannot be read is left to `evaluate`, which names it."""
    answers: dict[str, list[ListeningAnswer]] = {}
    for path in version.snapshot.list(opinions.PATH.as_posix()):
        if path.endswith(".tsv"):
            text = (version.snapshot.read(path) or b"").decode(errors="replace")
            answers[path.rpartition("/")[2].removesuffix(".tsv")] = list(opinions.parse(text, path, []))
    return answers


def _votes(answers: dict[str, list[ListeningAnswer]], keys: dict[str, float]) -> Iterator[Vote]:
    """1 for the newer version, 0 for the older one."""
    from timbre.evaluation.preferences import WORTH, Vote, record

    for listener, some in answers.items():
        if record(some).reliable:
            for answer in some:
                if answer.kind == "ab" and {answer.first, answer.second} == keys.keys():
                    worth = WORTH[answer.answer]
                    yield Vote(listener, answer.prompt, worth if keys[answer.first] else 1 - worth)
