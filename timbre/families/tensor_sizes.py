"""How large the matrices in a file that torch saved are, without torch and without reading one of them.

    matrices(Path("s1-tiny.ckpt"), "weight")["model.bert_proj.weight"]      # (192, 1024)

A file is a zip of one pickle, which names and describes the matrices, and their numbers. No class that the pickle names
is imported: all are stood in for.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Sizes = Mapping[str, tuple[int, ...]]
NUMBERS = "torch._utils _rebuild_tensor_v2"


class Nothing:
    """Stands for an object of any class."""

    def __init__(self, *values: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...


class Descriptions(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if f"{module} {name}" == NUMBERS:
            return lambda storage, offset, size, *more: tuple(size)
        return dict if name == "OrderedDict" else Nothing

    def persistent_load(self, pid: Any) -> None:
        return None


def matrices(path: Path, part: str) -> Sizes:
    """Of a table in the file, or of the file itself where it holds no such table; none of a file that is missing,
    damaged or of another kind, which loading will name."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(one for one in archive.namelist() if one.endswith("/data.pkl"))
            with archive.open(name) as file:
                saved = Descriptions(file).load()
    except Exception:  # whatever the unpickler stumbles over
        return {}
    table = saved.get(part, saved) if isinstance(saved, Mapping) else None
    return {k: v for k, v in table.items() if isinstance(v, tuple)} if isinstance(table, Mapping) else {}
