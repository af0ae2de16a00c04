"""A pipeline of pyannote.audio, laid out like the one on the hub, with random weights: it hears, and knows nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

CONFIG = """
dependencies: {pyannote.audio: 4.0.0}
pipeline:
  name: pyannote.audio.pipelines.SpeakerDiarization
  params:
    clustering: VBxClustering
    segmentation: $model/segmentation
    segmentation_batch_size: 8
    embedding: $model/embedding
    embedding_batch_size: 8
    embedding_exclude_overlap: true
    plda: $model/plda
params:
  clustering: {threshold: 0.6, Fa: 0.07, Fb: 0.8}
  segmentation: {min_duration_off: 0.0}
"""
WIDTH, LDA = 256, 128  # of an embedding, and of what the PLDA looks at


def write(folder: Path) -> Path:
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
    import torch
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.embedding import WeSpeakerResNet34
    from pyannote.audio.models.segmentation import PyanNet

    torch.manual_seed(0)
    voices = Specifications(
        problem=Problem.MONO_LABEL_CLASSIFICATION, resolution=Resolution.FRAME, duration=10.0, warm_up=(0.0, 0.0),
        classes=["speaker#1", "speaker#2", "speaker#3"], powerset_max_classes=2, permutation_invariant=True,
    )  # fmt: skip
    lstm = {"hidden_size": 16, "num_layers": 1, "bidirectional": True, "monolithic": True, "dropout": 0.0}
    _save(PyanNet(lstm=lstm, linear={"hidden_size": 16, "num_layers": 1}), voices, folder / "segmentation")
    whose = Specifications(problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=5.0)
    _save(WeSpeakerResNet34(), whose, folder / "embedding")
    _plda(folder / "plda")
    (folder / "config.yaml").write_text(CONFIG)
    return folder


def _save(model: Any, specifications: Any, folder: Path) -> None:
    import pytorch_lightning

    folder.mkdir(parents=True)
    model.specifications = specifications
    model.build()
    trainer = pytorch_lightning.Trainer(logger=False, accelerator="cpu", enable_checkpointing=False)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(folder / "pytorch_model.bin", weights_only=True)


def _plda(folder: Path) -> None:
    folder.mkdir()
    dice = np.random.default_rng(0)
    lda = dice.standard_normal((WIDTH, LDA)) / np.sqrt(WIDTH)
    np.savez(folder / "xvec_transform.npz", mean1=np.zeros(WIDTH), mean2=np.zeros(LDA), lda=lda)
    np.savez(folder / "plda.npz", mu=np.zeros(LDA), tr=np.eye(LDA), psi=np.sort(dice.uniform(0.1, 5, LDA))[::-1])
