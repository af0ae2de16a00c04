"""Whisper's rules for times and its choice of a token, without what nobody asks for, come to the same."""

from __future__ import annotations

import pytest
import torch

from tests.support.paths import ROOT
from timbre import asr
from timbre.asr import greedy, lean_whisper
from timbre.core.sections import WhisperParams

TOKENS, ROWS, BEGINS = 51864, 6, 2


@pytest.fixture(scope="module")
def random() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("latest", [None, 50])
def test_the_same_tokens_are_ruled_out(latest: int | None, random: torch.Generator) -> None:
    decoding, tokenizer = lean_whisper.load().decoding, lean_whisper.load().tokenizer.get_tokenizer(False)
    ours = decoding.ApplyTimestampRules(tokenizer, BEGINS, latest)
    theirs = type(ours).__mro__[1](tokenizer, BEGINS, latest)
    assert type(theirs).__module__ == "whisper.decoding"
    forced = 0
    for number in range(60):
        tokens = torch.randint(TOKENS, (ROWS, BEGINS + number % 5), generator=random)
        times = torch.rand(tokens.shape, generator=random) < 0.5
        tokens[times] = tokenizer.timestamp_begin + tokens[times] % 1500
        scores = 3 * torch.randn(ROWS, TOKENS, generator=random)
        scores[:, tokenizer.timestamp_begin :] += number % 7  # times together may beat each word
        one, other = scores.clone(), scores.clone()
        ours.apply(one, tokens)
        theirs.apply(other, tokens)
        assert torch.equal(one, other)
        forced += int(one[:, : tokenizer.timestamp_begin].isinf().all(1).sum())
    assert 0 < forced < 60 * ROWS


def test_the_same_token_is_chosen_and_as_sure(random: torch.Generator) -> None:
    decoding = lean_whisper.load().decoding
    ours = decoding.GreedyDecoder(0.0, 50256)
    theirs = type(ours).__mro__[1](0.0, 50256)
    for rows in (1, ROWS):
        one, other = torch.zeros(rows), torch.zeros(rows)
        tokens = torch.full((rows, 3), 50363)
        for number in range(20):
            scores = torch.randn(rows, TOKENS, generator=random)
            scores[0, [7, 9]] = 9.0  # of equals, the first
            scores[number % rows, 50256] = 20.0 * (number > 5)
            found, ended = ours.update(tokens, scores, one)
            tokens, over = theirs.update(tokens, scores, other)
            assert torch.equal(found, tokens)
            assert ended == bool(over)
        assert torch.equal(one, other)
        assert over


def test_windows_are_decoded_to_the_same_tokens_without_a_mark() -> None:
    whisper, model = lean_whisper.load(), asr.load(WhisperParams(str(ROOT / "models/tiny/whisper.pt")))
    mels = torch.rand(2, 80, 3000, generator=torch.Generator().manual_seed(0))
    options = whisper.DecodingOptions(language="en", fp16=False)
    with torch.inference_mode():
        features = model.embed_audio(mels)
        ours, theirs = greedy.decoded(whisper, model, features, options), whisper.decode(model, features, options)
    assert [one.tokens for one in ours] == [one.tokens for one in theirs]
    assert [one.avg_logprob for one in ours] == [0.0, 0.0]
    assert all(one.avg_logprob < 0 for one in theirs)
