"""Trains the tiny CSM on the codes of the synthetic corpus, and measures what it says.

A sequence is one to three turns of one voice under a random speaker number, so that only what was heard before tells
whose voice to take; a turn is one to five sentences. All turns are learnt: the first teaches speaking, the others
cloning. The end frame is learnt too, or it would never stop.

Reads   <work>/corpus.npy, <work>/corpus.jsonl, corpus.json, <work>/codec/; csm/ where <work> lacks the codec or csm.pt
Writes  <work>/codes.npy and .json (once per codec), <work>/csm.pt (resumable), and the folder given by --out

Run:  python recipe/csm.py [--minutes 75] [--out csm]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import csm_model
import numpy as np
import torch
import yaml
from codec_model import RATE, encode
from listener import WORK, Corpus
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CsmForConditionalGeneration, CsmProcessor, DynamicCache, MimiModel

HERE = Path(__file__).resolve().parent.parent
SIMPLE = 0.3  # of the training, at its start, is single sentences
LEARNT = ("backbone_model.", "depth_decoder.", "embed_text_tokens.", "lm_head.")


@dataclass(frozen=True)
class Spoken:
    """An utterance as the model sees it."""

    voice: str
    text: str
    codes: np.ndarray  # (frames, codebooks)


def encode_corpus(work: Path, splits: tuple[str, ...] = ("train", "heldout", "unseen")) -> dict[str, list[Spoken]]:
    """The corpus as codes, each utterance with a little random silence around it; kept until the codec changes."""
    weights = load_file(work / "codec/model.safetensors")
    making = ("encoder", "downsample")  # the decoder may change without making codes stale
    makers = sorted(n for n in weights if n.startswith(making) or "input_proj" in n or "embed_sum" in n)
    fingerprint = hashlib.sha256(b"".join(weights[name].numpy().tobytes() for name in makers)).hexdigest()
    corpus, index, store = Corpus(work), work / "codes.json", work / "codes.npy"
    rows = corpus.of(*splits)
    kept = json.loads(index.read_text()) if index.exists() else {}
    if kept.get("codec") != fingerprint or len(kept["lengths"]) != len(rows):
        device = "cuda" if torch.cuda.is_available() else "cpu"
        codec = MimiModel.from_pretrained(work / "codec").eval().to(device)
        random, order = np.random.default_rng(0), sorted(range(len(rows)), key=lambda i: rows[i].samples)
        codes: list[np.ndarray] = [np.zeros(0)] * len(rows)
        began = time.time()
        for start in range(0, len(order), 16):
            batch = order[start : start + 16]
            sounds = []
            for i in batch:
                edges = (int(random.uniform(0, 0.15) * RATE), int(random.uniform(0.05, 0.4) * RATE))
                sound = np.pad(corpus[rows[i]] * random.uniform(0.8, 1.25), edges)
                sounds.append((sound + random.normal(0, 10 ** random.uniform(-5, -3.3), len(sound))).astype(np.float32))
            for i, made in zip(batch, encode(codec, sounds, device), strict=True):
                codes[i] = made
            if start % 1600 == 0:
                left = (time.time() - began) / (start + 16) * (len(order) - start - 16)
                print(f"encoded {start} of {len(order)} utterances, {left:.0f} s left", flush=True)
        np.save(store, np.concatenate(codes))
        index.write_text(json.dumps({"codec": fingerprint, "lengths": [len(c) for c in codes]}))
        kept = json.loads(index.read_text())
    pieces = np.split(np.load(store), np.cumsum(kept["lengths"])[:-1])
    found: dict[str, list[Spoken]] = {split: [] for split in splits}
    for row, piece in zip(rows, pieces, strict=True):
        found[row.split].append(Spoken(row.voice, row.text, piece))
    return found


@dataclass(frozen=True)
class Sequence:
    ids: np.ndarray  # (positions,) text ids; audio positions hold csm_model.AUDIO or AUDIO_EOS
    codes: np.ndarray  # (positions, codebooks), 0 where there is text and at the end frame


def turn(words: CsmProcessor, speaker: int, spoken: list[Spoken]) -> Sequence:
    """Text, frames, end frame."""
    text = " ".join(s.text for s in spoken)
    ids = words.tokenizer(f"[{speaker}]{text}", add_special_tokens=True)["input_ids"]
    frames = np.concatenate([s.codes for s in spoken])
    row = np.concatenate([ids, np.full(len(frames), csm_model.AUDIO), [csm_model.AUDIO_EOS]])
    return Sequence(row, np.pad(frames, ((len(ids), 1), (0, 0))))


def compose(
    words: CsmProcessor, voices: dict[str, list[Spoken]], random: np.random.Generator, simple: bool
) -> Sequence:
    """A random sequence; a simple one is a single sentence, from which speaking is learnt soonest."""
    mine = voices[list(voices)[int(random.integers(len(voices)))]]
    speaker = int(random.integers(10))
    turns = 1 if simple else int(random.choice([1, 2, 3], p=[0.35, 0.45, 0.2]))
    parts = []
    for _ in range(turns):
        sentences = 1 if simple else int(random.choice([1, 2, 3, 4, 5], p=[0.66, 0.16, 0.08, 0.06, 0.04]))
        spoken = [mine[int(i)] for i in random.integers(len(mine), size=sentences)]
        if random.random() < 0.1:  # people and recognisers forget the stop
            spoken = [Spoken(s.voice, s.text.rstrip("."), s.codes) for s in spoken]
        parts.append(turn(words, speaker, spoken))
    return Sequence(np.concatenate([p.ids for p in parts]), np.concatenate([p.codes for p in parts]))


def batches(
    words: CsmProcessor, voices: dict[str, list[Spoken]], random: np.random.Generator, positions: int, simple: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of like lengths, at most `positions` each, padded on the right."""
    while True:
        pool = sorted((compose(words, voices, random, simple) for _ in range(96)), key=lambda s: len(s.ids))
        groups: list[list[Sequence]] = [[]]
        for sequence in pool:
            if groups[-1] and (len(groups[-1]) + 1) * len(sequence.ids) > positions:
                groups.append([])
            groups[-1].append(sequence)
        for which in random.permutation(len(groups)):
            longest = max(len(s.ids) for s in groups[which])
            ids = np.stack([np.pad(s.ids, (0, longest - len(s.ids))) for s in groups[which]])
            codes = np.stack([np.pad(s.codes, ((0, longest - len(s.ids)), (0, 0))) for s in groups[which]])
            yield torch.from_numpy(ids), torch.from_numpy(codes).long()


def losses(
    model: CsmForConditionalGeneration, ids: Tensor, codes: Tensor, noise: bool = True, depth_share: float = 0.125
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of codebook 0 (backbone) and of the others (depth decoder, on a share of the frames)."""
    is_end, is_audio = ids == csm_model.AUDIO_EOS, ids == csm_model.AUDIO
    heard = codes
    if noise:  # so that it can go on after its own mistakes
        wrong = torch.rand(*codes.shape[:2], 1, device=codes.device) < 0.05
        wrong = wrong | (torch.rand(codes.shape, device=codes.device) < 0.10)
        heard = torch.where(wrong, torch.randint_like(codes, 1, model.config.codec_config.codebook_size), codes)
    sounds = is_audio | is_end
    heard = torch.where(is_end[..., None], 0, heard)
    embedded = torch.where(sounds[..., None], model.backbone_model.embed_tokens(heard), model.embed_text_tokens(ids))
    hidden = model.backbone_model(inputs_embeds=embedded, use_cache=False).last_hidden_state
    learn = sounds[:, 1:]
    before, target = hidden[:, :-1][learn], codes[:, 1:][learn]  # (frames, width), (frames, codebooks)
    backbone = F.cross_entropy(model.lm_head(before).float(), target[:, 0])
    deep = (torch.rand(len(target), device=target.device) < depth_share) | is_end[:, 1:][learn]
    before, target = before[deep], target[deep]
    logits = model.depth_decoder(
        input_ids=F.pad(target[:, :-1], (1, 0)), backbone_last_hidden_state=before, use_cache=False
    ).logits
    depth = F.cross_entropy(logits.float().flatten(0, 1), target[:, 1:].flatten())
    return backbone, depth


@torch.no_grad()
def speak(
    model: CsmForConditionalGeneration,
    words: CsmProcessor,
    texts: list[str],
    references: list[Spoken | None],
    temperature: float = 0.6,
    limit: int = 500,
    seed: int = 0,
) -> list[np.ndarray]:
    """Frames (frames, codebooks) for each text, in its reference's voice if it has one; at most `limit`."""
    size, generator = model.config.codec_config.codebook_size, torch.Generator(model.device).manual_seed(seed)

    def draw(logits: Tensor) -> Tensor:
        chances = (logits[:, -1, :size] / temperature).float().softmax(-1)
        return torch.multinomial(chances, 1, generator=generator)

    prompts = []
    for text, reference in zip(texts, references, strict=True):
        ids = np.array(words.tokenizer(f"[0]{text}", add_special_tokens=True)["input_ids"])
        parts = [turn(words, 0, [reference])] if reference else []
        parts.append(Sequence(ids, np.zeros((len(ids), model.config.num_codebooks), np.int64)))
        prompts.append(Sequence(np.concatenate([p.ids for p in parts]), np.concatenate([p.codes for p in parts])))
    longest = max(len(p.ids) for p in prompts)
    front = [longest - len(p.ids) for p in prompts]  # padding goes to the left: all end together
    ids = torch.tensor(np.stack([np.pad(p.ids, (n, 0)) for p, n in zip(prompts, front, strict=True)])).to(model.device)
    codes = torch.tensor(np.stack([np.pad(p.codes, ((n, 0), (0, 0))) for p, n in zip(prompts, front, strict=True)]))
    heard = ((ids == csm_model.AUDIO) | (ids == csm_model.AUDIO_EOS))[..., None]
    sounds = model.backbone_model.embed_tokens(codes.long().to(model.device))
    step = torch.where(heard, sounds, model.embed_text_tokens(ids))
    mask = (torch.arange(longest)[None] >= torch.tensor(front)[:, None]).long().to(model.device)
    cache, frames, ended = DynamicCache(), [], torch.zeros(len(texts), dtype=torch.bool, device=model.device)
    while len(frames) < limit and not ended.all():
        places = (mask.cumsum(1) - 1).clamp_min(0)[:, -step.shape[1] :]
        hidden = model.backbone_model(
            inputs_embeds=step, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=True
        ).last_hidden_state[:, -1:]
        frame, depth = [draw(model.lm_head(hidden))], DynamicCache()
        given = F.pad(frame[0], (1, 0))  # the placeholder of the backbone's state, then codebook 0
        for _ in range(model.config.num_codebooks - 1):
            out = model.depth_decoder(
                input_ids=given, backbone_last_hidden_state=hidden[:, 0] if len(frame) == 1 else None,
                past_key_values=depth, use_cache=True, logits_to_keep=1,
            )  # fmt: skip
            given = draw(out.logits)
            frame.append(given)
        frames.append(torch.cat(frame, 1))
        ended |= frame[0][:, 0] == 0
        step, mask = model.backbone_model.embed_tokens(frames[-1][:, None]), F.pad(mask, (0, 1), value=1)
    said = torch.stack(frames, 1).cpu().numpy()
    ends = [int(np.argmax(row[:, 0] == 0)) if (row[:, 0] == 0).any() else len(row) for row in said]
    return [row[:end] for row, end in zip(said, ends, strict=True)]


def train(minutes: float, out: Path, work: Path = WORK, rate: float = 1.5e-3, positions: int = 2400) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    committed = CsmForConditionalGeneration.from_pretrained(HERE / "csm") if (HERE / "csm").exists() else None
    if committed and not (work / "codec").exists():  # another machine: go on from what is in git
        committed.codec_model.save_pretrained(work / "codec")
    spoken = encode_corpus(work)
    voices: dict[str, list[Spoken]] = {}
    for row in spoken["train"]:
        voices.setdefault(row.voice, []).append(row)
    codec = MimiModel.from_pretrained(work / "codec")
    words = csm_model.processor(json.loads((HERE / "corpus.json").read_text())["words"], codec.config)
    model = csm_model.build(codec, len(words.tokenizer)).to(device)
    model.codec_model.requires_grad_(False)
    learnt = {n: p for n, p in model.named_parameters() if n.startswith(LEARNT)}
    optimiser = torch.optim.AdamW(learnt.values(), rate, betas=(0.9, 0.98), weight_decay=0.05)
    average = {n: p.detach().clone() for n, p in learnt.items()}
    spent, step, path = 0.0, 0, work / "csm.pt"
    if path.exists():
        state = torch.load(path, map_location=device)
        for name, weight in state["model"].items():
            learnt[name].data.copy_(weight)
        average, spent, step = state["average"], state["spent"], state["step"]
        optimiser.load_state_dict(state["optimiser"])
    elif committed:
        model.load_state_dict(committed.state_dict())
        average = {n: p.detach().clone() for n, p in learnt.items()}
    held = [turn(words, 0, [s]) for s in spoken["heldout"] if s.voice in voices][::12]
    streams = [batches(words, voices, np.random.default_rng(step), positions, simple) for simple in (False, True)]
    total, last, saved, exported, means = minutes * 60, time.time(), time.time(), time.time(), np.zeros(2)

    def export() -> None:
        current = {n: p.detach().clone() for n, p in learnt.items()}
        for name, weight in learnt.items():
            weight.data.copy_(average[name])
        model.eval()
        scores = []
        with torch.no_grad():
            for row in held:
                pair = torch.tensor(row.ids)[None].to(device), torch.tensor(row.codes)[None].long().to(device)
                scores.append([x.item() for x in losses(model, *pair, noise=False, depth_share=1.0)])
        print(f"held out: backbone {np.mean(scores, 0)[0]:.3f}  depth {np.mean(scores, 0)[1]:.3f}", flush=True)
        csm_model.save(model, words, out)
        model.train()
        for name, weight in learnt.items():
            weight.data.copy_(current[name])

    model.train()
    while spent < total:
        done = spent / total
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 150) * (0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2)
        ids, codes = (t.to(device) for t in next(streams[done < SIMPLE]))
        with torch.autocast(device, torch.bfloat16):
            backbone, depth = losses(model, ids, codes)
        optimiser.zero_grad()
        (backbone + depth).backward()
        nn.utils.clip_grad_norm_(learnt.values(), 1.0)
        optimiser.step()
        keep = min(0.998, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.values()), [learnt[n] for n in average], 1 - keep)
        means += (backbone.item(), depth.item())
        step, spent, last = step + 1, spent + time.time() - last, time.time()
        if step % 50 == 0:
            told = f"step {step}  backbone {means[0] / 50:.3f}  depth {means[1] / 50:.3f}"
            print(f"{told}  {(total - spent) / 60:.1f} min left", flush=True)
            means[:] = 0
        if time.time() - saved > 120 or spent >= total:
            state = {"model": learnt, "average": average, "optimiser": optimiser.state_dict()}
            torch.save({**state, "spent": spent, "step": step}, f"{path}.tmp")
            os.replace(f"{path}.tmp", path)
            saved = time.time()
        if time.time() - exported > 420:
            export()
            exported = last = time.time()
    export()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, help="of computing, in all; default: params.yaml")
    parser.add_argument("--out", type=Path, default=HERE / "csm")
    args = parser.parse_args()
    minutes = args.minutes or yaml.safe_load((HERE / "params.yaml").read_text())["csm"]["minutes"]
    train(minutes, args.out)


if __name__ == "__main__":
    main()
