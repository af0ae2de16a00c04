"""A model that others published is weights and settings: none of its code runs, and its key tells every file."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.support.paths import ROOT
from timbre import families
from timbre.asr import faster_whisper
from timbre.core.sections import SpeakerParams, VoiceParams, WhisperParams
from timbre.evaluation import speaker_encoder
from timbre.families.published import harmless

FILES = [path for folder in ("timbre", "stages", "models", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
DIARISATION = ROOT / "timbre/evaluation/diarisation.py"  # whose makers' loader has no such switch
PEFT = ("PeftModel.from_pretrained", "_peft().PeftModel.from_pretrained")
TABLES = ("nn.Embedding.from_pretrained", "torch.nn.Embedding.from_pretrained")  # of numbers that are here
OURS = ("from_pretrained", *PEFT, *TABLES, "Csm.from_pretrained")  # that take no code in the first place


def calls(path: Path, *names: str) -> list[list[ast.Call]]:
    """For each name, the calls of functions and methods of that name."""
    text = path.read_text()
    if not any(name in text for name in names):
        return [[] for _ in names]
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    called = [(getattr(node.func, "attr", getattr(node.func, "id", "")), node) for node in nodes]
    return [[node for its, node in called if its == name] for name in names]


def test_nothing_is_unpickled_and_no_code_of_a_model_is_run() -> None:
    wrong = []
    for path in FILES:
        loads, pretrained = calls(path, "load", "from_pretrained")
        loads = [call for call in loads if ast.unparse(call.func) in ("torch.load", "np.load")]
        wrong += [ast.unparse(call) for call in loads if is_unsafe(call)]
        if path.is_relative_to(ROOT / "timbre"):
            ours = (*OURS, "Pipeline.from_pretrained") if path == DIARISATION else OURS
            foreign = [call for call in pretrained if ast.unparse(call.func) not in ours]
            texts = map(ast.unparse, foreign)
            wrong += [text for text in texts if not any(word in text for word in ("**SAFE", "**WEIGHTS"))]
    assert wrong == []
    (load,) = calls(DIARISATION, "from_pretrained")[0]
    assert f"with weights_alone():\n{' ' * 12}pipeline = {ast.unparse(load)}\n" in DIARISATION.read_text()


def is_unsafe(load: ast.Call) -> bool:
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in load.keywords}
    pickles = ast.unparse(load.func) == "torch.load" and given.get("weights_only") != "True"
    return pickles or "allow_pickle" in given


def test_a_configuration_names_no_code_at_any_depth() -> None:
    code = {"auto_map": {"AutoModel": "evil.Model"}, "_attn_implementation": "evil/kernel"}
    assert harmless({**code, "size": 3, "codec_config": {**code, "layers": [code, 1]}}) == {
        "size": 3,
        "codec_config": {"layers": [{}, 1]},
    }


def test_a_key_tells_which_folder_a_file_is_in(project: Path) -> None:
    keys = []
    for first, second in (("a", "b"), ("b", "a")):
        for name, content in {"one/x.json": first, "two/x.json": second}.items():
            path = project / "model" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        folder = str(project / "model")
        keys.append(
            (
                families.fingerprint(VoiceParams("csm", folder, None)),
                speaker_encoder.fingerprint(SpeakerParams(folder, None)),
                faster_whisper.fingerprint(WhisperParams(folder)),
            )
        )
    assert all(before != after for before, after in zip(*keys, strict=True))
