"""Trains the tiny Orpheus, a Llama that speaks in the codes of the tiny SNAC.

All turns of a sequence (orpheus_turns.py) are learnt, and the end of each, or it would never stop. As in the tiny CSM
one head of each layer in the middle is guided to the word that is spoken next. A code is learnt among the codes of its
slot, which is how it is spoken; on a small share of the positions it is learnt among all tokens, so that the model
keeps to the pattern without help. It begins with sequences that lack the third level, which are half as long.

Reads   <work>/corpus.npy, <work>/corpus.jsonl, <work>/snac/, corpus.json; whisper.pt, for the log;
        orpheus/ where <work> lacks orpheus.pt
Writes  <work>/orpheus.pt (resumable), and the folder given by --out

Run:  python recipe/orpheus.py [--steps 3000] [--out orpheus]
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import time
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
from measure import hear, rate, transcribe
from orpheus_model import LEVELS, SLOTS, Ids
from orpheus_turns import Pool, Spoken, batches, prompt, turn
from snac import SNAC
from synthesise import VOICES
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

PARTS = ("coarse", "middle", "fine", "any", "reading")
WEIGHTS = (2.0, 1.0, 0.6)  # of a code of each level: the coarse ones carry the words
GUIDED = (1, 2)  # layers whose first head is shown the word to say
GUIDANCE = 0.3  # weight of that in the loss
ANY = 0.08  # share of the positions that are learnt among all tokens
COARSE = 0.35  # of the training, at its start, is single sentences without the third level
SIMPLE = 0.5  # single sentences until there
FRESH = 4  # new utterances per step


def losses(
    model: LlamaForCausalLM, ids: Ids, tokens: Tensor, reads: Tensor, places: Tensor, noise: bool = True
) -> dict[str, Tensor]:
    """Cross-entropies of the three levels' codes, of a share of all tokens, and of reading; the third level is left
    out where the tokens lack it."""
    with guided_attention(model) as given:
        hidden = model.model(
            input_ids=blurred(tokens, ids) if noise else tokens, position_ids=places, use_cache=False
        ).last_hidden_state
    parts = {"reading": misread(given, reads)}
    hidden, target = hidden[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()
    slot = torch.where(target == ids.end_of_speech, 0, (target - ids.audio).div(ids.codes, rounding_mode="floor"))
    found: list[list[Tensor]] = [[], [], []]
    for which in range(SLOTS):
        here = slot == which
        if not here.any():
            continue
        legal = slot_tokens(ids, which).to(target.device)
        code = (target[here] - legal[0]).clamp(0, ids.codes)
        code = torch.where(target[here] == ids.end_of_speech, ids.codes, code)
        logits = F.linear(hidden[here], model.lm_head.weight[legal])
        found[LEVELS[which]].append(F.cross_entropy(logits.float(), code))
    parts |= {name: torch.stack(level).mean() for name, level in zip(PARTS, found, strict=False) if level}
    some = (torch.rand(len(target), device=target.device) < ANY) & (target != ids.pad)
    parts["any"] = F.cross_entropy(model.lm_head(hidden[some]).float(), target[some])
    return parts


def whole_loss(parts: dict[str, Tensor]) -> Tensor:
    codes = sum((w * parts[name] for w, name in zip(WEIGHTS, PARTS, strict=False) if name in parts), torch.zeros(()))
    return codes / sum(WEIGHTS) + 0.1 * parts["any"] + GUIDANCE * parts["reading"]


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


@contextmanager
def guided_attention(model: LlamaForCausalLM) -> Iterator[list[dict[str, Any]]]:
    """Collects what the guided layers' attention is given."""
    given: list[dict[str, Any]] = []
    hooks = [
        model.model.layers[layer].self_attn.register_forward_pre_hook(
            lambda module, _, kwargs: given.append({"module": module, **kwargs}), with_kwargs=True
        )
        for layer in GUIDED
    ]
    try:
        yield given
    finally:
        for hook in hooks:
            hook.remove()


def misread(given: list[dict[str, Any]], reads: Tensor) -> Tensor:
    """-log of the attention that the guided heads give to the word of the code that comes next, over all codes."""
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
        self.work, self.path, self.step, self.rate = work, work / "orpheus.pt", 0, params["rate"]
        if not (work / "snac").exists():  # another machine: go on from what is in git
            shutil.copytree(HERE / "orpheus/snac", work / "snac")
        self.codec = SNAC.from_pretrained(work / "snac")
        self.pool = Pool(work, self.codec, params["utterances"])
        known = json.loads((HERE / "corpus.json").read_text())["words"]
        self.words = orpheus_model.tokenizer(known, [name for name, voice in VOICES.items() if voice.seen])
        self.ids = Ids.of(self.words, self.codec.codebook_size)
        self.model = orpheus_model.build(self.ids)
        orpheus_model.start_alike(self.model, self.ids, self.codec)
        self.learnt = dict(self.model.named_parameters())
        if not self.path.exists() and (HERE / "orpheus/model.safetensors").exists():
            self.model.load_state_dict(LlamaForCausalLM.from_pretrained(HERE / "orpheus").state_dict())
        self.average = {n: p.detach().clone() for n, p in self.learnt.items()}
        self.optimiser = torch.optim.AdamW(self.learnt.values(), self.rate, betas=(0.9, 0.98), weight_decay=0.05)
        if self.path.exists():
            state = torch.load(self.path, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.average, self.step = state["average"], state["step"]
        self.random = np.random.default_rng(self.step)
        self.streams = [
            batches(self.words, self.ids, self.pool, self.random, params["positions"], simple, coarse)
            for simple, coarse in ((False, False), (True, False), (True, True))
        ]

    def save(self) -> None:
        state = {"model": self.model.state_dict(), "average": self.average, "step": self.step}
        keep(self.path, {**state, "optimiser": self.optimiser.state_dict()})

    def take(self, done: float) -> dict[str, float]:
        rate = self.rate * min(1, (self.step + 1) / 150) * (0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.pool.refresh(FRESH, self.random)
        parts = losses(self.model, self.ids, *next(self.streams[(done < SIMPLE) + (done < COARSE)]))
        self.optimiser.zero_grad()
        whole_loss(parts).backward()
        nn.utils.clip_grad_norm_(self.learnt.values(), 1.0)
        self.optimiser.step()
        inertia = min(0.995, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.values()), list(self.learnt.values()), 1 - inertia)
        self.step += 1
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
    first, began = course.step, time.time()
    saved, listened, sums = time.time(), time.time(), dict.fromkeys(PARTS, 0.0)
    while course.step < params["steps"]:
        for name, part in course.take(course.step / params["steps"]).items():
            sums[name] += part
        if course.step % 50 == 0:
            told = "  ".join(f"{name} {sums[name] / 50:.3f}" for name in PARTS)
            pace = (time.time() - began) / (course.step - first)
            print(f"step {course.step}  {told}  {pace:.2f} s a step", flush=True)
            sums = dict.fromkeys(PARTS, 0.0)
        if time.time() - saved > 120 or course.step >= params["steps"]:
            course.save()
            saved = time.time()
        if time.time() - listened > 480 or course.step >= params["steps"]:
            print(listen(course, ear), flush=True)
            listened = time.time()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, help="in all; default: params.yaml")
    parser.add_argument("--out", type=Path, default=HERE / "orpheus")
    args = parser.parse_args()
    torch.set_num_threads(1)
    params = yaml.safe_load((HERE / "params.yaml").read_text())["orpheus"]
    train({**params, "steps": args.steps or params["steps"]})
    shutil.copytree(WORK / "orpheus", args.out, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
