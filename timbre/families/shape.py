"""The shape of a voice model, as estimates need it: how many weights a step multiplies with, and how many it reads.

A family may read a sentence frame by frame and have a second, smaller decoder for the codes within a frame. One that
says one code after another has `NO_DECODER` for it, and a frame for each code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class DecoderShape(NamedTuple):
    layers: int
    width: int
    heads: int  # width of all queries together
    keys: int  # width of all keys together
    inner: int  # of the MLP

    @property
    def weights(self) -> int:
        return self.layers * sum(a * b for a, b in self.projections)

    @property
    def projections(self) -> list[tuple[int, int]]:
        """In and out of a layer's seven matrices."""
        w, inner = self.width, self.inner
        return [(w, self.heads), (w, self.keys), (w, self.keys), (self.heads, w), (w, inner), (w, inner), (inner, w)]

    def adapter(self, rank: int) -> int:
        return self.layers * sum(rank * (a + b) for a, b in self.projections)


def llama(config: Mapping[str, Any]) -> DecoderShape:
    """Of a decoder with Llama's layers, by its part of config.json."""
    head = config["head_dim"]
    return DecoderShape(
        config["num_hidden_layers"], config["hidden_size"], head * config["num_attention_heads"],
        head * config["num_key_value_heads"], config["intermediate_size"],
    )  # fmt: skip


NO_DECODER = DecoderShape(0, 0, 0, 0, 0)


class CodecShape(NamedTuple):
    weights: float
    encoding: float  # operations for a second of sound
    decoding: float = 0.0  # the same from codes to sound; 0 where nobody has counted it


class WaveShape(NamedTuple):
    """A second training, of what makes sound of codes, as a whole and against discriminators."""

    weights: float  # that learn, discriminators among them
    segment: float  # operations of a step for the piece of each clip that becomes sound, forwards and backwards
    second: float  # … and for each second of the clip
    kept: float  # bytes that a clip keeps for the way back, in single precision


class Shape(NamedTuple):
    sentence: DecoderShape  # reads from the first word to the last frame
    frame: DecoderShape  # reads one frame, code by code; NO_DECODER where the other says every code
    frame_codes: int
    codes: int  # that one is chosen from
    embedded: int  # weights that are looked up, and in no product
    frame_rate: float  # Hz
    codec: CodecShape
    waves: WaveShape | None = None

    @property
    def weights(self) -> int:
        wide, narrow = self.sentence.width, self.frame.width
        heads = self.codes * (wide + narrow * (self.frame_codes - 1))
        return self.sentence.weights + self.frame.weights + self.embedded + heads + wide * narrow
