"""Trains the tiny XTTS' language model: a GPT-2 that says the codec's codes after 32 latents of a voice and a text.

As in the tiny CSM and Orpheus one head of each layer in the middle is guided to the word that is spoken next, and heads
that are thrown away guess the phones. One more guesses, by a single matrix, what the sound is like at each place
(the features of xtts_sounds.py): the vocoder hears the model's states and nothing else, so it must be in them.

Reads   <work>/xtts-sounds.pt, xtts-features.pt, xtts-codec.pt, listener.pt; corpus.json
Writes  <work>/xtts-gpt.pt (resumable)

Run:  python recipe/xtts.py [--minutes 30]
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from corpus import HERE, WORK, keep
from timed_training import follow, params, script, share_of_rate, train
from torch import Tensor, nn
from torch.nn import functional as F
from xtts_codec import AHEAD, CODES, DEPTH, WIDTH
from xtts_model import CHANNELS, build, tokenizer
from xtts_sounds import CHUNK, Features, Heard, Sounds, framed

from timbre.families.xtts.codec import CodecEncoder
from timbre.families.xtts.conditioning import LATENTS
from timbre.families.xtts.gpt import SpeechGpt
from timbre.families.xtts.text import SPACE

GUIDED = (1, 2)  # layers whose first head is shown the word to say
WEIGHTS = {"codes": 1.0, "text": 0.02, "features": 1.0, "phone": 0.4, "reading": 0.3, "voice": 0.1}
ROWS, VOICES, GROUPS = 48, 12, 3  # of a batch; batches that are sorted by length at once
OTHER_SPEED = 0.3  # of the voices
SWAPPED = 0.1  # of the codes are exchanged, so that it can go on after its own mistakes
DOTLESS = 0.1  # of the texts lack the last stop, as people forget it


class Batch(NamedTuple):
    """B sentences of V voices, padded at the end; M is a code more than the longest sentence has."""

    pieces: Tensor  # (2 V, frames, 80) of references, two of each voice
    which: Tensor  # (B, 2 V) weights of the pieces whose latents are a row's
    text: Tensor  # (B, P) with start and stop
    text_lengths: Tensor  # (B)
    codes: Tensor  # (B, M) the stop after the last
    code_lengths: Tensor  # (B) with the stop
    features: Tensor  # (B, M, K)
    phones: Tensor  # (B, M, 2) what is heard there
    reads: Tensor  # (B, M) the text's token that a code says
    voices: Tensor  # (V)


class Lessons:
    """Batches of sentences."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.sounds = Sounds(params["utterances"])
        self.features = Features.known(self.sounds)
        self.codec = CodecEncoder(WIDTH, DEPTH, CODES)
        self.codec.load_state_dict(torch.load(WORK / "xtts-codec.pt", weights_only=True))
        self.codec.eval().requires_grad_(False)
        self.words = tokenizer(json.loads((HERE / "corpus.json").read_text())["words"])
        self.names = list(self.sounds.of_voice)
        self.others = [name for name in self.names if name not in self.sounds.base]
        self.start, self.stop = (self.words.token_to_id(t) for t in ("[START]", "[STOP]"))

    def tokens(self, text: str) -> tuple[list[int], list[int]]:
        """Ids with start and stop, and where each word begins; at last where the words are over."""
        spoken = text.lower()
        encoded = self.words.encode(f"[en]{spoken}".replace(" ", SPACE))
        places, fresh = [], False
        for place, token in enumerate(encoded.tokens):
            if fresh and token[0].isalnum():
                places.append(place + 1)
            fresh = token in ("[en]", SPACE)
        return [self.start, *encoded.ids, self.stop], [*places, len(encoded.ids)]

    def voice(self, random: np.random.Generator) -> str:
        return str(random.choice(self.others if random.random() < OTHER_SPEED else self.sounds.base))

    @torch.no_grad()
    def coded(self, many: list[Heard]) -> tuple[list[int], Tensor]:
        """Codes (B, longest), and how many each has."""
        longest, quiet = max(len(h.mel) for h in many), float(many[0].mel.min())
        mel = torch.stack([F.pad(h.mel, (0, 0, 0, longest - len(h.mel)), value=quiet) for h in many])
        return [len(h.mel) // CHUNK for h in many], self.codec((mel / self.features.stats).transpose(1, 2))

    def stacked(self, many: list[Heard], voices: list[str], random: np.random.Generator) -> Batch:
        counts, codes = self.coded(many)
        longest = -(-(max(counts) + 1) // 8) * 8
        texts = [h.text.rstrip(".") if random.random() < DOTLESS else h.text for h in many]
        ids, places = zip(*(self.tokens(text) for text in texts), strict=True)
        width = max(map(len, ids))
        text = torch.tensor([one + [self.stop] * (width - len(one)) for one in ids])
        rows, features, phones, reads = torch.full((len(many), longest), CODES + 1), [], [], []
        for number, (heard, count, place) in enumerate(zip(many, counts, places, strict=True)):
            rows[number, :count] = codes[number, :count]
            features.append(F.pad(self.features(heard.mel, heard.pitch), (0, 0, 0, longest - count)))
            phones.append(
                F.pad(heard.phone[AHEAD * CHUNK :].reshape(-1, 2, 2)[:, :, 0], (0, 0, 0, longest - count + AHEAD))
            )
            moments = (np.arange(longest) + AHEAD + 0.5) * CHUNK
            reads.append(np.array(place)[np.searchsorted(heard.ends, moments, side="right")])
        frames = int(random.integers(8, 34)) * 8
        pieces = [self.sounds.piece(v, random, frames).float() / self.features.stats for v in voices for _ in range(2)]
        which = torch.zeros(len(many), 2 * len(voices))
        for number, heard in enumerate(many):
            first = 2 * voices.index(heard.voice)
            which[number, first : first + 2] = torch.tensor([(1, 0), (0, 1), (0.5, 0.5)][int(random.integers(3))])
        return Batch(
            torch.stack(pieces), which, text, torch.tensor([len(one) for one in ids]), rows,
            torch.tensor(counts) + 1, torch.stack(features), torch.stack(phones).long(),
            torch.tensor(np.stack(reads)), torch.tensor([self.names.index(v) for v in voices]),
        )  # fmt: skip

    def batches(self, random: np.random.Generator) -> Iterator[Batch]:
        while True:
            voices = list(dict.fromkeys(self.voice(random) for _ in range(VOICES)))
            drawn = [
                framed(self.sounds.sentence(str(random.choice(voices)), random), random) for _ in range(ROWS * GROUPS)
            ]
            drawn.sort(key=lambda h: len(h.mel))
            for group in random.permutation(GROUPS):
                yield self.stacked(drawn[ROWS * group : ROWS * (group + 1)], voices, random)


class Learner(nn.Module):
    """The language model, with what its training adds."""

    def __init__(self, gpt: SpeechGpt, features: int, phones: int, voices: int) -> None:
        super().__init__()
        self.gpt = gpt
        self.features, self.phone = nn.Linear(CHANNELS, features), nn.Linear(CHANNELS, 2 * phones)
        self.voice = nn.Linear(CHANNELS, voices)

    def latents(self, batch: Batch) -> Tensor:  # (2 V, 32, C) of each piece
        with torch.autocast("cpu", torch.bfloat16):
            return self.gpt.latents(batch.pieces.transpose(1, 2))

    def forward(self, batch: Batch, noise: bool = True) -> dict[str, Tensor]:
        pieces = self.latents(batch).float()
        said = batch.codes[:, :-1]
        swapped = (torch.rand(said.shape) < SWAPPED * torch.rand(len(said), 1) * 2) & noise
        said = torch.where(swapped & (said < CODES), torch.randint_like(said, CODES), said)
        states, reading = self.states(torch.einsum("bv,vlc->blc", batch.which, pieces), batch, said)
        text, codes = states[:, LATENTS : LATENTS + batch.text.shape[1]], states[:, LATENTS + batch.text.shape[1] :]
        places = torch.arange(batch.codes.shape[1])[None]
        real = places < batch.code_lengths[:, None]
        true = (places < batch.code_lengths[:, None] - 1) & ~F.pad(swapped, (1, 0))
        spoken = torch.arange(text.shape[1] - 1)[None] < batch.text_lengths[:, None] - 1
        with torch.autocast("cpu", torch.bfloat16):
            logits, words = self.gpt.mel_head(codes), self.gpt.text_head(text[:, :-1])
            guess, phones = self.features(codes), self.phone(codes).unflatten(-1, (2, -1))
            voices = self.voice(pieces.mean(1))
        return {
            "codes": F.cross_entropy(logits[real].float(), batch.codes[real]),
            "text": F.cross_entropy(words[spoken].float(), batch.text[:, 1:][spoken]),
            "features": (guess.float() - batch.features)[true].square().mean(),
            "phone": F.cross_entropy(phones[true].flatten(0, 1).float(), batch.phones[true].flatten()),
            "reading": reading,
            "voice": F.cross_entropy(voices.float(), batch.voices.repeat_interleave(2)),
        }

    def states(self, latents: Tensor, batch: Batch, said: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 32 + P + M, C), the last norm's, and -log of the attention that the guided heads give to the word of the
        code that comes next. GPT-2's own pass, in half precision."""
        gpt, width = self.gpt, batch.text.shape[1]
        start = torch.full((len(said), 1), gpt.args.gpt_start_audio_token)
        text = gpt.text_embedding(batch.text) + gpt.text_pos_embedding.emb.weight[:width]
        codes = gpt.embed_codes(torch.cat([start, said], 1), torch.arange(said.shape[1] + 1))
        x, first = torch.cat([latents, text, codes], 1), LATENTS + width
        heard = torch.ones(x.shape[:2], dtype=torch.bool)
        heard[:, LATENTS:first] = torch.arange(width)[None] < batch.text_lengths[:, None]
        if self.training:
            heard[:, LATENTS:first] &= ~(
                (torch.arange(width)[None] == batch.text_lengths[:, None] - 1) & (torch.rand(len(x), 1) < 0.5)
            )  # as upstream fine-tunes, and as it does not speak
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril() & heard[:, None]
        bias = torch.zeros(mask.shape, dtype=torch.bfloat16).masked_fill(~mask, -1e4)[:, None]  # (B, 1, T, T)
        missed = []
        with torch.autocast("cpu", torch.bfloat16):
            for number, layer in enumerate(gpt.gpt.h):
                parts = linear(layer.ln_1(x), layer.attn.c_attn).unflatten(-1, (3, gpt.args.gpt_n_heads, -1))
                query, key, value = parts.transpose(1, 3).unbind(2)  # (B, heads, T, size)
                scores = (query * query.shape[-1] ** -0.5) @ key.transpose(2, 3) + bias
                if number in GUIDED:
                    missed.append(misread(scores[:, 0, first:].float(), batch))
                attended = (scores.softmax(-1, dtype=torch.bfloat16) @ value).transpose(1, 2).flatten(2)
                x = x + linear(attended, layer.attn.c_proj)
                inner = F.gelu(linear(layer.ln_2(x), layer.mlp.c_fc), approximate="tanh")
                x = x + linear(inner, layer.mlp.c_proj)
        return gpt.final_norm(gpt.gpt.ln_f(x.float())), torch.stack(missed).mean()


def linear(x: Tensor, layer: Any) -> Tensor:
    """GPT-2 keeps its matrices the other way round."""
    return F.linear(x, layer.weight.T, layer.bias)


def misread(scores: Tensor, batch: Batch) -> Tensor:
    """-log of the attention (B, M, T) to the word of the code that comes next."""
    wanted = LATENTS + batch.reads
    missed = scores.logsumexp(-1) - scores.gather(-1, wanted[..., None])[..., 0]
    return missed[torch.arange(wanted.shape[1])[None] < batch.code_lengths[:, None] - 1].mean()


class Course:
    """The model with all that its training keeps from step to step."""

    def __init__(self, params: dict[str, Any]) -> None:
        torch.manual_seed(0)
        self.path, self.step, self.spent = WORK / "xtts-gpt.pt", 0, 0.0
        self.rate, self.seconds = params["rate"], params["minutes"] * 60
        self.lessons = Lessons(params)
        phones = int(self.lessons.sounds.phone.max()) + 1
        gpt = build(self.lessons.words)
        self.learner = Learner(gpt, len(self.lessons.features.scale), phones, len(self.lessons.names))
        self.learnt = dict(self.learner.named_parameters())
        self.average = {n: p.detach().clone() for n, p in self.learnt.items()}
        inner = {n for n, p in self.learnt.items() if p.ndim == 2 and (".h." in n or "perceiver.layers" in n)}
        self.optimisers = (
            torch.optim.Muon([self.learnt[n] for n in sorted(inner)], self.rate, weight_decay=0.05,
                             adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW([p for n, p in self.learnt.items() if n not in inner], self.rate, betas=(0.9, 0.98),
                              weight_decay=0.01),
        )  # fmt: skip
        if self.path.exists():
            self.resume(torch.load(self.path, weights_only=True))
        self.stream = self.lessons.batches(np.random.default_rng(self.step))

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

    def take(self) -> dict[str, Tensor]:
        rate = self.rate * share_of_rate(self.step, self.done, 0.03)
        parts = self.learner(next(self.stream))
        for optimiser in self.optimisers:
            optimiser.zero_grad()
            for group in optimiser.param_groups:
                group["lr"] = rate
        sum((WEIGHTS[name] * part for name, part in parts.items()), torch.zeros(())).backward()
        nn.utils.clip_grad_norm_(self.learnt.values(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        follow(self.average, self.learnt, self.step, 0.995)
        return parts


def main() -> None:
    asked = params("xtts", "minutes", script(__doc__).parse_args())
    train(Course(asked))


if __name__ == "__main__":
    main()
