"""Trains the tiny Orpheus, a Llama that speaks in the codes of the tiny SNAC.

All turns of a sequence (orpheus_turns.py) are learnt, and the end of each, or it would never stop. As in the tiny CSM
one head of each layer in the middle is guided to the word that is spoken next, and a head that is thrown away
guesses the phone. A code is learnt among the codes of its
slot, which is how it is spoken; on a small share of the positions it is learnt among all tokens, so that the model
keeps to the pattern without help. It begins with the coarse level alone, a seventh of the codes, then adds the others.

Reads   <work>/corpus.npy, <work>/corpus.jsonl, <work>/snac/, corpus.json; whisper.pt, for the log;
        orpheus/ where <work> lacks orpheus.pt
Writes  <work>/orpheus.pt (resumable), and the folder given by --out

Run:  python recipe/orpheus.py [--minutes 75] [--out orpheus]
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orpheus_model
import snac_model
import torch
import whisper
import yaml
from corpus import HERE, WORK, Corpus, keep
from listener import Ear
from measure import hear, rate, transcribe
from orpheus_model import LEVELS, SLOTS, Ids
from orpheus_turns import Batch, Encoder, Lesson, Pool, Spoken, batches, prompt, turn
from snac import SNAC
from synthesise import VOICES
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

PARTS = ("coarse", "middle", "fine", "any", "reading", "phone")
WEIGHTS = (2.0, 1.0, 0.6)  # of a code of each level: the coarse ones carry the words
GUIDED = (1, 2)  # layers whose first head is shown the word to say
READING, PHONE, ANY = 0.3, 0.3, 0.1  # weights of the other parts
SHARE = 0.08  # of the positions are learnt among all tokens
FRESH = 2  # new utterances per step
STAGES = (  # each begins at this share of the training; the coarse codes alone are soonest read
    (0.0, Lesson(levels=1, simple=True, positions=6000, rows=400)),
    (0.12, Lesson(levels=2, simple=True, positions=8000, rows=200)),
    (0.30, Lesson(levels=3, simple=True, positions=8000, rows=80)),
    (0.50, Lesson(levels=3, simple=False, positions=8000, rows=60)),
)


class Learner(nn.Module):
    """The Llama with what its training adds: a guess of the phone that comes next."""

    def __init__(self, model: LlamaForCausalLM, ids: Ids, phones: int) -> None:
        super().__init__()
        self.model, self.ids = model, ids
        self.phone = nn.Linear(model.config.hidden_size, phones)

    def forward(self, batch: Batch, noise: bool = True) -> dict[str, Tensor]:
        """Cross-entropies of the levels' codes that there are, of a share of all tokens, of reading and of phones."""
        ids, tokens = self.ids, batch.ids
        with torch.autocast(tokens.device.type, torch.bfloat16):
            hidden, reading = self.layers(blurred(tokens, ids) if noise else tokens, batch)
        hidden, target = hidden[:, :-1].flatten(0, 1).float(), tokens[:, 1:].flatten()
        slot = torch.where(target == ids.end_of_speech, 0, (target - ids.audio).div(ids.codes, rounding_mode="floor"))
        head, by_level = self.model.lm_head.weight, [[], [], []]  # type: tuple[Tensor, list[list[Tensor]]]
        for which in range(SLOTS):
            here = (slot == which).nonzero()[:, 0]
            if not len(here):
                continue
            legal = slot_tokens(ids, which).to(target.device)
            code = torch.where(target[here] == ids.end_of_speech, ids.codes, target[here] - legal[0])
            by_level[LEVELS[which]].append(F.cross_entropy(logits(hidden[here], head[legal]), code))
        parts = {name: torch.stack(level).mean() for name, level in zip(PARTS, by_level, strict=False) if level}
        some = ((torch.rand(len(target), device=target.device) < SHARE) & (target != ids.pad)).nonzero()[:, 0]
        parts["any"] = F.cross_entropy(logits(hidden[some], head), target[some])
        phones = batch.phones[:, 1:].flatten()
        parts["phone"] = F.cross_entropy(logits(hidden, self.phone.weight), phones, ignore_index=-1)
        return parts | {"reading": reading}

    def layers(self, tokens: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """What `model.model` makes of the tokens, at places with gaps, and -log of the attention that the guided heads
        give to the word of the code that comes next. transformers' own takes a gap for the start of another text."""
        core, missed = self.model.model, []
        hidden = core.embed_tokens(tokens)
        cos, sin = core.rotary_emb(hidden, batch.places)
        for number, layer in enumerate(core.layers):
            attention, states = layer.self_attn, layer.input_layernorm(hidden)
            shape = (*states.shape[:2], -1, attention.head_dim)
            parts = (attention.q_proj, attention.k_proj, attention.v_proj)
            query, key, value = (part(states).view(shape).transpose(1, 2) for part in parts)
            query, key = apply_rotary_pos_emb(query, key, cos.to(query.dtype), sin.to(query.dtype))
            if number in GUIDED:
                missed.append(misread(query[:, 0], key[:, 0], batch.reads, attention.scaling))
            said = attended(query, key, value)
            hidden = hidden + attention.o_proj(said.transpose(1, 2).flatten(2))
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        return core.norm(hidden), torch.stack(missed).mean()


def attended(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal attention; padding is at the end. Below 256 positions torch's own is three times slower on a CPU."""
    if (length := query.shape[2]) >= 256:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True)
    later = torch.ones(length, length, dtype=torch.bool, device=query.device).triu(1)
    scores = (query @ key.transpose(-1, -2)) * query.shape[-1] ** -0.5
    return scores.masked_fill(later, -1e4).softmax(-1) @ value


def logits(hidden: Tensor, weight: Tensor) -> Tensor:
    with torch.autocast(hidden.device.type, torch.bfloat16):
        return F.linear(hidden, weight).float()


def misread(query: Tensor, key: Tensor, reads: Tensor, scaling: float) -> Tensor:
    """-log of the attention that a head (batch, positions, size) gives to the word of the code that comes next."""
    wanted, length = F.pad(reads[:, 1:], (0, 1), value=-1), reads.shape[1]
    some = torch.randperm(length, device=reads.device)[: max(64, length // 4)].sort().values
    scores = (query[:, some] @ key.transpose(1, 2)).float() * scaling  # (batch, some, positions)
    later = torch.arange(length, device=reads.device)[None] > some[:, None]
    chances, wanted = scores.masked_fill(later, -torch.inf).log_softmax(-1), wanted[:, some]
    return -chances.gather(-1, wanted.clamp(min=0)[..., None])[..., 0][wanted >= 0].mean()


def whole_loss(parts: dict[str, Tensor]) -> Tensor:
    known = [(weight, parts[name]) for weight, name in zip(WEIGHTS, PARTS, strict=False) if name in parts]
    codes = sum((weight * part for weight, part in known), torch.zeros(())) / sum(weight for weight, _ in known)
    return codes + ANY * parts["any"] + READING * parts["reading"] + PHONE * parts["phone"]


def slot_tokens(ids: Ids, slot: int) -> Tensor:
    """The tokens that may stand in a slot; where a frame begins, speech may end."""
    codes = torch.arange(ids.codes) + ids.audio + slot * ids.codes
    return codes if slot else torch.cat([codes, torch.tensor([ids.end_of_speech])])


def blurred(tokens: Tensor, ids: Ids) -> Tensor:
    """Some codes are exchanged, so that it can go on after its own mistakes: whole frames, and single codes."""
    audio = tokens >= ids.audio
    slot = (tokens - ids.audio).clamp_min(0) // ids.codes
    frame = (audio & (slot == 0)).cumsum(1)  # the same number for the codes of one frame
    lost = (torch.rand_like(frame, dtype=torch.float32) < 0.05).gather(1, frame.clamp_max(tokens.shape[1] - 1))
    wrong = audio & (lost | (torch.rand(tokens.shape, device=tokens.device) < 0.10))
    other = ids.audio + slot * ids.codes + torch.randint_like(tokens, ids.codes)
    return torch.where(wrong, other, tokens)


def draw(logits: Tensor, temperature: float, top_p: float, generator: torch.Generator) -> Tensor:
    """One of the likeliest that make up top_p, for each row."""
    chances, order = (logits.float() / temperature).softmax(-1).sort(dim=-1, descending=True)
    chances = chances.masked_fill(chances.cumsum(-1) - chances > top_p, 0)
    return order.gather(1, torch.multinomial(chances, 1, generator=generator))[:, 0]


@torch.no_grad()
def speak(
    model: LlamaForCausalLM,
    words: PreTrainedTokenizerFast,
    ids: Ids,
    texts: Sequence[str],
    names: Sequence[str],
    references: Sequence[list[Spoken]] = (),
    temperature: float = 0.6,
    top_p: float = 0.9,
    limit: int = 125,
    seed: int = 0,
) -> list[np.ndarray]:
    """Codes (frames, 7) for each text, at most `limit` frames; references are earlier turns of the same name."""
    generator, prompts = torch.Generator().manual_seed(seed), []
    for number, (text, name) in enumerate(zip(texts, names, strict=True)):
        before = [turn(words, ids, name, [spoken]).ids for spoken in (references[number] if references else [])]
        prompts.append(np.concatenate([*before, prompt(words, ids, name, text)]))
    longest = max(map(len, prompts))
    front = torch.tensor([longest - len(p) for p in prompts])  # padding goes to the left: all end together
    step = torch.tensor(np.stack([np.pad(p, (longest - len(p), 0), constant_values=ids.pad) for p in prompts]))
    mask = (torch.arange(longest)[None] >= front[:, None]).long()
    cache, said, ended = DynamicCache(), [], torch.zeros(len(prompts), dtype=torch.bool)
    while len(said) < limit * SLOTS and not ended.all():
        slot = len(said) % SLOTS
        places = (mask.cumsum(1) - 1).clamp_min(0)[:, -step.shape[1] :]
        hidden = model.model(
            input_ids=step, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=True
        ).last_hidden_state[:, -1]
        legal = slot_tokens(ids, slot)
        drawn = draw(F.linear(hidden, model.lm_head.weight[legal]), temperature, top_p, generator)
        ended = ended | (legal[drawn] == ids.end_of_speech)
        said.append(torch.where(ended, -1, drawn))
        step, mask = legal[drawn][:, None], F.pad(mask, (0, 1), value=1)
    codes = torch.stack(said, 1).numpy()
    whole = codes[:, : codes.shape[1] // SLOTS * SLOTS].reshape(len(codes), -1, SLOTS)
    return [row[(row >= 0).all(1)] for row in whole]


class Course:
    """The model with all that its training keeps from step to step."""

    def __init__(self, params: dict[str, Any], work: Path = WORK) -> None:
        torch.manual_seed(0)
        self.work, self.path, self.step, self.spent = work, work / "orpheus.pt", 0, 0.0
        self.rate, self.seconds = params["rate"], params["minutes"] * 60
        if not (work / "snac").exists():  # another machine: go on from what is in git
            shutil.copytree(HERE / "orpheus/snac", work / "snac")
        self.codec = SNAC.from_pretrained(work / "snac")
        ear = Ear.load(work)
        self.pool = Pool(work, Encoder(self.codec, ear), params["utterances"])
        known = json.loads((HERE / "corpus.json").read_text())["words"]
        self.words = orpheus_model.tokenizer(known, [name for name, voice in VOICES.items() if voice.seen])
        self.ids = Ids.of(self.words, self.codec.codebook_size)
        self.model = orpheus_model.build(self.ids)
        orpheus_model.start_alike(self.model, self.ids, self.codec)
        if not self.path.exists() and (HERE / "orpheus/model.safetensors").exists():
            self.model.load_state_dict(LlamaForCausalLM.from_pretrained(HERE / "orpheus").state_dict())
        self.learner = Learner(self.model, self.ids, len(ear.inventory) + 1)
        for layer in self.model.model.layers:  # 50 s of a C++ compiler, then a sixth faster
            for part in (layer.mlp, layer.input_layernorm, layer.post_attention_layernorm):
                part.compile(dynamic=True)
        self.learnt = dict(self.learner.named_parameters())
        self.average = {n: p.detach().clone() for n, p in self.learnt.items()}
        inner = [p for n, p in self.learnt.items() if p.ndim == 2 and ".layers." in n]
        outer = [p for n, p in self.learnt.items() if not (p.ndim == 2 and ".layers." in n)]
        self.optimisers = (
            torch.optim.Muon(inner, self.rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(outer, self.rate, betas=(0.9, 0.98), weight_decay=0.01),
        )
        if self.path.exists():
            self.resume(torch.load(self.path, weights_only=True))
        self.random = np.random.default_rng(self.step)
        self.streams = [batches(self.words, self.ids, self.pool, self.random, how) for _, how in STAGES]

    @property
    def done(self) -> float:
        return min(1.0, self.spent / self.seconds)

    def resume(self, state: dict[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
        for optimiser, kept in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(kept)
        self.average, self.step, self.spent = state["average"], state["step"], state["spent"]

    def save(self) -> None:
        state = {"learner": self.learner.state_dict(), "average": self.average, "step": self.step, "spent": self.spent}
        keep(self.path, {**state, "optimisers": [optimiser.state_dict() for optimiser in self.optimisers]})

    def take(self) -> dict[str, float]:
        began = time.process_time()
        rate = self.rate * min(1, (self.step + 1) / 150) * (0.02 + 0.98 * (1 + math.cos(math.pi * self.done)) / 2)
        self.pool.refresh(FRESH, self.random)
        which = sum(self.done >= start for start, _ in STAGES) - 1
        parts = self.learner(next(self.streams[which]))
        for optimiser in self.optimisers:
            optimiser.zero_grad()
            for group in optimiser.param_groups:
                group["lr"] = rate
        whole_loss(parts).backward()
        nn.utils.clip_grad_norm_(self.learnt.values(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        inertia = min(0.995, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.values()), list(self.learnt.values()), 1 - inertia)
        self.step, self.spent = self.step + 1, self.spent + time.process_time() - began
        return {name: part.item() for name, part in parts.items()}

    @contextmanager
    def averaged(self) -> Iterator[LlamaForCausalLM]:
        current = {n: p.detach().clone() for n, p in self.learnt.items()}
        with torch.no_grad():
            for name, weight in self.learnt.items():
                weight.copy_(self.average[name])
            yield self.model.eval()
            for name, weight in self.learnt.items():
                weight.copy_(current[name])
        self.model.train()


def listen(course: Course, ear: Any, count: int = 20) -> str:
    """What Whisper makes of held-out sentences, for the log; check_orpheus.py measures."""
    rows = [row for row in Corpus(course.work).of("heldout") if row.voice in course.pool.rows][:: 1500 // count]
    texts, names = [row.text for row in rows], [row.voice for row in rows]
    with course.averaged() as model:
        spoken = speak(model, course.words, course.ids, texts, names)
        orpheus_model.save(model, course.words, course.ids, course.work / "orpheus")
    sounds = [snac_model.decode(course.codec, codes) if len(codes) else np.zeros(8000, np.float32) for codes in spoken]
    heard = [str(transcribe(ear, sound)["text"]) for sound in sounds]
    wrong = rate([hear(text, said) for text, said in zip(texts, heard, strict=True)])
    endless = sum(len(codes) >= 125 for codes in spoken)
    return (
        f"{len(rows)} held-out sentences: {wrong:.3f} of the words wrong, {endless} endless, {texts[0]!r}: {heard[0]!r}"
    )


def train(params: dict[str, Any]) -> None:
    course, ear = Course(params), whisper.load_model(str(HERE / "whisper.pt"), device="cpu")
    saved, listened, sums, counts = time.time(), time.time(), Counter[str](), Counter[str]()
    while course.done < 1:
        for name, part in course.take().items():
            sums[name] += part
            counts[name] += 1
        if course.step % 50 == 0:
            told = "  ".join(f"{name} {sums[name] / counts[name]:.3f}" for name in PARTS if name in sums)
            print(f"step {course.step}  {told}  {course.seconds - course.spent:.0f} s left", flush=True)
            sums.clear()
            counts.clear()
        if time.time() - saved > 120 or course.done >= 1:
            course.save()
            saved = time.time()
        if time.time() - listened > 480 or course.done >= 1:
            print(listen(course, ear), flush=True)
            listened = time.time()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, help="of computing on a core, in all; default: params.yaml")
    parser.add_argument("--out", type=Path, default=HERE / "orpheus")
    args = parser.parse_args()
    torch.set_num_threads(1)
    params = yaml.safe_load((HERE / "params.yaml").read_text())["orpheus"]
    train({**params, "minutes": args.minutes or params["minutes"]})
    shutil.copytree(WORK / "orpheus", args.out, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
