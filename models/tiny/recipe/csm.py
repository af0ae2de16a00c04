"""Trains the tiny CSM on the codes of the synthetic corpus, and measures what it says.

All turns of a sequence (csm_turns.py) are learnt: the first teaches speaking, the others cloning. The end frame is
learnt too, or it would never stop. One head of each layer in the middle is guided to the word that is spoken next: left
alone, the model skips and swaps words.

Reads   the corpus as codes, corpus.json, <work>/codec/; csm/ where <work> lacks the codec or csm.pt
Writes  <work>/csm.pt (resumable), and the folder given by --out

Run:  python recipe/csm.py [--minutes 75] [--out csm]
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import csm_model
import numpy as np
import torch
import yaml
from corpus import HERE, WORK, keep
from csm_turns import Sequence, Spoken, batches, encode_corpus, turn
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CsmForConditionalGeneration, CsmProcessor, DynamicCache, MimiModel
from transformers.models.csm.modeling_csm import apply_rotary_pos_emb

GUIDED = (1, 2)  # layers whose first head is shown the word to say
GUIDANCE = 0.3  # weight of that in the loss
SIMPLE = 0.3  # of the training, at its start, is single sentences
LEARNT = ("backbone_model.", "depth_decoder.", "embed_text_tokens.", "lm_head.")


def losses(
    model: CsmForConditionalGeneration,
    ids: Tensor,
    codes: Tensor,
    reads: Tensor,
    noise: bool = True,
    depth_share: float = 0.125,
) -> tuple[Tensor, Tensor, Tensor]:
    """Cross-entropy of codebook 0 (backbone), of the others (depth decoder, on a share of the frames), of reading."""
    is_end, is_audio = ids == csm_model.AUDIO_EOS, ids == csm_model.AUDIO
    heard = codes
    if noise:  # so that it can go on after its own mistakes
        wrong = torch.rand(*codes.shape[:2], 1, device=codes.device) < 0.05
        wrong = wrong | (torch.rand(codes.shape, device=codes.device) < 0.10)
        heard = torch.where(wrong, torch.randint_like(codes, 1, model.config.codec_config.codebook_size), codes)
    sounds = is_audio | is_end
    heard = torch.where(is_end[..., None], 0, heard)
    embedded = torch.where(sounds[..., None], model.backbone_model.embed_tokens(heard), model.embed_text_tokens(ids))
    with guided_attention(model) as read:
        hidden = model.backbone_model(inputs_embeds=embedded, use_cache=False).last_hidden_state
    missed = misread(model, read, reads)
    learn = sounds[:, 1:]
    before, target = hidden[:, :-1][learn], codes[:, 1:][learn]  # (frames, width), (frames, codebooks)
    backbone = F.cross_entropy(model.lm_head(before).float(), target[:, 0])
    deep = (torch.rand(len(target), device=target.device) < depth_share) | is_end[:, 1:][learn]
    before, target = before[deep], target[deep]
    logits = model.depth_decoder(
        input_ids=F.pad(target[:, :-1], (1, 0)), backbone_last_hidden_state=before, use_cache=False
    ).logits
    depth = F.cross_entropy(logits.float().flatten(0, 1), target[:, 1:].flatten())
    return backbone, depth, missed


@contextmanager
def guided_attention(model: CsmForConditionalGeneration) -> Iterator[list[dict[str, Any]]]:
    """Collects what the guided layers' attention is given."""
    given: list[dict[str, Any]] = []
    hooks = [
        model.backbone_model.layers[layer].self_attn.register_forward_pre_hook(
            lambda module, _, kwargs: given.append({"module": module, **kwargs}), with_kwargs=True
        )
        for layer in GUIDED
    ]
    try:
        yield given
    finally:
        for hook in hooks:
            hook.remove()


def misread(model: CsmForConditionalGeneration, given: list[dict[str, Any]], reads: Tensor) -> Tensor:
    """-log of the attention that the guided heads give to the word of the frame that comes next, over all frames."""
    wanted, length = F.pad(reads[:, 1:], (0, 1), value=-1), reads.shape[1]
    ahead = torch.ones(length, length, dtype=torch.bool, device=reads.device).triu(1)
    missed = []
    for layer in given:
        attention, (cos, sin) = layer["module"], layer["position_embeddings"]
        size, states = attention.head_dim, layer["hidden_states"]
        query, key = (F.linear(states, part.weight[:size])[:, None] for part in (attention.q_proj, attention.k_proj))
        query, key = apply_rotary_pos_emb(query, key, cos, sin)
        scores = (query[:, 0] @ key[:, 0].transpose(1, 2)).float() * attention.scaling  # (batch, positions, positions)
        chances = scores.masked_fill(ahead, -torch.inf).log_softmax(-1)
        missed.append(-chances.gather(-1, wanted.clamp(min=0)[..., None])[..., 0][wanted >= 0].mean())
    return torch.stack(missed).mean()


@torch.no_grad()
def speak(
    model: CsmForConditionalGeneration,
    words: CsmProcessor,
    texts: list[str],
    references: list[list[Spoken]],
    temperature: float = 0.6,
    limit: int = 500,
    seed: int = 0,
) -> list[np.ndarray]:
    """Frames (frames, codebooks) for each text, at most `limit`; in its reference's voice where that is not empty."""
    size, generator = model.config.codec_config.codebook_size, torch.Generator(model.device).manual_seed(seed)

    def draw(logits: Tensor) -> Tensor:
        chances = (logits[:, -1, :size] / temperature).float().softmax(-1)
        return torch.multinomial(chances, 1, generator=generator)

    prompts = []
    for text, reference in zip(texts, references, strict=True):
        ids = np.array(words.tokenizer(f"[0]{text}", add_special_tokens=True)["input_ids"])
        parts = [turn(words, 0, reference)] if reference else []
        silent = np.zeros((len(ids), model.config.num_codebooks), np.int64)
        prompts.append(Sequence.joined([*parts, Sequence(ids, silent, np.full(len(ids), -1))]))
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


def told(means: np.ndarray) -> str:
    return "  ".join(f"{name} {mean:.3f}" for name, mean in zip(("backbone", "depth", "reading"), means, strict=True))


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
        state = torch.load(path, map_location=device, weights_only=True)
        for name, weight in state["model"].items():
            learnt[name].data.copy_(weight)
        average, spent, step = state["average"], state["spent"], state["step"]
        optimiser.load_state_dict(state["optimiser"])
    elif committed:
        model.load_state_dict(committed.state_dict())
        average = {n: p.detach().clone() for n, p in learnt.items()}
    held = [turn(words, 0, [s]) for s in spoken["heldout"] if s.voice in voices][::12]
    streams = [batches(words, voices, np.random.default_rng(step), positions, simple) for simple in (False, True)]
    total, last, saved, exported, means = minutes * 60, time.time(), time.time(), time.time(), np.zeros(3)

    def export() -> None:
        current = {n: p.detach().clone() for n, p in learnt.items()}
        for name, weight in learnt.items():
            weight.data.copy_(average[name])
        model.eval()
        scores = []
        with torch.no_grad():
            for row in held:
                given = (torch.tensor(part)[None].long().to(device) for part in (row.ids, row.codes, row.reads))
                scores.append([x.item() for x in losses(model, *given, noise=False, depth_share=1.0)])
        print(f"held out: {told(np.mean(scores, 0))}", flush=True)
        csm_model.save(model, words, out)
        model.train()
        for name, weight in learnt.items():
            weight.data.copy_(current[name])

    model.train()
    while spent < total:
        done = spent / total
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 150) * (0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2)
        given = (t.to(device) for t in next(streams[done < SIMPLE]))
        with torch.autocast(device, torch.bfloat16):
            backbone, depth, missed = losses(model, *given)
        optimiser.zero_grad()
        (backbone + depth + GUIDANCE * missed).backward()
        nn.utils.clip_grad_norm_(learnt.values(), 1.0)
        optimiser.step()
        inertia = min(0.998, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.values()), [learnt[n] for n in average], 1 - inertia)
        means += (backbone.item(), depth.item(), missed.item())
        step, spent, last = step + 1, spent + time.time() - last, time.time()
        if step % 50 == 0:
            print(f"step {step}  {told(means / 50)}  {(total - spent) / 60:.1f} min left", flush=True)
            means[:] = 0
        if time.time() - saved > 120 or spent >= total:
            state = {"model": learnt, "average": average, "optimiser": optimiser.state_dict()}
            keep(path, {**state, "spent": spent, "step": step})
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
