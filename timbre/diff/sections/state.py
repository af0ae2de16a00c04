"""What stands between this version and a merge: what to mend, what will run, what others cannot get."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from timbre.diff.document import Block, Items, Paragraph, TextSpan
from timbre.diff.report import said_of
from timbre.diff.sections.page import Page, say
from timbre.report.numbers import minutes

REASONS = 6  # of a stage, in a short report
NAMED = 2  # files of code
CODE = re.compile(r"(\S+\.(?:py|html|css|js)) (?:changed|is new to it|is no longer read)$")


def problems(page: Page) -> Iterator[Block]:
    report = page.report
    shown, more = page.cut(report.problems, "place")
    if shown:
        yield Items(tuple((page.place(p.path, p.line), TextSpan(" "), page.text(p.what)) for p in shown))
        yield from more
    if report.failed:
        texts = (page.text(f": {said_of(gate)}") for gate in report.failed)
        items = (
            (TextSpan("gate "), TextSpan(g.name, "code"), words) for g, words in zip(report.failed, texts, strict=True)
        )
        yield Items(tuple(items))
    if report.leaks:
        yield say("In training and in evaluation, so that the evaluation tests what was learnt:")
        leaks, more = page.cut(report.leaks, "text")
        clips = (", ".join(leak.training + leak.evaluation) for leak in leaks)
        rows = zip(leaks, clips, strict=True)
        yield Items(tuple((TextSpan(names, "code"), TextSpan(" "), page.text(leak.text)) for leak, names in rows))
        yield from more


def reruns(page: Page) -> Iterator[Block]:
    report = page.report
    direct = [stage for stage in report.stale if stage.reasons]
    if not direct:
        return
    yield say("dvc.lock is behind the files; clips and rates above are those of the last run.")
    items = []
    for stage in direct:
        summed = _summed(stage.reasons)
        reasons = summed if page.most is None else summed[:REASONS]
        rest = [f"and {len(summed) - REASONS} more"] if len(reasons) < len(summed) else []
        items.append((TextSpan(stage.stage, "code"), page.text(": " + "; ".join(reasons + rest))))
    yield Items(tuple(items))
    after = [stage.stage for stage in report.stale if not stage.reasons]
    if after:
        yield say(f"After them, as far as their results differ: {', '.join(after)}.")
    yield from [say(cost)] if (cost := _cost(page)) else []


def _summed(reasons: Sequence[str]) -> list[str]:
    """Data and parameters one by one; code, of which a stage reads many files, in one reason."""
    code = [match[1] for reason in reasons if (match := CODE.match(reason))]
    others = [reason for reason in reasons if not CODE.match(reason)]
    if not code:
        return others
    more = f" and {len(code) - NAMED} more" if len(code) > NAMED else ""
    return [*others, f"its code changed ({', '.join(code[:NAMED])}{more})"]


def _cost(page: Page) -> str:
    """By what each stage took when it last computed something on this machine; empty where none did."""
    seconds_of = {stage.stage: page.report.seconds.get(stage.stage) for stage in page.report.stale}
    measured = {stage: seconds for stage, seconds in seconds_of.items() if seconds is not None}
    if not measured:
        return ""
    longest = sorted(measured, key=lambda stage: -measured[stage])[:3]
    slowest = ", ".join(f"{stage} {minutes(measured[stage])}" for stage in longest)
    unknown = ", ".join(stage for stage in seconds_of if stage not in measured)
    without = f", without {unknown}, not timed here yet" if unknown else ""
    return f"About {minutes(sum(measured.values()))} by the last runs here ({slowest}){without}"


def shared(page: Page) -> Iterator[Block]:
    remote = page.report.shared
    if remote.refused:
        text = page.text(f" could not be asked: {remote.refused}")
        yield Paragraph((TextSpan("The remote "), TextSpan(remote.remote, "code"), text))
    elif remote.lacks:
        yield Paragraph(
            (
                TextSpan("A colleague cannot get what "),
                TextSpan(remote.remote, "code"),
                TextSpan(" lacks; `dvc push` sends it:"),
            )
        )
        paths, more = page.cut(remote.lacks, "output")
        yield Items(tuple((TextSpan(path, "code"),) for path in paths))
        yield from more


def unreachable(page: Page) -> Iterator[Block]:
    versions: dict[str, list[str]] = {}
    for output in page.report.unreachable:
        path, _, version = output.partition(" of ")
        versions.setdefault(path, []).append(version)
    if versions:
        yield say("Neither in DVC's cache here nor to be had from a remote, so not compared:")
        rows = ((path, f" of {' and '.join(names)}") for path, names in versions.items())
        yield Items(tuple((TextSpan(path, "code"), page.text(text)) for path, text in rows))
