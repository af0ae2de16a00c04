"""Writes the tiny GPT-SoVITS as GPT-SoVITS lays out its own, from what the four trainings made.

Reads   <work>/sovits-hubert.pt, <work>/sovits-stage1.pt, <work>/sovits-stage2.pt
Writes  the folder given by --out: s1-tiny.ckpt, s2G-tiny.pth, s2D-tiny.pth, chinese-hubert-base/

Run:  python recipe/sovits.py [--out sovits]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import sovits_model
import torch
from corpus import HERE, WORK
from sovits_clips import load_hearing

from timbre.families.sovits.stage1 import Stage1
from timbre.families.sovits.stage2 import Stage2


def export(folder: Path, work: Path = WORK) -> None:
    first = torch.load(work / "sovits-stage1.pt", weights_only=True)
    stage1 = Stage1(sovits_model.STAGE1["model"])
    learnt = {name.removeprefix("model."): value for name, value in first["learner"].items() if name[:6] == "model."}
    stage1.load_state_dict(learnt)
    sovits_model.averaged(stage1, {name.removeprefix("model."): value for name, value in first["average"].items()})
    sovits_model.save_stage1(stage1, folder)
    second = torch.load(work / "sovits-stage2.pt", weights_only=True)
    stage2 = Stage2(sovits_model.STAGE2, sovits_model.PHONES, widths=sovits_model.WIDTHS)
    stage2.load_state_dict(second["model"])
    sovits_model.averaged(stage2, second["average"])
    judges = sovits_model.judges()
    judges.load_state_dict(second["judges"])
    sovits_model.save_stage2(stage2, judges, folder)
    sovits_model.save_hubert(load_hearing(work).hubert, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=HERE / "sovits")
    export(parser.parse_args().out)


if __name__ == "__main__":
    main()
