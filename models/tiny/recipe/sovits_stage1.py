"""Trains the tiny GPT-SoVITS' stage 1: semantic codes after phones.

A row is one sentence, or two or three of one voice, as a reference and what is to be said after it. In two layers one
head is guided to the phone that the next code says, and a head that is thrown away guesses what is heard in it.

Reads   <work>/corpus.npy, <work>/corpus.jsonl, <work>/sovits-hubert.pt, <work>/listener.pt
Writes  <work>/sovits-stage1.pt (resumable)

Run:  python recipe/sovits_stage1.py [--minutes 10]
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import sovits_model
import torch
from corpus import WORK, keep
from listener import Ear
from sovits_clips import Clip, Said, clips, joined, spliced, whole
from timed_training import follow, params, script, share_of_rate, train
from torch import Tensor, nn
from torch.nn import functional as F

from timbre.families.sovits.stage1 import Stage1

GUIDED = (1, 2)  # layers whose first head is shown the phone to say
GUIDANCE, PHONE = 0.3, 0.3  # weights of these parts
WRONG = 0.1  # share of the codes that it hears wrongly, so that it can go on after its own mistakes
SINGLE = 0.35  # share of the training in which rows are single sentences
ROWS = (0.3, 0.45, 0.25)  # after that, shares of rows of one, two and three sentences
POSITIONS, SORTED = 3000, 120  # of a batch, at most; rows that are sorted by length at once
SPLICED = 0.4  # of the sentences
RATE = 2.0e-3


class Rows(NamedTuple):
    """Padded at the end: phones, then codes."""

    phones: Tensor  # (B, P)
    heard_phones: Tensor  # (B, P) bool
    codes: Tensor  # (B, M)
    targets: Tensor  # (B, 1 + M) what comes next; -1 after the end
    guided: Tensor  # (B, 1 + M, P) bool: phones that what comes next may be saying
    heard: Tensor  # (B, 1 + M) what the listener hears in what comes next; -1 after it


class Learner(nn.Module):
    """Stage 1 with what its training adds."""

    def __init__(self, model: Stage1, classes: int) -> None:
        super().__init__()
        self.model = model
        self.phone = nn.Linear(sovits_model.STAGE1["model"]["hidden_dim"], classes)

    def forward(self, rows: Rows) -> dict[str, Tensor]:
        model, width, count = self.model, rows.phones.shape[1], rows.codes.shape[1]
        wrong = torch.rand(rows.codes.shape) < WRONG
        codes = torch.where(wrong, torch.randint_like(rows.codes, model.eos), rows.codes)
        places = torch.arange(count)
        x = torch.cat((model.embed_phones(rows.phones), model.embed_codes(codes, places)), 1)
        hidden = torch.ones(width + count, width + count, dtype=torch.bool).triu(1).repeat(len(x), 1, 1)
        hidden[:, :, :width] = ~rows.heard_phones[:, None]
        hidden = torch.zeros(hidden.shape).masked_fill_(hidden, -1e4)[:, None]
        last = (rows.heard_phones.sum(1) - 1)[:, None]
        after = torch.cat((last, width + places.expand(len(x), -1)), 1)  # (B, 1 + M) where the next code is said
        missed = []
        with torch.autocast("cpu", torch.bfloat16):
            for number, layer in enumerate(model.h.layers):
                attention = layer.self_attn
                joint = attention.in_proj(x).unflatten(-1, (3, model.heads, -1)).permute(2, 0, 3, 1, 4)
                query, key, value = joint[0] * joint.shape[-1] ** -0.5, joint[1], joint[2]
                weights = (query @ key.transpose(-1, -2) + hidden.to(query.dtype)).softmax(-1)
                if number in GUIDED:
                    mine = weights[:, 0].gather(1, after[..., None].expand(-1, -1, weights.shape[-1]))[..., :width]
                    mass = (mine.float() * rows.guided).sum(-1)[rows.guided.any(-1)]
                    missed.append(-mass.clamp_min(1e-4).log().mean())
                x = layer.norm1(x + attention.out_proj((weights @ value).transpose(1, 2).flatten(2)))
                x = layer.norm2(x + layer.linear2(layer.linear1(x).relu()))
            states = x.gather(1, after[..., None].expand(-1, -1, x.shape[-1]))
            logits, phones = model.ar_predict_layer(states).float(), self.phone(states).float()
        targets = rows.targets.flatten()
        parts = {"codes": F.cross_entropy(logits.flatten(0, 1), targets, ignore_index=-1)}
        parts["phone"] = F.cross_entropy(phones.flatten(0, 1), rows.heard.flatten(), ignore_index=-1)
        parts["guided"] = torch.stack(missed).mean()
        with torch.no_grad():
            right = logits.argmax(-1).flatten() == targets
            parts["right"] = right[targets >= 0].float().mean()
        return parts


def stacked(rows: list[Said], eos: int) -> Rows:
    width, count = max(len(r.phones) for r in rows), max(len(r.codes) for r in rows)
    phones = np.stack([np.pad(r.phones, (0, width - len(r.phones))) for r in rows])
    codes = np.stack([np.pad(r.codes, (0, count - len(r.codes))) for r in rows])
    targets = np.stack([np.pad([*r.codes, eos], (0, count - len(r.codes)), constant_values=-1) for r in rows])
    heard = np.stack([np.pad(r.heard, (0, count + 1 - len(r.codes)), constant_values=-1) for r in rows])
    guided = np.zeros((len(rows), count + 1, width), bool)
    for number, row in enumerate(rows):
        which = np.arange(width)[None]
        guided[number, : len(row.codes)] = (which >= row.first[:, None]) & (which <= row.last[:, None])
        guided[number, len(row.codes), len(row.phones) - 1] = True
    lengths = torch.tensor([len(r.phones) for r in rows])
    return Rows(
        torch.tensor(phones), torch.arange(width) < lengths[:, None], torch.tensor(codes), torch.tensor(targets),
        torch.tensor(guided), torch.tensor(heard),
    )  # fmt: skip


def batches(pool: dict[str, list[Clip]], eos: int, random: np.random.Generator, single: bool) -> Iterator[Rows]:
    """Endless batches of like lengths."""

    def one(mine: list[Clip]) -> Said:
        first, second = (mine[int(i)] for i in random.integers(len(mine), size=2))
        return spliced(first, second, random) if random.random() < SPLICED else whole(first)

    while True:
        rows = []
        for _ in range(SORTED):
            mine = pool[str(random.choice(list(pool)))]
            count = 1 if single else int(random.choice([1, 2, 3], p=ROWS))
            rows.append(joined([one(mine) for _ in range(count)]))
        rows.sort(key=lambda r: len(r.codes) + len(r.phones))
        groups: list[list[Said]] = [[]]
        for row in rows:
            if groups[-1] and (len(groups[-1]) + 1) * (len(row.codes) + len(row.phones)) > POSITIONS:
                groups.append([])
            groups[-1].append(row)
        for which in random.permutation(len(groups)):
            yield stacked(groups[which], eos)


class Course:
    """The model with all that its training keeps from step to step."""

    def __init__(self, minutes: float, per_voice: int, work: Path) -> None:
        torch.manual_seed(0)
        self.path, self.seconds, self.step, self.spent = work / "sovits-stage1.pt", minutes * 60, 0, 0.0
        pool = clips(per_voice, work)
        model = Stage1(sovits_model.STAGE1["model"])
        with torch.no_grad():
            model.bert_proj.weight.zero_()  # it hears no text model
            for part in (model.ar_text_embedding, model.ar_audio_embedding):
                part.word_embeddings.weight.mul_(0.5)
        self.learner = Learner(model, Ear.load(work).net.head.out_features)
        self.learnt = {n: p for n, p in self.learner.named_parameters() if "bert_proj.weight" not in n}
        self.average = {n: p.detach().clone() for n, p in self.learnt.items()}
        inner = [p for n, p in self.learnt.items() if p.ndim == 2 and ".h." in n]
        outer = [p for n, p in self.learnt.items() if not (p.ndim == 2 and ".h." in n)]
        self.optimisers = (
            torch.optim.Muon(inner, RATE, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(outer, RATE, betas=(0.9, 0.98), weight_decay=0.01),
        )
        if self.path.exists():
            state = torch.load(self.path, weights_only=True)
            self.learner.load_state_dict(state["learner"])
            for optimiser, kept in zip(self.optimisers, state["optimisers"], strict=True):
                optimiser.load_state_dict(kept)
            self.average, self.step, self.spent = state["average"], state["step"], state["spent"]
        random = np.random.default_rng(self.step)
        self.streams = [batches(pool, model.eos, random, single) for single in (True, False)]

    def save(self) -> None:
        state = {"learner": self.learner.state_dict(), "average": self.average, "step": self.step, "spent": self.spent}
        keep(self.path, {**state, "optimisers": [optimiser.state_dict() for optimiser in self.optimisers]})

    def take(self) -> dict[str, Tensor]:
        done = self.spent / self.seconds
        rate = RATE * share_of_rate(self.step, done, 0.02)
        parts = self.learner(next(self.streams[done >= SINGLE]))
        for optimiser in self.optimisers:
            optimiser.zero_grad()
            for group in optimiser.param_groups:
                group["lr"] = rate
        (parts["codes"] + PHONE * parts["phone"] + GUIDANCE * parts["guided"]).backward()
        nn.utils.clip_grad_norm_(self.learnt.values(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        follow(self.average, self.learnt, self.step, 0.99)
        return parts


def main() -> None:
    asked = params("sovits", "stage1_minutes", script(__doc__).parse_args())
    train(Course(asked["stage1_minutes"], asked["clips"], WORK))


if __name__ == "__main__":
    main()
