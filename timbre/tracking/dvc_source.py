"""A table that DVC keeps, as MLflow knows the source of a dataset: by its hash, from whatever cache is here."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from mlflow.data.dataset_source import DatasetSource

from timbre.core.errors import TrackingError


class DvcSource(DatasetSource):  # type: ignore[misc]
    """`file` of the folder that DVC names by `md5`. `git` is the commit that it was recorded on."""

    def __init__(self, dvc: str, md5: str, file: str, git: str) -> None:
        self.dvc, self.md5, self.file, self.git = dvc, md5, file, git

    @staticmethod
    def _get_source_type() -> str:
        return "dvc"

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:
        return False  # made by `track`, never guessed from a path

    @classmethod
    def _resolve(cls, raw_source: Any) -> DvcSource:
        raise NotImplementedError

    def to_dict(self) -> dict[str, str]:
        return {"dvc": self.dvc, "md5": self.md5, "file": self.file, "git": self.git}

    @classmethod
    def from_dict(cls, source_dict: dict[str, str]) -> DvcSource:
        return cls(**{name: source_dict[name] for name in ("dvc", "md5", "file", "git")})

    def load(self, root: Path | None = None) -> Path:
        """A copy of the table, for reading, in a temporary folder; from the cache of the DVC repository in `root`."""
        from dvc.repo import Repo

        store = Repo(str(root or Path.cwd())).cache.local
        try:
            listed = json.loads(Path(store.oid_to_path(self.md5)).read_bytes())
            digest = next(entry["md5"] for entry in listed if entry["relpath"] == self.file)
            copy = Path(tempfile.mkdtemp(prefix="timbre-")) / Path(self.file).name
            shutil.copyfile(store.oid_to_path(digest), copy)
        except (OSError, StopIteration) as error:
            commit = self.git[:12] or "the commit of the run"
            raise TrackingError(
                f"{self.dvc}/{self.file}: {self.md5} is not in DVC's cache; "
                f"`git checkout {commit} && dvc pull {self.dvc}` brings it"
            ) from error
        return copy
