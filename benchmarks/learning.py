"""A step of LoRA, and what it learns: the recipe that transformers documents for CSM, and ours.

    python -m benchmarks.learning [--device cpu] [--size csm-1b] [--seconds 15] [--runs 2] [--only speed layers]

The documented recipe hands over sound: the codec runs inside `forward`, clip by clip, and both decoders learn from
every frame. Ours hands over codes that were made once, and the depth decoder learns from a sixteenth of the frames.
Adapter, modules, optimiser, clips and batches are the same, and a step is everything from the batch to the optimiser.
Weights of csm-1b's shape are random; each way has a process of its own, so that its peak of memory is its own too. The
limit is the arithmetic of the decoders' layers at the speed of a large matrix product in the same precision.

`--only layers` is a few of the backbone's layers alone, there and back, as transformers writes them out and as we do.

What is learnt is measured on the tiny stack (`dvc checkout`) with the same evaluation for both: all frames, each
decoder's mean. Python 3.12, torch, transformers and peft are enough for the rest.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import limits, shapes, table
from benchmarks.recipes import LORA, SHARE, TINY_SHARE, Way, dress, examined, operations, random_clip, step, tiny_clips
from benchmarks.table import ResultTable, TimedRow
from timbre import families
from timbre.core.sections import CsmParams, TrainParams, VoiceParams
from timbre.families import Turn, fused_layers
from timbre.families.batch_rows import rounded
from timbre.families.csm.load import read_config
from timbre.families.llama import CausalLayers
from timbre.families.lora import PROJECTIONS, put_on

DOCUMENTED = "documented"
LAYERS = 4  # measured alone
POSITIONS_A_SECOND = 12.5 + 15 / 4  # of a clip: frames, and letters by four
WAYS = {
    "cpu": (
        Way(DOCUMENTED, raw=True),
        Way("documented, checkpointing", raw=True, saving=True),
        Way("ours", raw=False),
        Way("ours, checkpointing", raw=False, saving=True),
        Way("ours, bf16", raw=False, half=True),
        Way("ours, bf16, checkpointing", raw=False, half=True, saving=True),
    ),
    "cuda": (
        Way(DOCUMENTED, raw=True, half=True),
        Way("documented, checkpointing", raw=True, half=True, saving=True),
        Way("ours", raw=False, half=True),
        Way("ours, checkpointing", raw=False, half=True, saving=True),
    ),
}
LEARNING = (Way(DOCUMENTED, raw=True), Way("ours", raw=False), Way("ours, bf16", raw=False, half=True))


def main() -> None:
    options = table.parse(__doc__, arguments)
    if options.child:
        print(json.dumps(child(Way(*json.loads(options.child)), options)))
    else:
        for part in parts(options):
            table.record(f"learning-{part}", [MAKERS[part](options)], options.out)


def arguments(parser: argparse.ArgumentParser) -> None:
    here = "cuda" if torch.cuda.is_available() else "cpu"
    table.add_device(parser, runs=5 if here == "cuda" else 2)
    parser.add_argument("--size", choices=list(shapes.SIZES), default="csm-1b")
    parser.add_argument("--seconds", type=float, default=30 if here == "cuda" else 15, help="of a clip")
    parser.add_argument("--batch", type=int, default=8 if here == "cuda" else 1, help="clips")
    parser.add_argument("--only", choices=["layers", "speed", "epoch", "loss"], nargs="+")
    parser.add_argument("--steps", type=int, default=16, help="on the tiny stack")
    parser.add_argument("--seeds", type=int, default=2, help="on the tiny stack")
    parser.add_argument("--child", help=argparse.SUPPRESS)  # a way, as JSON: measured in this process, told as JSON
    parser.add_argument("--rate", type=float, default=5e-4, help="of learning, on the tiny stack")


def measure(options: argparse.Namespace) -> Iterator[ResultTable]:
    yield from (MAKERS[part](options) for part in parts(options))


def parts(options: argparse.Namespace) -> list[str]:
    return options.only or (["layers", "speed", "epoch", "loss"] if options.device == "cuda" else ["speed", "loss"])


def layers(options: argparse.Namespace) -> ResultTable:
    """Forward and backward of layers under an adapter, as transformers writes them out and with parts of one kernel."""
    on_gpu = options.device == "cuda"
    dtype = torch.bfloat16 if on_gpu else torch.float32
    model = few_layers(options.size, options.device, dtype)
    stack = CausalLayers(model)
    positions = rounded(round(options.seconds * POSITIONS_A_SECOND), torch.device("cuda"))
    hidden = torch.randn(options.batch, positions, model.config.hidden_size, device=options.device).to(dtype)
    hidden.requires_grad_()

    def learn(*parts: Callable[[Any], None]) -> None:
        for module in stack.modules():
            if module in written_out:
                module.forward = written_out[module]
        for part in parts:
            part(model)
        with torch.autocast(options.device, torch.bfloat16, enabled=on_gpu):
            loss = stack(hidden).square().mean()
        loss.backward()
        if on_gpu:
            torch.cuda.synchronize()

    written_out = {module: partial(type(module).forward, module) for module in stack.modules() if is_fused(module)}
    norms = partial(fused_layers.fuse_norms, normed=fused_layers.normed_at_once)
    ways = {"written out": learn, "RMS norms of one kernel": partial(learn, norms)}
    ways["norms, rotary positions and SwiGLU" if on_gpu else "fewer passes"] = partial(learn, fused_layers.fuse)
    seconds = table.race(ways, options.runs)
    weights = sum(weight.numel() for name, weight in stack.layers.named_parameters() if "lora" not in name)
    limit = 4 * weights * options.batch * positions / limits.arithmetic(options.device, dtype)
    rows = [TimedRow(name, seconds[name], options.batch * positions, limit) for name in ways]
    if not on_gpu:
        rows.append(TimedRow("norms, rotary positions and SwiGLU", skipped="kernels of Triton are for a GPU"))
    title = f"{LAYERS} layers of {options.size}'s backbone on {options.device}, {options.batch} × {positions} positions"
    return ResultTable(title, rows, baseline="written out", rate="positions/s")


def is_fused(module: Any) -> bool:
    return hasattr(module, "variance_epsilon") or hasattr(module, "q_proj") or hasattr(module, "gate_proj")


def few_layers(size: shapes.Size, device: str, dtype: torch.dtype) -> Any:
    """Of the backbone's shape, under a fresh adapter. CSM's layers are Llama's."""
    from transformers import CsmConfig, LlamaConfig, LlamaModel

    like = read_config(str(shapes.TINY), {}) if size == "tiny" else CsmConfig(**shapes.SMALL if size == "small" else {})
    names = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim", "hidden_act")
    config = LlamaConfig(vocab_size=8, num_hidden_layers=LAYERS, **{name: getattr(like, name) for name in names})
    torch.manual_seed(0)
    with torch.device(device):
        model = LlamaModel(config).to(dtype)
    put_on(model, r"layers\.\d+\." + PROJECTIONS, LORA._replace(dropout=0.0), LAYERS)
    return model


def speed(options: argparse.Namespace) -> ResultTable:
    rows = [_row(way, options) for way in WAYS[options.device]]
    if options.device == "cuda":
        rows.append(TimedRow("Unsloth", skipped=_unsloth()))
    title = f"a step on {options.size} on {options.device}, batch {options.batch} × {options.seconds:g} s"
    return ResultTable(title, rows, baseline=DOCUMENTED, rate="frames/s")


def _unsloth() -> str:
    try:
        import unsloth  # noqa: F401
    except ImportError:
        return "because it is not installed"
    except Exception as error:  # it looks at the machine on import
        return f"because it does not start here ({type(error).__name__})"
    return "because random weights are no model that it loads; compare its own notebook on csm-1b"


def _row(way: Way, options: argparse.Namespace) -> TimedRow:
    print(f"{way.name} …", file=sys.stderr, flush=True)
    found = _asked(way, "speed", options)
    if "error" in found:
        return TimedRow(way.name, skipped=found["error"])
    extra = {"peak GB": found["peak_gb"]}
    rate = limits.arithmetic(options.device, torch.bfloat16 if way.half else torch.float32)
    return TimedRow(way.name, found["seconds"], found["frames"], found["operations"] / rate, extra)


def _asked(way: Way, part: str, options: argparse.Namespace) -> dict[str, Any]:
    """What a process of its own measured; `error` says why it could not."""
    told = [f"--{name}={getattr(options, name)}" for name in (
        "device", "size", "seconds", "batch", "runs", "steps", "seeds", "rate"
    )]  # fmt: skip
    command = [sys.executable, "-m", "benchmarks.learning", *told, "--only", part, "--child", json.dumps(way)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        memory = done.returncode == -9 or "OutOfMemory" in done.stderr
        return {"error": "for want of memory" if memory else lines[-1] if lines else f"exit {done.returncode}"}
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def child(way: Way, options: argparse.Namespace) -> dict[str, Any]:
    return curves(way, options) if options.only == ["loss"] else steps(way, options)


def steps(way: Way, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each step after a short one that warms up, and the peak of memory."""
    dtype = torch.bfloat16 if way.half else torch.float32
    voice = shapes.csm(options.size, options.device, dtype)
    dress(voice, way)
    optimiser = torch.optim.AdamW([w for w in voice.model.parameters() if w.requires_grad], 2e-4)
    clips = [random_clip(voice, options.seconds, seed) for seed in range(options.batch)]
    step(voice, way, optimiser, [random_clip(voice, 1.0, 0)], 0)
    seconds = []
    for number in range(1 if way.raw and options.device == "cpu" else options.runs):
        begun = time.perf_counter()
        step(voice, way, optimiser, clips, number)
        if options.device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
        print(f"  {seconds[-1]:.2f} s", file=sys.stderr, flush=True)
    return {
        "seconds": seconds,
        "frames": sum(len(clip.codes) for clip in clips),
        "peak_gb": _peak(options.device),
        "operations": operations(voice, way, clips),
    }


def _peak(device: str) -> float:
    """Of this process, in GB: on a CPU with its libraries, 0.6 GB."""
    used = torch.cuda.max_memory_allocated() if device == "cuda" else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (1e9 if device == "cuda" else 1e6)


def epoch_params(batch: int, *, half: bool) -> TrainParams:
    return TrainParams(
        rank=LORA.rank, alpha=LORA.alpha, rslora=LORA.rslora, dropout=LORA.dropout, learning_rate=2e-4, warmup=2,
        epochs=1, max_steps=None, batch=batch, accumulation=1, weight_decay=0.01, max_grad_norm=1.0,
        context_share=0.0, context_seconds=12, speakers="recorded",
        eval_every=1000, eval_clips=50, eval_cost=0.1, patience=0, points=1,
        optimiser="adamw", precision="bf16" if half else "fp32", gradient_checkpointing=True, processes=1, shard=False,
        warm_start="none", seed=0,
    )  # fmt: skip


def epoch(options: argparse.Namespace) -> ResultTable:
    """The training loop itself, an evaluation before and one after it included."""
    from timbre.training import courses
    from timbre.training.batches import Utterance

    half = options.device == "cuda"
    voice = shapes.csm(options.size, options.device, torch.bfloat16 if half else torch.float32)
    count = 50 if half else 8  # a CPU only rehearses it
    clips = [random_clip(voice, options.seconds, seed) for seed in range(count + 4)]
    heard = [Utterance(str(n), "ann", options.seconds, Turn(c.text, {"codes": c.codes})) for n, c in enumerate(clips)]
    params = epoch_params(options.batch, half=half)
    with tempfile.TemporaryDirectory() as scratch:
        begun = time.perf_counter()
        (trained,) = courses.learn(voice, heard[:count], heard[count:], params, CsmParams(SHARE), Path(scratch))
        seconds = time.perf_counter() - begun
    waited = statistics.mean(row["waiting_percent"] for row in trained.state.speed)
    extra = {"peak GB": _peak(options.device), "waiting for data": f"{waited:.1f}%"}
    title = f"an epoch of {count} clips of {options.seconds:g} s on {options.size} on {options.device}"
    return ResultTable(title, [TimedRow("ours, checkpointing", [seconds], extra=extra)])


def loss(options: argparse.Namespace) -> ResultTable:
    """The evaluation loss on the way, from the lowest seed to the highest, and its two parts at the end."""
    title = f"{options.steps} steps on the tiny stack, learning rate {options.rate:g}: s per step, evaluation loss"
    rows = []
    for way in LEARNING:
        print(f"{way.name} …", file=sys.stderr, flush=True)
        found = _asked(way, "loss", options)
        if "error" in found:
            rows.append(TimedRow(way.name, skipped=found["error"]))
            continue
        runs = found["losses"]
        on_the_way = {
            f"after {step:03}": _spread([sum(run[place]) for run in runs]) for place, step in enumerate(found["at"])
        }
        for place, part in enumerate(("backbone", "depth decoder")):
            on_the_way |= {f"of it {part}": _spread([run[-1][place] for run in runs])}
        rows.append(TimedRow(way.name, found["seconds"], extra=on_the_way))
    return ResultTable(title, rows, baseline=DOCUMENTED)


def _spread(losses: Sequence[float]) -> str:
    low, high = f"{min(losses):.4f}", f"{max(losses):.4f}"
    return low if low == high else f"{low}–{high}"


def curves(way: Way, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of all steps, and per seed the losses before, on the way and after."""
    clips, held = tiny_clips()
    at = [round(options.steps * part / 4) for part in range(5)]
    seconds, losses = [], []
    for seed in range(options.seeds):
        precision: families.Precision = "bf16" if way.half else "fp32"
        voice: Any = families.load(VoiceParams("csm", str(shapes.TINY), None), precision=precision)
        dress(voice, way, seed)
        optimiser = torch.optim.AdamW([w for w in voice.model.parameters() if w.requires_grad], options.rate)
        order = np.random.default_rng(seed).permutation(np.tile(np.arange(len(clips)), 1 + options.steps // 10))
        found = [examined(voice, held, way)]
        for number in range(options.steps):
            chosen = [clips[place] for place in order[8 * number : 8 * number + 8]]
            begun = time.perf_counter()
            step(voice, way, optimiser, chosen, seed * options.steps + number, TINY_SHARE)
            seconds.append(time.perf_counter() - begun)
            if number + 1 in at:
                found.append(examined(voice, held, way))
                print(f"  seed {seed}, step {number + 1}: {sum(found[-1]):.4f}", file=sys.stderr, flush=True)
        losses.append(found)
    return {"seconds": seconds, "losses": losses, "at": at}


MAKERS = {"layers": layers, "speed": speed, "epoch": epoch, "loss": loss}

if __name__ == "__main__":
    main()
