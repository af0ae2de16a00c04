"""Another branch that somebody spoilt, compared and traced."""

from __future__ import annotations

import json
from pathlib import Path

from tests.attack.hostile import Hostile
from tests.attack.project import TABLE, Project
from timbre.diff.compare import compare
from timbre.diff.render import FORMATS, render
from timbre.diff.sections.page import Page
from timbre.trace import text as trace_text
from timbre.trace.facts import Trace
from timbre.trace.follow import follow
from timbre.versions.dvc_outs import Outs
from timbre.versions.snapshot import Snapshot, open_snapshot
from timbre.versions.tables import VersionTables
from timbre.versions.traced import TracedVersion

BRANCH = ("dvc.lock", "dvc.yaml", "params.yaml", "data/sources.yaml", "data/speakers.yaml", "data/transcripts/noon.tsv",
          "reports/metrics.json")  # fmt: skip


class OtherBranch(Snapshot):
    """A commit in which somebody changed one file or several."""

    def __init__(self, good: Snapshot, changed: dict[str, bytes | None]) -> None:
        self._good, self._changed, self.name = good, changed, "theirs"

    def list(self, folder: str) -> list[str]:
        here = {path for path in self._good.list(folder) if self._changed.get(path, b"") is not None}
        return sorted(here | {path for path in self._changed if path.startswith(f"{folder}/")})

    def size(self, path: str) -> int | None:
        content = self.read(path)
        return None if content is None else len(content)

    def read(self, path: str) -> bytes | None:
        return self._changed[path] if path in self._changed else self._good.read(path)


class OtherOuts(Outs):
    """DVC's cache where objects were spoilt, too."""

    def __init__(self, where: Path, hostile: Hostile) -> None:
        super().__init__(where, remotes=False)
        self._hostile = hostile

    def _object(self, digest: str, path: str) -> bytes | None:
        content = super()._object(digest, path)
        if content and self._hostile.rng.random() < 0.3:
            return self._hostile.text(content.decode(errors="replace"))
        return content


def hostile_branch(project: Project, hostile: Hostile) -> None:
    with open_snapshot(project.root, "HEAD~1") as before, open_snapshot(project.root, "HEAD") as head:
        changed: dict[str, bytes | None] = {}
        for path in hostile.rng.sample(BRANCH, hostile.rng.randint(1, 3)):
            good = (head.read(path) or b"").decode()
            if path.endswith((".lock", ".json")) and hostile.rng.random() < 0.6:
                changed[path] = json.dumps(hostile.values(json.loads(good))).encode()
            else:
                changed[path] = hostile.text(good)
        if hostile.rng.random() < 0.1:
            changed[f"data/transcripts/{hostile.piece()[:100]}.tsv"] = hostile.text(TABLE)
        theirs, outs = OtherBranch(head, changed), OtherOuts(project.root, hostile)
        if hostile.rng.random() < 0.3:
            version = TracedVersion(theirs, outs, head)
            found = follow(version, hostile.rng.choice(("adapter", "noon", "marina", "tuned-ferry-0")))
            print(trace_text.draw(Trace(None, 0, found, (), (), version.gaps()), True, None))
        else:
            report = compare(VersionTables(before, outs), VersionTables(theirs, outs), remote=False)
            print(render(Page(report), hostile.rng.choice([form for form in FORMATS if form != "html"]), False))
