"""The `timbre` command as people run it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import timbre
from tests.support.paths import ROOT
from timbre.audio import flac_bytes, sha256
from timbre.commands import cli
from timbre.core import errors

HEAVY = {"torch", "transformers", "mlflow", "whisper", "datasets"}


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    """Command → what `--help` prints, and which libraries are loaded then; of all in one process, one after another."""
    code = (
        "import sys; from timbre.commands.cli import execute\n"
        "for name in sys.argv[1:]:\n"
        "    try: execute([name, '--help'] if name else ['--help'])\n"
        "    except SystemExit: pass\n"
        f"    print('loaded:', sorted({HEAVY!r} & set(sys.modules)), end='=====')"
    )
    names = ["", *cli.COMMANDS]
    done = subprocess.run([sys.executable, "-c", code, *names], cwd=ROOT, capture_output=True, text=True, check=True)
    return dict(zip(names, done.stdout.removesuffix("=====").split("====="), strict=True))


@pytest.mark.parametrize("command", ["", *cli.COMMANDS])
def test_help_shows_an_example_and_loads_no_model_library(command: str, helps: dict[str, str]) -> None:
    assert f"\n  timbre {command}" in helps[command].split("examples:")[1]
    assert helps[command].endswith("loaded: []")


def test_every_command_is_a_module_that_says_what_it_does() -> None:
    text = cli.parser().format_help()
    for name in cli.COMMANDS:
        assert re.search(rf"\n    {name}\s", text)
        assert f"  timbre {name}" in text


def test_garbage_is_not_looked_for_until_the_command_begins() -> None:
    code = (
        "import gc, sys; from timbre.commands import cli\n"
        "cli._run = lambda args: print(gc.isenabled(), gc.get_freeze_count() > 0)\n"
        "parsed = cli._parsed\n"
        "cli._parsed = lambda names: (print(gc.isenabled()), parsed(names))[1]\n"
        "sys.argv = ['timbre', 'completion', 'bash']; cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "True"]


def test_a_mistake_ends_in_one_line_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").touch()  # by which a project is known
    done = timbre("summary", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: reports/details.json: there is no voice yet; `dvc repro` makes one\n"


def test_a_summary_of_a_project_without_recordings_asks_for_one(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data/sources.yaml").write_text("[]\n")
    done = timbre("summary", cwd=tmp_path)
    assert done.stderr.startswith("error: data/sources.yaml: there is no recording yet; `timbre add FILE`")


def test_summary_shows_the_four_conditions_and_where_to_go(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    rates = {"wer": 0.5, "cer": 0.25, "ended": 1.0}
    metrics = dict.fromkeys(("base", "base_clone", "tuned", "tuned_clone"), rates)
    (tmp_path / "reports/metrics.json").write_text(json.dumps(metrics))
    (tmp_path / "dvc.yaml").touch()
    done = timbre("summary", cwd=tmp_path)
    assert done.returncode == 0
    for line in ("Base + cloning", "Tuned + cloning", "50.0%", "reports/index.html", "`dvc repro` records one"):
        assert line in done.stdout


def test_summary_says_what_people_prefer_and_who_is_not_counted(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    rates = {"wer": 0.5, "cer": 0.25, "ended": 1.0}
    liked = {"tuned_clone-base_clone": {"share": 0.78, "share_low": 0.7, "share_high": 0.86, "answers": 40}}
    counts = {"answers": 10, "catches": 6, "caught": 0, "reliable": False}
    why = "answered 0 of 6 catch trials as expected"
    people = {"preferences": liked, "heard": {}, "listeners": {"bea": {**counts, "why": why}}}
    conditions = dict.fromkeys(("base", "base_clone", "tuned", "tuned_clone"), rates)
    (tmp_path / "reports/details.json").write_text(json.dumps({**conditions, "people": people}))
    (tmp_path / "dvc.yaml").touch()
    shown = timbre("summary", cwd=tmp_path).stdout
    assert "people    Tuned + cloning over base + cloning: 78% (70–86) of 40 answers prefer it" in shown
    assert f"people    not counted: bea {why}" in shown


@pytest.fixture
def drafted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with two recordings and their drafts."""
    from tests.support.fake_outputs import voice

    for folder in ("recordings", "raw", "drafts", "transcripts"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    entries = []
    for number, name in enumerate(("noon", "night")):
        audio = voice(4.0, number)
        path = tmp_path / f"data/recordings/{name}.flac"
        path.write_bytes(flac_bytes(audio, 16_000))
        (tmp_path / f"data/raw/{name}.flac").write_bytes(path.read_bytes())
        who = {"speaker": "ann", "language": "en", "licence": "CC0-1.0", "consent": "given"}
        facts = {
            "origin": f"data/recordings/{name}.flac",
            "sha256": sha256(audio),
            "sample_rate": 16_000,
            "seconds": 4.0,
        }
        manifest = {"key": "k", "recording": {"id": name, **who, **facts}}
        (tmp_path / f"data/raw/{name}.json").write_text(json.dumps(manifest))
        segments = [
            {"start": 0.5, "end": 1.8, "text": " The tide comes in."},
            {"start": 2, "end": 3.5, "text": "It goes."},
        ]
        draft = {"key": "k", "audio_sha256": facts["sha256"], "segments": segments}
        (tmp_path / f"data/drafts/{name}.json").write_text(json.dumps(draft))
        entries.append({"id": name, "file": facts["origin"], **who})
    (tmp_path / "data/sources.yaml").write_text(json.dumps(entries))  # JSON is YAML
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_accept_begins_a_transcript_that_is_a_persons_from_then_on(drafted: Path) -> None:
    assert cli.execute(["accept", "noon"]) == 0
    path = drafted / "data/transcripts/noon.tsv"
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# audio: ")
    assert lines[-2:] == ["0.50\t1.80\tann\t\tThe tide comes in.", "2.00\t3.50\tann\t\tIt goes."]
    path.write_text(path.read_text().replace("tide", "time"))
    with pytest.raises(errors.TranscriptError, match=r"noon\.tsv: is there already, and yours"):
        cli.execute(["accept", "noon", "night"])
    assert not (drafted / "data/transcripts/night.tsv").exists(), "all or nothing"
    assert cli.execute(["accept", "--all"]) == 0
    assert "time" in path.read_text()
    assert (drafted / "data/transcripts/night.tsv").exists()


def test_accept_warns_of_a_draft_by_a_model_that_knows_none_of_its_words(
    drafted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (drafted / "models").mkdir()
    (drafted / "models/corpus.json").write_text('{"words": ["ferry", "pier"]}')
    (drafted / "params.yaml").write_text("whisper: {model: models/whisper.pt}\n")
    for name, sure in (("noon", (0.2, 0.9)), ("night", (0.99, 0.99))):
        draft = json.loads((drafted / f"data/drafts/{name}.json").read_text())
        for segment, probability, count in zip(draft["segments"], sure, (7, 3), strict=True):
            segment["words"] = [{"word": " a", "probability": probability}] * count
        (drafted / f"data/drafts/{name}.json").write_text(json.dumps(draft))
    cli.execute(["accept", "--all"])
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert warnings == [
        "warning: noon: models/whisper.pt knows only the 2 words of the demo, and is 41% sure of what it wrote here; "
        "`cp presets/csm-1b.yaml params.yaml` takes models for real speech, see docs/real-models.md"
    ], "of each word alike, as `transcribe` and `doctor` say, however many a line has"


def test_accept_all_with_nothing_left_writes_nothing(drafted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.execute(["accept", "--all"])
    cli.execute(["accept", "--all"])
    assert "every recording has a transcript; nothing written" in capsys.readouterr().out


def test_accept_refuses_an_unknown_recording_and_a_draft_of_other_audio(drafted: Path) -> None:
    with pytest.raises(errors.DataError, match=r"dawn: no such recording in data/sources\.yaml; there are noon, night"):
        cli.execute(["accept", "dawn"])
    draft = drafted / "data/drafts/noon.json"
    draft.write_text(draft.read_text().replace('"audio_sha256": "', '"audio_sha256": "0'))
    with pytest.raises(errors.DataError, match="noon: the draft was made from other audio"):
        cli.execute(["accept", "noon"])
    assert list((drafted / "data/transcripts").iterdir()) == []


def test_accept_wants_a_recording_or_all(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["accept"], ["accept", "--all", "noon"]):
        with pytest.raises(SystemExit, match="2"):
            cli.execute(arguments)
