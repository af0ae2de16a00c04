"""A CSM that is loaded to speak, without transformers: the same sounds to the byte, and the rest when it is needed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.models.test_lean_transformers import python
from tests.support.paths import ROOT
from tests.support.tiny_models import write_random_adapter
from timbre import families
from timbre.core import running
from timbre.core.errors import ModelError
from timbre.core.sections import VoiceParams
from timbre.families import Precision, Request, Speaking, Turn
from timbre.families.csm import file_tokenizer, speaking_parts

TINY = ROOT / "models/tiny/csm"
TEXTS = ("the ferry waits", "[0]Edda, 7 hållkollisioner! ", "", "Ångström & <|AUDIO|> ﬁ\tx\n")
SPEAKS = """
import sys
from pathlib import Path
from timbre import families
from timbre.core.sections import VoiceParams
from timbre.families import Request, Speaking
voice = families.load(VoiceParams("csm", "{base}", None), Path("adapter"), speaking=True)
next(voice.stream(Request("the ferry waits", (), 0, 1.0), Speaking(0.9, 0, 1)))
print(*sys.modules)
"""


def loaded(folder: Path, adapter: Path | None = None, precision: Precision = "fp32", *, speaking: bool) -> Any:
    return families.load(VoiceParams("csm", str(folder), None), adapter, precision, speaking=speaking)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_adapter(TINY, tmp_path_factory.mktemp("adapter") / "adapter", 0)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_it_says_the_same_bytes_as_the_whole_model(adapter: Path, precision: Precision) -> None:
    random = np.random.default_rng(0)
    heard = Turn("the night", {"codes": random.integers(1, 500, (20, 8), dtype=np.int16)})
    requests = [Request("the ferry waits", context, 3, 1.0) for context in ((), (heard,))]
    whole, quick = (loaded(TINY, adapter, precision, speaking=speaking) for speaking in (False, True))
    assert quick.whole
    how = Speaking(0.9, 0, 2)
    for (one, one_ended), (other, other_ended) in zip(
        whole.speak(requests, how), quick.speak(requests, how), strict=True
    ):
        assert one.tobytes() == other.tobytes()
        assert one_ended == other_ended
        assert len(one)
    streamed = [b"".join(piece.tobytes() for piece in voice.stream(requests[1], how)) for voice in (whole, quick)]
    assert streamed[0] == streamed[1]


def test_without_an_adapter_too(folder: Path) -> None:
    request, how = Request("the ferry waits", (), 3, 1.0), Speaking(0.9, 0, 1)
    sounds = []
    for speaking in (False, True):
        (spoken,) = loaded(folder, speaking=speaking).speak([request], how)
        sounds.append(spoken.sound.tobytes())
    assert sounds[0] == sounds[1]


def test_its_weights_have_their_names_and_its_size_is_that_of_the_whole() -> None:
    whole, quick = (loaded(TINY, speaking=speaking) for speaking in (False, True))
    theirs = dict(whole.base.named_parameters()) | dict(whole.base.named_buffers())
    own = dict(quick.base.named_parameters())
    for name, weight in own.items():
        half = name.replace("codec_model.", "codec_model.decoder.")  # of newer releases' codecs
        names = (name, half, half.replace("decoder.decoder.layers", "decoder.decoder_seanet.layers"))
        assert torch.equal(next(theirs[key] for key in names if key in theirs), weight), name
    threads = []
    for voice in (whole, quick):
        threads.append(sum(weight.numel() for weight in voice.model.parameters()) + getattr(voice.model, "unread", 0))
    assert threads[0] == threads[1]


def test_a_large_model_gets_the_threads_of_all_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    quick, given = loaded(TINY, speaking=True), list[float]()
    monkeypatch.setattr(running, "threads", lambda parameters: given.append(parameters) or 1)
    running.settle(quick.model)
    read = sum(weight.numel() for weight in quick.model.parameters())
    assert given == [read + quick.model.unread]
    assert quick.model.unread > 1e6


def test_tokens_are_those_of_transformers() -> None:
    whole, quick = (loaded(TINY, speaking=speaking) for speaking in (False, True))
    for text in TEXTS:
        assert quick.tokenizer(text)["input_ids"] == whole.tokenizer(text, add_special_tokens=True)["input_ids"], text
    text = "the ferry xylophones"
    assert quick.unknown_words(text) == whole.unknown_words(text) != []


def test_it_loads_the_rest_of_its_codec_when_it_is_to_hear(adapter: Path) -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    whole, quick = (loaded(TINY, adapter, speaking=speaking) for speaking in (False, True))
    ((one,), (other,)) = (voice.encode([sound]) for voice in (whole, quick))
    assert (one["codes"] == other["codes"]).all()
    assert quick.whole, "its decoders are as they were"
    assert quick.decode(one["codes"]).tobytes() == whole.decode(one["codes"]).tobytes()


def test_it_loads_the_rest_when_it_is_to_learn(adapter: Path) -> None:
    quick = loaded(TINY, adapter, speaking=True)
    quick.complete()
    assert not quick.whole
    assert quick.base.config.architectures
    assert quick.codec.model is quick.base.codec_model


@pytest.mark.parametrize("speaking", [False, True])
def test_a_codec_keeps_all_digits_where_the_decoders_have_sixteen_bits(speaking: bool) -> None:
    """A GPU has them by default; the codes of a clip would be others there."""
    wide, narrow = (loaded(TINY, None, precision, speaking=speaking).base for precision in ("fp32", "bf16"))
    assert narrow.lm_head.weight.dtype == torch.bfloat16
    theirs = dict(narrow.codec_model.state_dict())
    for name, value in wide.codec_model.state_dict().items():
        assert torch.equal(value, theirs[name]), name


def test_transformers_is_not_imported_to_speak(adapter: Path, tmp_path: Path) -> None:
    shutil.copytree(adapter, tmp_path / "adapter")
    imported = python(SPEAKS.format(base=TINY), tmp_path).split()
    assert "timbre.families.csm.speaking_parts" in imported
    assert not {"transformers", "peft", "huggingface_hub", "sympy", "torch._dynamo"} & set(imported)


def changed(folder: Path, file: str, **values: Any) -> Path:
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_bytes()) | values))
    return folder


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("config.json", {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}}),
        ("config.json", {"attention_bias": True}),
        ("config.json", {"hidden_act": "gelu"}),
        ("tokenizer_config.json", {"add_bos_token": True}),
        ("tokenizer_config.json", {"extra_special_tokens": ["<|new|>"]}),
        ("tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer"}),
    ],
)
def test_what_is_unfamiliar_is_left_to_transformers(tmp_path: Path, file: str, values: dict[str, Any]) -> None:
    base = shutil.copytree(TINY, tmp_path / "csm")
    assert speaking_parts.read(base) is not None
    assert file_tokenizer.read(base) is not None
    changed(base, file, **values)
    assert speaking_parts.read(base) is None or file_tokenizer.read(base) is None


@pytest.mark.parametrize("damage", ["cut short", "without a weight", "another shape"])
def test_damage_is_told_as_ever(folder: Path, tmp_path: Path, damage: str) -> None:
    from safetensors.torch import load_file, save_file

    base = shutil.copytree(folder, tmp_path / "csm")
    weights = base / "model.safetensors"
    if damage == "cut short":
        weights.write_bytes(weights.read_bytes()[:10_000])
    else:
        kept = load_file(weights)
        head = kept.pop("lm_head.weight")
        save_file(
            kept if damage == "without a weight" else kept | {"lm_head.weight": head[1:]}, weights, {"format": "pt"}
        )
    with pytest.raises(ModelError, match="the folder is incomplete or damaged"):
        loaded(base, speaking=True)


@pytest.mark.parametrize("name", ["decoder.layers.0.conv.weight", "encoder.layers.0.conv.weight"])
def test_a_codec_without_a_weight_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    """transformers would fill it with noise."""
    from safetensors.torch import load_file, save_file

    base = shutil.copytree(folder, tmp_path / "csm")
    kept = load_file(base / "model.safetensors")
    del kept[f"codec_model.{name}"]
    save_file(kept, base / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="it lacks 1 weights, first"):
        families.load_codec(VoiceParams("csm", str(base), None)).encode([np.zeros(8000, np.float32)])


def test_an_adapter_that_peft_must_put_on_gets_the_whole_model(adapter: Path, tmp_path: Path) -> None:
    other = changed(shutil.copytree(adapter, tmp_path / "adapter"), "adapter_config.json", lora_bias=True)
    assert loaded(TINY, adapter, speaking=True).whole
    with pytest.raises(ModelError, match="does not fit the base model"):
        loaded(TINY, other, speaking=True)


@pytest.mark.parametrize(("megabytes", "threads"), [(10, 1), (100, 2)])
def test_a_small_model_is_loaded_by_one_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, megabytes: int, threads: int
) -> None:
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(megabytes * 1_000_000)
    monkeypatch.setattr(running, "cores", lambda: 2)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with running.loading(tmp_path):
            assert torch.get_num_threads() == threads
        assert torch.get_num_threads() == 2
        with running.loading(Path("owner/name")):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
