"""What openai-whisper computes although it is there: a window's features again, and scores of tokens that are alike.

    computed_once.spare(model)           # once, when it is loaded; whatever is asked of it comes out as before

For the times of words, whisper encodes each window once more, as soon as it has written what is said in it. So the
encoder remembers its last window. And the tokens that a small model was never taught have one embedding among them all,
as 50,000 of models/tiny/whisper.pt do: their score is computed once.
"""

from __future__ import annotations

from typing import Any

ALIKE = 0.5  # share of the tokens from where on one embedding among them is worth keeping once


def spare(model: Any) -> None:
    _remember_window(model.encoder)
    _share_rows(model.decoder)


def _remember_window(encoder: Any) -> None:
    """Of one window at a time: clips that are heard many at once get no word times."""
    import torch

    encode, last = encoder.forward, list[Any]()

    def encoded(mels: Any) -> Any:
        if len(mels) != 1:
            return encode(mels)
        if not (last and last[0].dtype == mels.dtype and torch.equal(last[0], mels)):
            last[:] = mels, encode(mels)
        return last[1]

    encoder.forward = encoded


def _share_rows(decoder: Any) -> None:
    """Where most tokens have one embedding, keep it once; behind the decoder, every token gets its score again."""
    import torch

    table = decoder.token_embedding.weight.detach()
    alike = (table == table[_commonest(table)]).all(1)
    if alike.float().mean() < ALIKE:
        return
    own = (~alike).nonzero()[:, 0]
    place = torch.full((len(table),), len(own), device=table.device)  # of a token, its row
    place[own] = torch.arange(len(own), device=table.device)
    rows = torch.nn.Embedding.from_pretrained(torch.cat((table[own], table[alike][:1])))
    look_up = rows.forward
    rows.forward = lambda tokens: look_up(place[tokens])
    decoder.token_embedding = rows

    def of_all(_: Any, __: Any, scores: Any) -> Any:
        shared = scores[..., -1:].repeat(1, 1, len(place))
        return shared.index_copy_(-1, own, scores[..., :-1])  # a tenth of the time of index_select

    decoder.register_forward_hook(of_all)


def _commonest(table: Any) -> int:
    """A token whose embedding most others have, if there is one: the most frequent by its first number."""
    first = table[:, 0]
    return int((first == first.mode().values).nonzero()[0, 0])
