"""CSM in 8 bits: which of its layers become what timbre/families/int8.py offers."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from timbre.families.int8 import Int8Layer, Int8Linear, replace
from timbre.families.precision import shrink_decoder


class Int8Heads(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """The depth decoder's heads, one for each codebook but the first: `each[i](x)`, x (…, in) → (…, vocabulary)."""

    def __init__(self, weight: Tensor, kind: type[Int8Layer] = Int8Linear) -> None:
        """weight (codebooks - 1, in, vocabulary)"""
        super().__init__()
        self.each = nn.ModuleList(kind(head.T) for head in weight)


def shrink(model: Any, kind: type[Int8Layer] = Int8Linear) -> None:
    """Both decoders of a CSM and all its heads; embeddings, norms and the codec stay as they are."""
    shrink_decoder(model.backbone_model, kind)
    shrink_decoder(model.depth_decoder.model, kind)
    replace(model.depth_decoder, kind)
    model.lm_head = kind(model.lm_head.weight)
    model.depth_decoder.codebooks_head = Int8Heads(model.depth_decoder.codebooks_head.weight, kind)
