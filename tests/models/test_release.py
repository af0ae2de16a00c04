"""`timbre release`: a folder that plain transformers loads, with the papers; and nothing without consent."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch
from ruamel.yaml import YAML

from tests.support.fake_outputs import write_samples
from tests.support.loopback_hub import Hub
from tests.support.paths import ROOT
from tests.support.speech_server import work_in_served
from timbre import families
from timbre.commands import cli
from timbre.core.errors import DataError, SourceError
from timbre.core.sections import VoiceParams
from timbre.exchange import voice_card, voice_versions
from timbre.exchange.model_cards import mark_of
from timbre.tracking import mlmodel


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return work_in_served(tmp_path_factory, tmp_path / "voice", monkeypatch)


def test_plain_transformers_says_the_same_from_a_release(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from transformers import AutoTokenizer, CsmForConditionalGeneration

    assert cli.execute(["release", "--out", "out"]) == 0
    assert "README.md" in capsys.readouterr().out
    base = YAML(typ="safe").load(place / "params.yaml")["voice"]["base"]
    tuned = families.load(VoiceParams("csm", base, None), place / "models/adapter", "bf16").model
    theirs = CsmForConditionalGeneration.from_pretrained("out/merged", dtype="auto").eval()
    assert theirs.dtype == torch.bfloat16
    ids = AutoTokenizer.from_pretrained("out/merged")("[0]the ferry", return_tensors="pt")["input_ids"]
    how = {"do_sample": False, "depth_decoder_do_sample": False, "max_new_tokens": 12}
    with torch.inference_mode():
        assert (theirs.generate(input_ids=ids, **how) == tuned.generate(input_ids=ids, **how)).all()
    manifest = json.loads(Path("out/release.json").read_text())
    assert {"README.md", "adapter/adapter_model.safetensors", "merged/model.safetensors"} <= set(manifest["sha256"])
    card = Path("out/README.md").read_text()
    assert manifest["version"] in card
    assert "| ann | ann | tests, serve, publish | Ann | 2026-01-01 |" in card
    assert "under its own licence, which Timbre does not know" in card
    assert f"`timbre say 'Good morning.' --voice {manifest['version'][:8]}`" in card
    usage = card.split("```python\n")[1].split("```")[0].replace("max_new_tokens=", "max_new_tokens=4 or ")
    run = subprocess.run([sys.executable, "-c", usage], cwd="out", capture_output=True)
    assert run.returncode == 0, run.stderr.decode()
    assert soundfile.info("out/spoken.wav").frames > 0
    Path("out/spoken.wav").unlink()
    assert cli.execute(["release", "--out", "out"]) == 0, "a release is replaced"


def test_nothing_is_released_without_consent_or_over_other_files(place: Path) -> None:
    people = place / "data/speakers.yaml"
    allowed = people.read_text()
    people.write_text(allowed.replace("tests, serve, publish", "tests, serve"))
    with pytest.raises(SourceError, match="ann did not consent to `publish`"):
        cli.execute(["release", "--out", "out"])
    people.write_text(allowed)
    with pytest.raises(DataError, match="models: holds other files"):
        cli.execute(["release", "--out", "models"])
    with pytest.raises(DataError, match="base: is the base alone"):
        cli.execute(["release", "base", "--out", "out"])
    assert not Path("out").exists()


PUSH = ["push", "voice", "ann/harbour", "--voice", "models/adapter"]
SOURCES = "- {id: talk, url: 'https://a.b/talk', speaker: ann, language: en, licence: CC-BY-4.0, consent: hers}\n"


def test_a_voice_is_pushed_as_a_model_with_its_papers(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "data/sources.yaml").write_text(SOURCES)
    hub = Hub()
    for name, value in {"ENDPOINT": hub.url, "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True}.items():
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
    monkeypatch.setenv("HF_TOKEN", "hf_ann")
    assert cli.execute([*PUSH, "--licence-understood", "--private"]) == 0
    hub.server.shutdown()
    told = capsys.readouterr().out
    assert told.splitlines()[0] == "ann/harbour, private:"
    assert "voice of ann; consent for: tests, serve, publish; given by: Ann; on: " in told
    assert "Timbre does not know the licence of the base model" in told
    assert told.splitlines()[-1] == f"sent: {hub.url}/ann/harbour"
    assert (hub.kinds, hub.private) == ({"ann/harbour": "model"}, {"ann/harbour": True})
    files = hub.repos["ann/harbour"]
    assert {"config.json", "model.safetensors", "adapter/adapter_model.safetensors", "release.json"} <= set(files)
    assert files["adapter/adapter_model.safetensors"] == Path("models/adapter/adapter_model.safetensors").read_bytes()
    card = files["README.md"].decode()
    about = YAML(typ="safe").load(card.split("---")[1])
    assert (about["license"], about["language"], about["pipeline_tag"]) == ("other", ["en"], "text-to-speech")
    assert 'from_pretrained("ann/harbour")' in card
    assert "Base model: base, a folder of the project that made this, under its own licence" in card, "no path"
    assert "Licences of the recordings: [CC-BY-4.0](https://creativecommons.org/licenses/by/4.0/)." in card
    about = mark_of(mlmodel.adapter_key(place / "models/adapter")).about()
    assert about["card"] == f"{hub.url}/ann/harbour", "what is spoken from now on names the card"


def test_a_dry_run_writes_what_would_go_and_its_samples_are_marked(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "data/sources.yaml").write_text(SOURCES)
    write_samples(place / "reports/samples", {"ferry": "The ferry waits.", "lantern": "The lantern waits."})
    worn = families.adapter_fingerprint(place / "models/adapter")
    for path in (place / "reports/samples").glob("tuned_clone-*.json"):
        path.write_text(path.read_text().replace("a1b2c3d4e5f60718", worn))
    assert cli.execute([*PUSH, "--dry-run", "--licence-understood"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "nothing sent; .timbre/push/harbour is what would go"
    sound = soundfile.SoundFile(".timbre/push/harbour/samples/ferry.flac")
    about = json.loads(sound.comment)
    assert about["voice"] == mlmodel.adapter_key(place / "models/adapter")
    assert about["card"].endswith("/ann/harbour")
    assert "- `samples/ferry.flac`: The ferry waits." in Path(".timbre/push/harbour/README.md").read_text()
    assert not Path(".timbre/push/harbour/samples/lantern.flac").exists(), "only sentences of the domain"


def test_a_voice_is_not_pushed_without_consent_licence_or_understanding(place: Path) -> None:
    dry = [*PUSH, "--dry-run"]
    with pytest.raises(DataError, match=r"learnt from talk, which data/sources\.yaml does not name"):
        cli.execute(dry)
    (place / "data/sources.yaml").write_text(SOURCES.replace("CC-BY-4.0", "unknown"))
    with pytest.raises(DataError, match=r"data/sources\.yaml: talk: licence 'unknown' allows nobody anything"):
        cli.execute(dry)
    (place / "data/sources.yaml").write_text(SOURCES)
    with pytest.raises(
        DataError,
        match="does not know the licence of the base model base, which goes on to apply; look at it, then add",
    ):
        cli.execute(dry)
    people = place / "data/speakers.yaml"
    people.write_text(people.read_text().replace("tests, serve, publish", "tests, serve"))
    with pytest.raises(SourceError, match="ann did not consent to `publish`"):
        cli.execute([*dry, "--licence-understood"])
    with pytest.raises(DataError, match="are of `timbre push voice`"):
        cli.execute(["push", "dataset", "ann/harbour", "--licence-understood"])
    assert not Path(".timbre/push/harbour").exists()


def test_other_repositories_find_the_voice_by_its_artifact() -> None:
    assert YAML(typ="safe").load(ROOT / "dvc.yaml")["artifacts"]["voice"]["path"] == "models/adapter"


def test_a_push_asks_for_nothing_where_the_base_is_free_and_its_card_says_so(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "data/sources.yaml").write_text(SOURCES)
    base = Path(YAML(typ="safe").load(place / "params.yaml")["voice"]["base"])
    for licence, asked in (("apache-2.0", False), ("cc-by-nc-4.0", True)):
        shutil.copytree(base, Path("own") / licence)
        (Path("own") / licence / "README.md").write_text(f"---\nlicense: {licence}\n---\n# A base\n")
        settings = (place / "params.yaml").read_text().replace(str(base), f"own/{licence}")
        (place / "params.yaml").write_text(settings)
        base = Path("own") / licence
        if asked:
            with pytest.raises(DataError, match=r"cc-by-nc-4.0; .*--licence-understood"):
                cli.execute([*PUSH, "--dry-run"])
        else:
            assert cli.execute([*PUSH, "--dry-run"]) == 0
            card = Path(".timbre/push/harbour/README.md").read_text()
            assert "license: apache-2.0\n" in card
            assert "under [apache-2.0](https://www.apache.org/licenses/LICENSE-2.0)" in card


def test_the_cards_words_are_explained_and_a_consent_is_no_sentence(place: Path) -> None:
    people = place / "data/speakers.yaml"
    people.write_text(people.read_text().replace("by: Ann", "by: nobody; a program | plays it"))
    version = voice_versions.find("models/adapter")
    voice = families.load(version.voice, version.adapter, "fp32")
    card = voice_card.card(version, voice, ["  wrong words"], [], None)
    assert "| nobody; a program &#124; plays it | 2026-01-01 |" in card
    for term in ("*Similarity*", "*named*", "*ended*", "*cloning*"):
        assert term in card
