"""The shape of the tiny Orpheus: its tokenizer, its token ids and its configuration, built without a network.

Nothing here is trained. The tokens have the names and the order that the real Orpheus gives them, at smaller ids: after
the text's come <custom_token_0> …, of which number 10 is the first of 7 times as many codes as a codebook has.
"""

from __future__ import annotations

import copy
import json
import string
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from snac import SNAC
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

BEGIN, TURN, UNKNOWN, FILL = "<|begin_of_text|>", "<|eot_id|>", "<|unknown|>", "<custom_token_7>"
SLOTS = 7  # tokens of a coarse frame: L1, L2a, L3a, L3b, L2b, L3c, L3d
LEVELS = (0, 1, 2, 2, 1, 2, 2)  # of the slots


@dataclass(frozen=True)
class Ids:
    """Where the tokens lie; `orpheus_ids.json` beside the weights holds the same."""

    end_of_text: int
    start_of_speech: int
    end_of_speech: int
    start_of_human: int
    end_of_human: int
    start_of_ai: int
    end_of_ai: int
    pad: int
    audio: int  # of code 0 in slot 0; id = audio + slot * codes + code
    codes: int  # of a codebook

    @classmethod
    def of(cls, words: PreTrainedTokenizerFast, codes: int) -> Ids:
        custom = [words.convert_tokens_to_ids(f"<custom_token_{n}>") for n in (*range(1, 8), 10)]
        return cls(words.convert_tokens_to_ids(TURN), *custom, codes=codes)


def tokenizer(words: Sequence[str], names: Sequence[str]) -> PreTrainedTokenizerFast:
    """A token for each known word and voice; any other goes by known pieces and letters, so that no text fails."""
    letters = string.ascii_lowercase + string.digits
    tokens = [BEGIN, TURN, UNKNOWN, *"[].,?!'-:;", *letters, *(f"##{x}" for x in letters)]
    tokens += [*sorted({w.lower() for w in words}), *names]
    custom = [f"<custom_token_{n}>" for n in range(11)]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys([*tokens, *custom]))}
    core = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN))  # type: ignore[call-arg]
    core.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()])
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation()])
    core.decoder = decoders.WordPiece()
    core.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A", special_tokens=[(BEGIN, 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=BEGIN,
        eos_token=TURN,
        pad_token=FILL,
        unk_token=UNKNOWN,
        additional_special_tokens=[token for token in custom if token != FILL],
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],
    )


def build(ids: Ids, width: int = 192, layers: int = 4) -> LlamaForCausalLM:
    """A Llama with fresh weights."""
    config = LlamaConfig(
        vocab_size=ids.audio + SLOTS * ids.codes, hidden_size=width, intermediate_size=512, num_hidden_layers=layers,
        num_attention_heads=3, num_key_value_heads=3, max_position_embeddings=2048, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0}, bos_token_id=0,
        eos_token_id=ids.end_of_speech, pad_token_id=ids.pad,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    sampling = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 0, "max_new_tokens": 900}
    model.generation_config.update(**sampling)  # 900 tokens are 10 s
    return model


@torch.no_grad()
def start_alike(model: LlamaForCausalLM, ids: Ids, codec: SNAC) -> None:
    """Codes that sound alike start with embeddings alike, and the slots of a level share them."""
    table, width = model.get_input_embeddings().weight, model.config.hidden_size
    turns = [torch.linalg.qr(torch.randn(width, codec.codebook_dim))[0].T for _ in codec.vq_strides]
    for slot, level in enumerate(LEVELS):
        book = codec.quantizer.quantizers[level].codebook.weight
        book = (book - book.mean(0)) / book.std(0).clamp_min(1e-6) / codec.codebook_dim**0.5  # of norm 1 in the mean
        place = torch.nn.functional.normalize(torch.randn(width), dim=0)
        rows = slice(ids.audio + slot * ids.codes, ids.audio + (slot + 1) * ids.codes)
        table[rows] = 0.3 * table[rows] + 0.25 * book @ turns[level] + 0.15 * place


def save(model: LlamaForCausalLM, words: PreTrainedTokenizerFast, ids: Ids, folder: Path) -> None:
    """Half precision on disk, single in memory: half is slow and coarse on a CPU."""
    half = copy.deepcopy(model).half()
    for name, weight in half.state_dict().items():
        if not torch.isfinite(weight).all():
            raise ValueError(f"{name}: too large for half precision")
    half.save_pretrained(folder)
    words.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["dtype"] = "float32"
    config.pop("_name_or_path", None)  # a folder of this machine
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (folder / "orpheus_ids.json").write_text(json.dumps(asdict(ids), indent=1) + "\n")
