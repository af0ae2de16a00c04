"""Whisper without numba, and without what it computes twice, writes the same words at the same times."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.models.test_lean_transformers import python
from tests.support.paths import ROOT
from tests.support.tiny_models import random_whisper
from timbre import asr, audio
from timbre.asr import lean_whisper
from timbre.core.sections import WhisperParams

TINY = WhisperParams(str(ROOT / "models/tiny/whisper.pt"))
HEARS = """
import sys
import numpy as np
from timbre import asr
from timbre.core.sections import WhisperParams
model = asr.load(WhisperParams("{model}"))
sound = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
words = [word for one in asr.transcribe(model, sound, word_timestamps=True).utterances for word in one.words]
asr.hear(model, [sound], ["en"])
print(len(words), *sys.modules)
import numba
print(numba.jit(nopython=True)(lambda: 7)())
"""


@pytest.fixture(scope="module")
def plain() -> Any:
    """openai-whisper's model as it is."""
    return lean_whisper.load().load_model(TINY.model).eval()


@pytest.fixture(scope="module")
def speech() -> audio.Samples:
    return audio.read(ROOT / "data/recordings/harbour-noon.flac", asr.SAMPLE_RATE, 0, 40)[0]


def test_words_get_their_times_without_numba_which_is_there_for_others(tmp_path: Path) -> None:
    words, *imported, seven = python(
        HEARS.format(model=random_whisper(tmp_path / "whisper.pt", babbles=True)), tmp_path
    ).split()
    assert int(words) > 0
    assert "whisper.timing" in imported
    assert not {"numba", "llvmlite"} & set(imported)
    assert seven == "7"


def test_another_release_that_wants_more_of_numba_gets_it(tmp_path: Path) -> None:
    (tmp_path / "whisper").mkdir()
    (tmp_path / "whisper/__init__.py").write_text("from . import timing\n")
    (tmp_path / "whisper/timing.py").write_text("from numba import njit\n")
    code = "from timbre.asr import lean_whisper; print(lean_whisper.load().timing.njit.__module__)"
    assert python(code, tmp_path).strip().startswith("numba.")


def test_the_path_of_words_is_the_one_that_whisper_compiles() -> None:
    import numba

    found = importlib.util.find_spec("whisper.timing")
    assert found
    assert found.loader
    whispers = importlib.util.module_from_spec(found)
    found.loader.exec_module(whispers)
    compiled = numba.jit(nopython=True)(whispers.dtw_cpu.py_func)  # as there, but for one thread
    random = np.random.default_rng(0)
    for number in range(120):
        costs = random.normal(size=random.integers(1, (30, 120)))
        if number % 3 == 0:
            costs = costs.round()  # many ways cost the same
        if number % 8 == 0:
            costs[:, random.integers(0, costs.shape[1])] = np.nan  # of a frame that no token looks at
        assert np.array_equal(lean_whisper.dtw(costs), compiled(costs.copy()))


def test_medians_without_sorting_are_the_same_numbers() -> None:
    def sorted_out(x: torch.Tensor, width: int) -> torch.Tensor:
        around = torch.nn.functional.pad(x, (width // 2, width // 2), mode="reflect")
        return around.unfold(-1, width, 1).sort()[0][..., width // 2]

    asked: list[int] = []

    def left_to(x: torch.Tensor, width: int) -> torch.Tensor:
        asked.append(width)
        return sorted_out(x, width)

    for shape in ((1, 1, 7), (5, 30, 400), (2, 3, 8)):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        assert torch.equal(lean_whisper.medians(left_to, x, 7), sorted_out(x, 7))
        assert torch.equal(lean_whisper.medians(left_to, x.round(), 7), sorted_out(x.round(), 7))
    assert not asked
    x[0, 0, 3] = torch.nan  # of a frame that no token looks at: sorted to the end
    assert torch.equal(lean_whisper.medians(left_to, x, 7).isnan(), sorted_out(x, 7).isnan())
    lean_whisper.medians(left_to, torch.ones(1, 1, 20), 5)
    assert asked == [7, 5]


def test_a_window_is_encoded_once_and_its_words_have_the_same_times(plain: Any, speech: audio.Samples) -> None:
    model, windows = asr.load(TINY), []
    counting = model.encoder.conv1.register_forward_hook(lambda *_: windows.append(1))
    heard = asr.transcribe(model, speech, word_timestamps=True)
    counting.remove()
    before = asr.transcribe(plain, speech, word_timestamps=True)
    assert heard.text == before.text
    pairs = [
        (word, other)
        for one, two in zip(heard.utterances, before.utterances, strict=True)
        for word, other in zip(one.words, two.words, strict=True)
    ]
    assert len(pairs) > 50
    assert all((word.word, word.start, word.end) == (other.word, other.start, other.end) for word, other in pairs)
    assert max(abs(word.probability - other.probability) for word, other in pairs) < 1e-4
    assert len(windows) == 2


def test_another_window_is_not_taken_for_the_last_one(plain: Any) -> None:
    model, one = asr.load(TINY), torch.zeros(1, 80, 3000)
    other = one.clone()
    other[0, 40, 100] = 1.0
    with torch.inference_mode():
        for mels in (one, other, one, torch.cat((one, other))):
            assert torch.equal(model.embed_audio(mels), plain.embed_audio(mels))


def test_tokens_of_one_embedding_get_their_scores_from_one_row(plain: Any, tmp_path: Path) -> None:
    model, tokens = asr.load(TINY), torch.tensor([[50257, 50363, 464, 17024, 51000, 51863]])
    assert len(model.decoder.token_embedding.weight) < 2000
    with torch.inference_mode():
        features = plain.embed_audio(torch.rand(1, 80, 3000, generator=torch.Generator().manual_seed(0)))
        ours, theirs = model.logits(tokens, features), plain.logits(tokens, features)
    assert ours.shape == theirs.shape == (1, 6, 51864)
    assert torch.allclose(ours, theirs, atol=1e-4)
    untaught = asr.load(WhisperParams(str(random_whisper(tmp_path / "whisper.pt"))))
    assert len(untaught.decoder.token_embedding.weight) == 51864, "each has its own"


def test_text_without_a_mark_is_tokenised_without_a_search_for_special_tokens() -> None:
    encoding = lean_whisper.load().tokenizer.get_encoding("gpt2")
    whispers = functools.partial(type(encoding).encode, encoding)
    for text in ("", " Passengers to pier five, please.", "Ende – naïve ♪♪ <x> |>", "a\ud800b"):
        assert encoding.encode(text) == whispers(text)
    with pytest.raises(ValueError, match="endoftext"):
        encoding.encode("the end<|endoftext|>")
    marked = "the end<|endoftext|>"
    assert encoding.encode(marked, allowed_special="all") == whispers(marked, allowed_special="all")


def test_a_whisper_is_made_without_random_weights_and_other_models_with_them() -> None:
    before = torch.get_rng_state()
    with lean_whisper.unfilled():
        torch.nn.Embedding(3, 3), torch.nn.Conv1d(1, 1, 1), torch.nn.Linear(3, 3)
    assert torch.equal(torch.get_rng_state(), before)
    asr._load.cache_clear()
    asr.load(TINY)
    assert torch.equal(torch.get_rng_state(), before)
    for make in (lambda: torch.nn.Embedding(3, 3), lambda: torch.nn.Conv1d(1, 1, 1), lambda: torch.nn.Linear(3, 3)):
        torch.set_rng_state(before)
        make()
        assert not torch.equal(torch.get_rng_state(), before)
