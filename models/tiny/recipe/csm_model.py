"""The shape of the tiny CSM: its tokenizer, processor and configuration, built without a network.

Nothing here is trained. `recipe/csm.py` fills it; `build(...).save_pretrained(folder)` gives what
CsmForConditionalGeneration.from_pretrained and CsmProcessor.from_pretrained read.
"""

from __future__ import annotations

import copy
import json
import string
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    CsmConfig,
    CsmDepthDecoderConfig,
    CsmForConditionalGeneration,
    CsmProcessor,
    EncodecFeatureExtractor,
    MimiConfig,
    MimiModel,
    PreTrainedTokenizerFast,
)

SPECIAL = ("<|pad|>", "<|begin_of_text|>", "<|end_of_text|>", "<|AUDIO|>", "<|audio_eos|>", "<|unknown|>")
PAD, BEGIN, END, AUDIO, AUDIO_EOS, UNKNOWN = range(6)
# As csm-1b's: each turn is a speaker's text and then, unless it is to be spoken, its sound.
CHAT = """{%- for message in messages -%}
{{- bos_token + '[' + message['role'] + ']' -}}
{%- for part in message['content'] if part['type'] == 'text' -%}{{- part['text'] -}}{%- endfor -%}
{{- eos_token -}}
{%- for part in message['content'] if part['type'] == 'audio' -%}{{- '<|AUDIO|><|audio_eos|>' -}}{%- endfor -%}
{%- endfor -%}"""


def tokenizer(words: Sequence[str], codec: MimiConfig) -> PreTrainedTokenizerFast:
    """A token for each known word; any other word goes by known pieces and letters, so that no text fails."""
    letters = string.ascii_lowercase + string.digits
    tokens = [*SPECIAL, *"[].,?!'-:;", *letters, *(f"##{x}" for x in letters), *sorted({w.lower() for w in words})]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    core = Tokenizer(models.WordPiece(vocabulary, unk_token=SPECIAL[UNKNOWN]))  # type: ignore[call-arg]
    core.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()])
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation()])
    core.decoder = decoders.WordPiece()
    core.post_processor = processors.TemplateProcessing(
        single=f"{SPECIAL[BEGIN]} $A {SPECIAL[END]}",
        special_tokens=[(SPECIAL[BEGIN], BEGIN), (SPECIAL[END], END)],
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=SPECIAL[BEGIN],
        eos_token=SPECIAL[END],
        pad_token=SPECIAL[PAD],
        unk_token=SPECIAL[UNKNOWN],
        additional_special_tokens=[SPECIAL[AUDIO], SPECIAL[AUDIO_EOS]],
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],
        # CsmProcessor takes these two from here: it has no other memory for a codec that isn't csm-1b's
        sampling_rate=codec.sampling_rate,
        encoded_length_kwargs=encoded_length(codec),
    )
    fast.chat_template = CHAT
    return fast


def encoded_length(codec: MimiConfig) -> dict[str, object]:
    """Mimi's convolutions in order, from which the processor counts frames."""
    kernels, strides = [codec.kernel_size], [1]
    for ratio in reversed(codec.upsampling_ratios):
        kernels += [codec.residual_kernel_size, 1, 2 * ratio]
        strides += [1, 1, ratio]
    kernels += [codec.last_kernel_size, 2 * codec.latent_stride]
    strides += [1, codec.latent_stride]
    return {"kernel_sizes": kernels, "strides": strides, "dilations": [1] * len(kernels), "use_causal_conv": True}


def processor(words: Sequence[str], codec: MimiConfig) -> CsmProcessor:
    features = EncodecFeatureExtractor(feature_size=1, sampling_rate=codec.sampling_rate, padding_value=0.0)
    tokens = tokenizer(words, codec)
    return CsmProcessor(features, tokens, chat_template=tokens.chat_template)


def build(codec: MimiModel, text_vocabulary: int, width: int = 192, layers: int = 4) -> CsmForConditionalGeneration:
    """A CSM with fresh weights around the given codec."""
    codes = codec.config.codebook_size + 3  # as csm-1b: the codebook, two unused, padding
    rope = {"rope_type": "default", "rope_theta": 10_000.0}
    depth = CsmDepthDecoderConfig(
        num_codebooks=codec.config.num_quantizers, backbone_hidden_size=width, vocab_size=codes, hidden_size=128,
        intermediate_size=384, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        max_position_embeddings=codec.config.num_quantizers + 1, rope_parameters=rope,
    )  # fmt: skip
    config = CsmConfig(
        num_codebooks=codec.config.num_quantizers, vocab_size=codes, text_vocab_size=text_vocabulary,
        hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers, num_attention_heads=3,
        num_key_value_heads=3, max_position_embeddings=2048, rope_parameters=rope, pad_token_id=PAD, bos_token_id=BEGIN,
        audio_token_id=AUDIO, audio_eos_token_id=AUDIO_EOS, codebook_eos_token_id=0, codebook_pad_token_id=codes - 1,
        depth_decoder_config=depth, codec_config=codec.config,
    )  # fmt: skip
    model = CsmForConditionalGeneration(config)
    model.codec_model.load_state_dict(codec.state_dict())
    unused = list(range(codec.config.codebook_size, codes))
    for sampling in (model.generation_config, model.depth_decoder.generation_config):
        sampling.update(do_sample=True, temperature=0.6, top_k=0, suppress_tokens=unused)
    model.generation_config.update(max_new_tokens=20 * codec.config.sampling_rate // codec.config.frame_size)
    return model


def save(model: CsmForConditionalGeneration, words: CsmProcessor, folder: Path) -> None:
    """Half precision on disk, single in memory: half is slow and coarse on a CPU."""
    half = copy.deepcopy(model).half()
    for name, weight in half.state_dict().items():
        assert torch.isfinite(weight).all(), f"{name}: too large for half precision"
    half.save_pretrained(folder)
    words.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    for part in (config, config["codec_config"], config["depth_decoder_config"]):
        part["dtype"] = "float32"
        part.pop("_name_or_path", None)  # a folder of this machine
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
