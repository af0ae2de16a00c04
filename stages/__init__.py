"""The pipeline's stages, a file each.

What several of them import is imported once for a `dvc repro`: where it can, `python -m stages.…` has its work done by
a fork of a process that has the libraries already (timbre/mapping/warm.py).
"""

import sys

from timbre.mapping import warm

LIBRARIES = (
    "argparse", "concurrent.futures", "numpy", "pathspec", "psutil", "pydantic.dataclasses", "pydantic.type_adapter",
    "ruamel.yaml", "safetensors.numpy", "sentencex", "soundfile", "soxr", "statistics", "tqdm", "yaml",
)  # fmt: skip
TORCH = {"transcribe", "encode", "train", "generate", "listen", "evaluate"}  # `check` seldom has a new clip to hear
TRANSFORMERS = {"encode", "train"}  # where there is something to encode, there is something to learn
LAST = "track"  # runs always, and starts nothing: no stage would follow

stage = sys.orig_argv[2].rpartition(".")[2] if len(sys.orig_argv) > 2 else ""
libraries = (*LIBRARIES, "torch") if stage in TORCH else LIBRARIES
warm.begin(libraries, transformers=stage in TRANSFORMERS, start=stage != LAST)
