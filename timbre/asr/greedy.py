"""Whisper's greedy decoding without the work that changes no token.

    decoded(whisper, model, features, options)      # as whisper.decode, but for `avg_logprob`, which is 0

For each token openai-whisper computes log_softmax of 50,000 logits twice, and torch's argmax is slow. Which token is
the likeliest, and whether the timestamps together are likelier than any word, the logits themselves say; only
`avg_logprob` needs log_softmax, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def lighten(decoding: Any) -> None:
    """whisper.decoding's tasks decode so from now on."""
    decoding.ApplyTimestampRules, decoding.GreedyDecoder = _rules(decoding), _decoder(decoding)


def decoded(whisper: Any, model: Any, features: Any, options: Any) -> Sequence[Any]:
    """Of many windows (batch, positions, channels)."""
    task = whisper.decoding.DecodingTask(model, options)
    task.decoder.scored = False
    return list(task.run(features))


def _rules(decoding: Any) -> type:
    class TimeRules(decoding.ApplyTimestampRules):  # type: ignore[misc]
        def apply(self, logits: Any, tokens: Any) -> None:
            """logits (batch, tokens there are), tokens (batch, tokens so far)"""
            begin, written = self.tokenizer.timestamp_begin, tokens[:, self.sample_begin :].tolist()
            if self.tokenizer.no_timestamps is not None:
                logits[:, self.tokenizer.no_timestamps] = -float("inf")
            for row, own in zip(logits, written, strict=True):
                self._allow(row, own)
            if tokens.shape[1] == self.sample_begin:  # a window begins with a time
                logits[:, :begin] = -float("inf")
                if self.max_initial_timestamp_index is not None:
                    logits[:, begin + self.max_initial_timestamp_index + 1 :] = -float("inf")
            times = logits[:, begin:].float().logsumexp(-1) > logits[:, :begin].amax(-1)
            for row in times.nonzero()[:, 0].tolist():
                logits[row, :begin] = -float("inf")

        def _allow(self, row: Any, written: list[int]) -> None:
            """Times come in pairs, the end of a line and the beginning of the next, and never go back."""
            begin = self.tokenizer.timestamp_begin
            ends = bool(written) and written[-1] >= begin
            is_pair = len(written) < 2 or written[-2] >= begin
            if ends and is_pair:
                row[begin:] = -float("inf")
            elif ends:
                row[: self.tokenizer.eot] = -float("inf")
            if times := [token for token in written if token >= begin]:
                row[begin : times[-1] + (not ends or is_pair)] = -float("inf")

    return TimeRules


def _decoder(decoding: Any) -> type:
    class LikeliestToken(decoding.GreedyDecoder):  # type: ignore[misc]
        scored = True  # whether anybody asks for `avg_logprob`

        def update(self, tokens: Any, logits: Any, sum_logprobs: Any) -> tuple[Any, bool]:
            if self.temperature or logits.device.type != "cpu":
                return super().update(tokens, logits, sum_logprobs)  # type: ignore[no-any-return]
            import torch

            likeliest = torch.from_numpy(logits.numpy().argmax(-1))  # a tenth of the time of torch's own
            ended = tokens[:, -1] == self.eot
            if self.scored:
                shares = logits.float().log_softmax(-1)
                sum_logprobs += shares.gather(1, likeliest[:, None])[:, 0] * ~ended
            likeliest[ended] = self.eot
            return torch.cat((tokens, likeliest[:, None]), -1), bool((likeliest == self.eot).all())

    return LikeliestToken
