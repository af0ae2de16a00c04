"""XTTS-v2 from its released files, whole or not at all.

config.json     sizes                                     vocab.json          the text's tokenizer
model.pth       gpt, vocoder, speaker encoder             speakers_xtts.pth   stock speakers (may be missing)
dvae.pth        the encoder of training codes             mel_stats.pth       as in model.pth
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from timbre.core.errors import ModelError
from timbre.families.checkpoints import fit, read, size, tensors, under, without
from timbre.families.xtts import codec as codecs
from timbre.families.xtts import speaker as speakers
from timbre.families.xtts.codec import CodecEncoder
from timbre.families.xtts.conditioning import mean_latents
from timbre.families.xtts.config import XttsSettings, read_settings
from timbre.families.xtts.gpt import SpeechGpt
from timbre.families.xtts.mel import LogMel, codec_mel, reference_mel
from timbre.families.xtts.speaker import SpeakerEncoder
from timbre.families.xtts.vocoder import LatentVocoder

# Classes of upstream that model.pth pickles beside its weights.
PICKLED = (
    "TTS.tts.configs.xtts_config.XttsConfig",
    "TTS.tts.models.xtts.XttsAudioConfig",
    "TTS.tts.models.xtts.XttsArgs",
    "TTS.config.shared_configs.BaseDatasetConfig",
)
# Before each key of the model in a checkpoint of upstream's trainer; beside it lie the codec's, which is in dvae.pth,
# and windows and filters, which are computed here
TRAINER = "xtts."
VOCODER, SPEAKER = "hifigan_decoder.waveform_decoder.", "hifigan_decoder.speaker_encoder."


class StockSpeaker(NamedTuple):
    """A speaker that comes with the model."""

    latents: Tensor  # (1, 32, C)
    vector: Tensor  # (1, 512)


class XttsModel(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """All networks of XTTS, and the spectrograms that they hear through."""

    def __init__(self, gpt: SpeechGpt, vocoder: LatentVocoder, speaker: SpeakerEncoder, codec: CodecEncoder,
                 stats: Tensor) -> None:  # fmt: skip
        super().__init__()
        self.gpt, self.vocoder, self.speaker, self.codec = gpt, vocoder, speaker, codec
        self.reference_mel: LogMel = reference_mel(stats)
        self.codec_mel: LogMel = codec_mel(stats)

    def latents(self, sound: Tensor, seconds: float) -> Tensor:
        """(1, samples) at 22,050 Hz -> (1, 32, C): of pieces of so many seconds, their mean."""
        return mean_latents(self.gpt.latents, self.reference_mel, sound, seconds)


def model_of(weights: Mapping[str, Tensor], dvae: Mapping[str, Tensor], settings: XttsSettings,
             model_path: Path, dvae_path: Path) -> XttsModel:  # fmt: skip
    """From the tables of model.pth and dvae.pth. Sizes that config.json does not name are those of the weights."""
    gpt_state, vocoder_state = under(weights, "gpt."), under(weights, VOCODER)
    speaker_state = without(under(weights, SPEAKER), [speakers.COMPUTED])
    dvae_state = without(dvae, codecs.UNUSED)
    rest = without(weights, ("gpt.", VOCODER, SPEAKER, "mel_stats"))
    if rest:
        raise ModelError(f"{model_path} has more than this model: {sorted(rest)[0]} ({len(rest)} in all)")
    gpt = SpeechGpt(settings.model_args, size(gpt_state, "text_embedding.weight", 0, model_path))
    width, channels = (size(vocoder_state, "conv_pre.weight", axis, model_path) for axis in (0, 1))
    vector = size(vocoder_state, "cond_layer.weight", 1, model_path)
    vocoder = LatentVocoder(channels, vector, width)
    widths = tuple(size(speaker_state, f"layer{i}.0.conv1.weight", 0, model_path) for i in range(1, 5))
    speaker = SpeakerEncoder(widths, size(speaker_state, "fc.weight", 0, model_path))
    codec = CodecEncoder(
        size(dvae_state, "encoder.0.0.weight", 0, dvae_path),
        *(size(dvae_state, "codebook.embed", axis, dvae_path) for axis in (0, 1)),
    )
    for module, state, path, what in (
        (gpt, gpt_state, model_path, "gpt"), (vocoder, vocoder_state, model_path, "vocoder"),
        (speaker, speaker_state, model_path, "speaker encoder"), (codec, dvae_state, dvae_path, "encoder"),
    ):  # fmt: skip
        fit(module, state, f"{path}: the {what}")
    if (codes := codec.codebook.embed.shape[1]) != settings.model_args.gpt_start_audio_token:
        raise ModelError(f"{dvae_path} makes {codes} codes, the gpt knows {settings.model_args.gpt_start_audio_token}")
    stats = weights.get("mel_stats")
    if stats is None:
        raise ModelError(f"{model_path} lacks mel_stats; is it another model's file?")
    model = XttsModel(gpt, vocoder, speaker, codec, stats)
    model.eval()
    return model


def from_folder(folder: Path) -> tuple[XttsModel, XttsSettings]:
    settings = read_settings(folder / "config.json")
    weights = released_weights(folder / "model.pth")
    dvae = tensors(read(folder / "dvae.pth"), folder / "dvae.pth")
    stats = read(folder / "mel_stats.pth")
    if not isinstance(stats, Tensor) or not torch.equal(stats.float(), weights.setdefault("mel_stats", stats).float()):
        raise ModelError(f"{folder}/mel_stats.pth is not the one that model.pth was trained with; download both again")
    return model_of(weights, dvae, settings, folder / "model.pth", folder / "dvae.pth"), settings


def released_weights(path: Path) -> dict[str, Tensor]:
    """Of model.pth, or of a checkpoint that upstream's trainer wrote, which has more around them."""
    saved = read(path, PICKLED)
    inner = saved.get("model", saved) if isinstance(saved, Mapping) else saved
    state = tensors(inner, path)
    return under(state, TRAINER) if any(key.startswith(f"{TRAINER}gpt.") for key in state) else state


def stock_speakers(path: Path) -> dict[str, StockSpeaker]:
    if not path.is_file():
        return {}
    saved: Any = read(path)
    try:
        return {
            name: StockSpeaker(entry["gpt_cond_latent"].float(), entry["speaker_embedding"].float().flatten(1))
            for name, entry in saved.items()
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is no table of speakers with gpt_cond_latent and speaker_embedding") from error
