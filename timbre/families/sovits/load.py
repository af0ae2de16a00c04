"""GPT-SoVITS' checkpoints, whole or not at all: released ones, and voices that its tools exported.

s1*.ckpt     stage 1: `weight` (half precision), `config`, `info`
s2G*.pth     stage 2, likewise; an exported voice lacks the posterior `enc_q`, so it speaks and is trained no further
s2D*.pth     the discriminators, which training stage 2 needs
sv/*.ckpt    who speaks, which v2Pro and v2ProPlus hear beside the style
chinese-hubert-base/    what the codes are made of
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from timbre.core.errors import ModelError
from timbre.families import lean_transformers
from timbre.families.checkpoints import fit, local_folder, missing, plain, read, renamed, size, tensors, under, without
from timbre.families.published import SAFE, harmless, quiet
from timbre.families.sovits.discriminators import PERIODS, WAVE_LAYERS, Discriminators
from timbre.families.sovits.encoders import Widths
from timbre.families.sovits.shape import RELEASED, SPEAKERS, VERSIONS
from timbre.families.sovits.speaker_vector import CLASSIFIER, SpeakerNet
from timbre.families.sovits.stage1 import BERT, Stage1
from timbre.families.sovits.stage2 import Stage2
from timbre.families.sovits.text import PHONES

CONFIG_CLASS = "utils.HParams"  # of upstream, which stage 2's files pickle
REFUSED = {
    b"00": "v1", b"01": "v2, of a kind that begins with 01", b"02": "v3", b"03": "v3 with LoRA", b"04": "v4 with LoRA",
}  # fmt: skip
STAGE2_SIZES = (
    "hidden_channels", "inter_channels", "filter_channels", "gin_channels", "n_heads", "n_layers", "kernel_size",
    "upsample_rates", "upsample_kernel_sizes", "upsample_initial_channel",
)  # fmt: skip
SUPPORTED = "v2, v2Pro and v2ProPlus are"
ZIP = b"PK"
Module = TypeVar("Module", bound=nn.Module)
LAYERS = {"in_proj_": "in_proj."}  # torch's attention keeps its input projection as bare tensors
NORMS = {".weight_g": ".parametrizations.weight.original0", ".weight_v": ".parametrizations.weight.original1"}
QUANTISER = "quantizer.vq.layers.0._codebook."
POSTERIOR = "enc_q."
SPEAKER_KEY = "sv_emb.weight"  # of v2Pro and v2ProPlus alone
PLUS_WIDTH = 768  # of v2ProPlus' vocoder; v2Pro's has 512
HUBERT = "chinese-hubert-base"
STAGE2_FILE = "s2G*.pth"
HUB_FILES = (
    f"{RELEASED}/s1bert25hz-5kh-longer-epoch=12-step=369668.ckpt", f"{RELEASED}/s2G2333k.pth",
    f"{RELEASED}/s2D2333k.pth", f"{HUBERT}/config.json", f"{HUBERT}/pytorch_model.bin",
)  # fmt: skip


class CodecParts(NamedTuple):
    """What makes codes of sound, and sound of codes."""

    stage2: Stage2
    hubert: nn.Module
    speakers: SpeakerNet | None  # of v2Pro


class SovitsBase(NamedTuple):
    """A whole GPT-SoVITS."""

    stage1: Stage1
    codec: CodecParts
    judges: Discriminators | None
    configs: tuple[dict[str, Any], dict[str, Any]]  # of both stages, as they lie in the files
    quantiser: dict[str, Tensor]  # what lies beside the codebook and only served to train it


class SovitsFile(NamedTuple):
    weight: dict[str, Tensor]
    config: dict[str, Any]
    path: Path
    begun: str = ""  # the version that its first two bytes say


def read_file(path: Path) -> SovitsFile:
    """`weight` and `config` of a stage's file."""
    if not path.is_file():
        raise missing(path)
    with path.open("rb") as file:
        head = file.read(2)
    if head in REFUSED:
        raise ModelError(f"{path} is of GPT-SoVITS {REFUSED[head]}; only {SUPPORTED} supported here")
    content = ZIP + path.read_bytes()[2:] if head in VERSIONS else None
    saved = read(path, (CONFIG_CLASS,), content=content)
    if not isinstance(saved, Mapping) or "weight" not in saved:
        raise ModelError(f"{path} holds no `weight`; is it a checkpoint of GPT-SoVITS?")
    weight = tensors(saved["weight"], path)
    if any(key.startswith(("cfm.", "bridge.")) for key in weight):
        raise ModelError(f"{path} is of GPT-SoVITS v3 or v4, which make sound in another way; take v2 or v2Pro")
    return SovitsFile(weight, plain(saved.get("config", {})), path, VERSIONS.get(head, ""))


def stage1_of(file: SovitsFile) -> Stage1:
    state = renamed(under(file.weight, "model."), LAYERS)
    sizes = section(file, "model", ("hidden_dim", "vocab_size", "head", "n_layer", "EOS", "phoneme_vocab_size"))
    supported(sizes["phoneme_vocab_size"], file.path)
    if size(state, "bert_proj.weight", 1, file.path) != BERT:
        raise ModelError(f"{file.path} hears another text model than chinese-roberta-wwm-ext-large")
    model = built(lambda: Stage1(sizes), file.path)
    fit(model, state, str(file.path))
    model.eval()
    return model


def stage2_of(file: SovitsFile) -> Stage2:
    sizes = section(file, "model", STAGE2_SIZES)
    section(file, "train", ("segment_size",))
    phones = size(file.weight, "enc_p.text_embedding.weight", 0, file.path)
    supported(phones, file.path)
    sizes["version"] = version_of(file, sizes)
    state = renamed(without(file.weight, [QUANTISER]), NORMS)
    state["codebook"] = codebook(file)
    width = size(file.weight, SPEAKER_KEY, 1, file.path) if SPEAKER_KEY in file.weight else 0
    widths = widths_of(file)
    model = built(lambda: Stage2(file.config, phones, width, widths), file.path)
    if exported(file):
        model.enc_q = None
    fit(model, state, str(file.path))
    model.eval()
    return model


def widths_of(file: SovitsFile) -> Widths:
    return Widths(
        size(file.weight, "ssl_proj.weight", 1, file.path), size(file.weight, "enc_p.mrte.c_pre.weight", 0, file.path)
    )


def built(make: Callable[[], Module], path: Path) -> Module:
    """The module of a config that may hold anything."""
    try:
        return make()
    except (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError) as error:
        reason = str(error).strip().splitlines()[0][:100] if str(error).strip() else type(error).__name__
        raise ModelError(f"{path}: its config describes no such model ({reason}); download the file again") from error


def version_of(file: SovitsFile, sizes: Mapping[str, Any]) -> str:
    """By its first bytes, its config, or its weights: a base that upstream published need not name its version."""
    said = file.begun or str(sizes.get("version", ""))
    if SPEAKER_KEY not in file.weight:
        if "Pro" in said:
            raise ModelError(f"{file.path} says {said}, its weights are of v2; take the file from where it was made")
        return "v2"
    if "Pro" in said:
        return said
    return "v2ProPlus" if sizes.get("upsample_initial_channel") == PLUS_WIDTH else "v2Pro"


def speakers_of(path: Path, stage2: Stage2) -> SpeakerNet:
    if not path.is_file():
        raise ModelError(
            f"voice.base: {stage2.version} also hears who speaks, and {path} is missing; fetch {SPEAKERS} of "
            "lj1995/GPT-SoVITS"
        )
    state = without(tensors(read(path), path), [CLASSIFIER])
    model = SpeakerNet(size(state, "conv1.weight", 0, path))
    fit(model, state, f"{path}, as an ERes2NetV2,")
    heard = size(stage2.state_dict(), "sv_emb.weight", 1, path)
    if model.width != heard:
        raise ModelError(f"{path} makes vectors of {model.width}, and stage 2 hears {heard}; take the released one")
    model.requires_grad_(False)
    model.eval()
    return model


def exported(file: SovitsFile) -> bool:
    """Whether the posterior is left out, without which a voice only speaks."""
    return not any(key.startswith(POSTERIOR) for key in file.weight)


def codebook(file: SovitsFile) -> Tensor:
    """The quantiser's codes; what else lies beside them only served to train it."""
    key = f"{QUANTISER}embed"
    if key not in file.weight:
        raise ModelError(f"{file.path} lacks {key}; is it another model's file?")
    return file.weight[key]


def beside_codebook(file: SovitsFile) -> dict[str, Tensor]:
    return {key: value for key, value in file.weight.items() if key.startswith(QUANTISER) and not key.endswith("embed")}


def discriminators_of(file: SovitsFile, version: str) -> Discriminators:
    widest = size(file.weight, "discriminators.0.convs.5.bias", 0, file.path)
    model = Discriminators(PERIODS["v2Pro" if "Pro" in version else "v2"], WAVE_LAYERS[-1][0] // widest)
    fit(model, renamed(file.weight, NORMS), f"{file.path}, as the discriminators of {version},")
    model.eval()
    return model


def section(file: SovitsFile, name: str, keys: tuple[str, ...]) -> dict[str, Any]:
    content = file.config.get(name)
    lacking = [key for key in keys if not isinstance(content, dict) or key not in content]
    if lacking:
        raise ModelError(f"{file.path}: its config lacks {name}.{lacking[0]}; is it of this stage, and of v2 or v2Pro?")
    assert isinstance(content, dict)
    return content


def supported(phones: int, path: Path) -> None:
    if phones != PHONES:
        raise ModelError(f"{path} knows {phones} phones: GPT-SoVITS v1; only v2 and later, which know {PHONES}, are")


def half(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As upstream keeps weights."""
    return {key: value.detach().cpu().to(torch.float16) for key, value in state.items()}


def load_base(base: str, revision: str | None) -> SovitsBase:
    folder = folder_of(base, revision)
    first, second = (read_file(one_of(folder, kind)) for kind in ("*.ckpt", STAGE2_FILE))
    codec, judges = codec_of(folder, second), judges_of(folder, second.path)
    return SovitsBase(
        stage1_of(first), codec, discriminators_of(read_file(judges), codec.stage2.version) if judges else None,
        (first.config, second.config), beside_codebook(second),
    )  # fmt: skip


def load_codec_parts(base: str, revision: str | None) -> CodecParts:
    folder = folder_of(base, revision)
    return codec_of(folder, read_file(one_of(folder, STAGE2_FILE)))


def folder_of(base: str, revision: str | None) -> Path:
    return Path(base) if Path(base).is_dir() else local_folder(base, revision, HUB_FILES).parent


def codec_of(folder: Path, second: SovitsFile) -> CodecParts:
    stage2 = stage2_of(second)
    speakers = speakers_of(folder / SPEAKERS, stage2) if stage2.pro else None
    return CodecParts(stage2, hubert_of(folder / HUBERT), speakers)


def one_of(folder: Path, pattern: str) -> Path:
    """The only file of this kind; of several, that of the released v2."""
    found = candidates(folder, pattern) or [path for path in candidates(folder, "*.pth") if not _judges(path)]
    if not found or (pattern.endswith(".ckpt") and found[0].suffix != ".ckpt"):
        raise ModelError(f"voice.base: {folder} has no {pattern}; is it a folder of GPT-SoVITS?")
    released = [path for path in found if path.parent.name == RELEASED]
    if len(released or found) > 1:
        names = ", ".join(path.name for path in found)
        raise ModelError(f"voice.base: {folder} has several files of one stage ({names}); leave one of them there")
    return (released or found)[0]


def candidates(folder: Path, pattern: str) -> list[Path]:
    """In the folder or one below, without those of other models that upstream keeps beside them."""
    found = [*folder.glob(pattern), *folder.glob(f"*/{pattern}")]
    return sorted(path for path in found if path.parent.name != "sv")


def judges_of(folder: Path, stage2: Path) -> Path | None:
    """The discriminators that stage 2 was published with; beside a file of another name, the only ones there are."""
    published = stage2.with_name(stage2.name.replace("s2G", "s2D"))
    if published != stage2 and published.is_file():
        return published
    found = candidates(folder, "s2D*.pth")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ModelError(f"voice.base: {folder} has several discriminators ({names}); leave those of {stage2.name}")
    return found[0] if found else None


def _judges(path: Path) -> bool:
    return path.name.startswith("s2D")


def hubert_of(folder: Path) -> nn.Module:
    quiet()
    from transformers import HubertConfig, HubertModel

    if not (folder / "config.json").is_file():
        raise missing(folder / "config.json")
    try:
        config = HubertConfig.from_dict(harmless(json.loads((folder / "config.json").read_text())))
        # The released weights are a pickle, which transformers unpickles as weights alone.
        with lean_transformers.uncompiled():
            model = HubertModel.from_pretrained(folder, config=config, dtype=torch.float32, **SAFE)
    except MemoryError:
        raise
    except Exception as error:  # transformers checks a config by exceptions of its own, some by none
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ModelError(f"{folder} cannot be loaded ({reason}); download it again") from error
    model.requires_grad_(False)
    hubert: nn.Module = model.eval()
    return hubert
