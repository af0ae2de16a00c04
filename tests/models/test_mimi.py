"""Sound piece by piece beside sound from all frames at once: the tiny codec, and one built as Mimi is but thinner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.paths import ROOT
from timbre.core.errors import ModelError
from timbre.families import Audio, Codes, side_stream
from timbre.families.csm.mimi import LONGEST_PIECE, CodecRows, CodecStream, pieces
from timbre.families.side_stream import SideStream

FRAMES = 40
WINDOW = 10  # positions of the random codec's transformer: 5 frames


@pytest.fixture(scope="module")
def mimi() -> Any:
    """As kyutai/mimi is built: its ratios, its upsampling of each channel alone, its window; only thinner."""
    from transformers import MimiConfig, MimiModel

    torch.manual_seed(0)
    config = MimiConfig(
        num_filters=8, hidden_size=64, upsample_groups=64, num_quantizers=8, codebook_size=64, codebook_dim=16,
        vector_quantization_hidden_dimension=16, sliding_window=WINDOW, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, head_dim=16, intermediate_size=64,
    )  # fmt: skip
    codec = MimiModel(config).eval()
    for name, buffer in codec.named_buffers():
        if name.endswith("embed_sum"):  # fresh codebooks are all zeros
            buffer.normal_()
    for name, weight in codec.named_parameters():
        if name.endswith("scale"):  # fresh transformers add next to nothing
            weight.data.fill_(1)
    return codec


@pytest.fixture(scope="module")
def tiny() -> Any:
    from transformers import CsmForConditionalGeneration

    return CsmForConditionalGeneration.from_pretrained(ROOT / "models/tiny/csm").codec_model.eval()


def codes_of(codec: Any) -> Codes:
    shape = FRAMES, codec.config.num_quantizers
    return np.random.default_rng(0).integers(0, codec.config.codebook_size, shape).astype(np.int16)


def whole(codec: Any, codes: Codes) -> Audio:
    with torch.no_grad():
        sound: Audio = codec.decode(torch.from_numpy(codes.astype(np.int64)).T[None]).audio_values[0, 0].numpy()
    return sound


@pytest.mark.parametrize("size", [1, 2, 7, FRAMES])
@pytest.mark.parametrize("kind", ["mimi", "tiny"])
def test_the_pieces_together_are_the_whole(kind: str, size: int, request: pytest.FixtureRequest) -> None:
    codec = request.getfixturevalue(kind)
    codes, stream = codes_of(codec), CodecStream(codec)
    assert codec.config.sliding_window < 2 * FRAMES, "the window must have been left behind"
    pieces = [stream.feed(codes[start : start + size]) for start in range(0, FRAMES, size)]
    assert [len(piece) for piece in pieces[:-1]] == [size * codec.config.frame_size] * (len(pieces) - 1)
    together, expected = np.concatenate(pieces), whole(codec, codes)
    assert np.abs(together - expected).max() < 1e-5 * np.abs(expected).max()


def test_what_is_remembered_does_not_grow(mimi: Any) -> None:
    codes, stream = codes_of(mimi), CodecStream(mimi)
    sizes = []
    for start in range(0, FRAMES, 4):
        stream.feed(codes[start : start + 4])
        sizes.append(sum(kept.untyped_storage().nbytes() for kept in stream.rows.memory))
    assert len(set(sizes)) == 1


def test_a_row_sounds_the_same_whatever_the_others_hold(mimi: Any) -> None:
    """Byte for byte: rows begin at different times, idle rows compute on, and one goes on alone."""
    codes = torch.from_numpy(codes_of(mimi).astype(np.int64)).T[None]
    other = (codes + 1) % mimi.config.codebook_size

    def spoken(beside: int) -> torch.Tensor:
        rows, sound = CodecRows(mimi, 3), []
        for frame in range(beside):  # somebody else's frames, in a row that begins before
            rows.feed(other[..., frame : frame + 1].expand(3, -1, -1), torch.tensor([True, False, False]))
        busy = torch.tensor([beside > 0, True, False])
        for frame in range(12):
            step = torch.cat((other[..., frame : frame + 1], codes[..., frame : frame + 1], codes[..., :1]))
            sound.append(rows.feed(step, busy)[1])
        sound.append(rows.row(1).feed(codes[..., 12:20])[0])
        rows.clear(1)
        sound.append(rows.row(1).feed(codes[..., :4])[0])
        return torch.cat(sound)

    alone = spoken(0)
    assert torch.equal(alone, spoken(7))
    expected = whole(mimi, codes_of(mimi))[: 20 * mimi.config.frame_size]
    assert np.abs(alone[: len(expected)].numpy() - expected).max() < 1e-5 * np.abs(expected).max()


def test_no_frames_are_no_sound_and_a_stream_belongs_to_one_sentence(mimi: Any) -> None:
    codes, stream = codes_of(mimi), CodecStream(mimi)
    assert stream.feed(codes[:0]).shape == (0,)
    first = stream.feed(codes[:3])
    assert (CodecStream(mimi).feed(codes[:3]) == first).all()
    assert not np.allclose(stream.feed(codes[:3]), first), "the second time something was heard before"


class RecordedStream:
    """In the place of a CUDA stream: what waits for what, and where the codec computes."""

    current: RecordedStream
    events: list[str]

    def __init__(self, name: str) -> None:
        self.name = name

    def wait_stream(self, other: RecordedStream) -> None:
        self.events.append(f"{self.name} waits for {other.name}")

    @classmethod
    @contextmanager
    def entered(cls, stream: RecordedStream) -> Iterator[None]:
        before, cls.current = cls.current, stream
        yield
        cls.current = before


def test_a_gpu_makes_sound_beside_its_frames_and_waits_for_them_only_to_lay_the_codec_out(
    mimi: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = codes_of(mimi)
    main, side = RecordedStream("main"), RecordedStream("side")
    RecordedStream.current, RecordedStream.events = main, []
    monkeypatch.setattr(side_stream, "of", lambda _: side)
    monkeypatch.setattr(torch.cuda, "stream", RecordedStream.entered)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: main)
    monkeypatch.setattr("timbre.families.csm.mimi.SideStream", lambda _: SideStream(torch.device("cuda")))

    def recorded(name: str, method: Any) -> Any:
        def call(*given: Any) -> Any:
            RecordedStream.events.append(f"{name} on {RecordedStream.current.name}")
            return method(*given)

        return call

    monkeypatch.setattr(CodecRows, "feed", recorded("feed", CodecRows.feed))
    expected = whole(mimi, codes)
    stream = CodecStream(mimi)
    assert RecordedStream.events == ["side waits for main", "main waits for side"]
    RecordedStream.events.clear()
    sounds = [stream.feed(codes[start : start + 8]) for start in range(0, FRAMES, 8)]
    assert RecordedStream.events == ["feed on side"] * 5, "it waits for nothing"
    assert RecordedStream.current is main
    assert np.abs(np.concatenate(sounds) - expected).max() < 1e-5 * np.abs(expected).max()


def test_a_codec_of_an_older_transformers_has_its_parts_elsewhere(mimi: Any) -> None:
    half = mimi.decoder
    older: Any = SimpleNamespace(
        config=mimi.config, device=mimi.device, quantizer=mimi.quantizer, upsample=half.upsample,
        decoder_transformer=half.decoder_transformer, decoder=half.decoder_seanet,
    )  # fmt: skip
    codes = codes_of(mimi)
    assert (CodecStream(older).feed(codes) == CodecStream(mimi).feed(codes)).all()


def test_a_codec_that_looks_ahead_is_refused() -> None:
    config = SimpleNamespace(use_causal_conv=False, pad_mode="constant", trim_right_ratio=1.0)
    codec: Any = SimpleNamespace(config=config)
    with pytest.raises(ModelError, match="look ahead"):
        CodecStream(codec)


def test_a_piece_is_made_while_those_before_it_are_heard() -> None:
    frames = np.random.default_rng(1).integers(0, 64, (200, 8)).astype(np.int16)
    cut = list(pieces(frames))
    assert (np.concatenate(cut) == frames).all()
    sizes = [len(piece) for piece in cut]
    assert (sizes[0], max(sizes)) == (1, LONGEST_PIECE)
    assert all(size <= max(sum(sizes[:place]) / 2, 1) for place, size in enumerate(sizes))
    assert list(pieces(frames[:0])) == []
