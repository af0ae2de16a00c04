"""The files of the work tree, as DVC sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

from timbre.mapping.inputs import dvc_hash
from timbre.versions.dvc_lock import folder_md5
from timbre.versions.snapshot import WorkTree


@pytest.mark.parametrize("rule", ["__pycache__", "code/cached/", "*.pyc", "/code/**/*.pyc", "cached\n!cached/"])
def test_what_dvc_ignores_is_in_no_folder_and_in_no_hash(
    rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("code/clip.py", "code/cached/__pycache__/clip.pyc", "code/deep/a.py"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)
    Path(".dvcignore").write_text(f"# byte code\n{rule}\n")
    listed = WorkTree(tmp_path).list("code")
    ignored = "!" not in rule
    assert ("code/cached/__pycache__/clip.pyc" not in listed) == ignored
    assert {"code/clip.py", "code/deep/a.py"} <= set(listed)
    assert folder_md5(WorkTree(tmp_path), "code") == dvc_hash(Path("code")), "both read .dvcignore alike"
