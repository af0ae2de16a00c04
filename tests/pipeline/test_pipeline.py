"""What an edit costs, row by row, in a real git + DVC repository; and what survives a kill, a clone and a revert."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.conftest import MAPS, Repository, Repro, environment
from tests.support import warm_python
from tests.support.build import add_recording
from tests.support.files import contents
from tests.support.paths import ROOT
from tests.support.shared import built_once
from timbre import tracking
from timbre.core.records import Example, Sample, from_json, read_jsonl

pytestmark = pytest.mark.pipeline

AFTER_TRAINING = ["generate", "listen", "evaluate", "report", "track"]
LEARN_AGAIN = ["train", *AFTER_TRAINING]
STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]


def runs(repository: Repository) -> int:
    """Finished MLflow runs in the repository's store."""
    client = tracking.connect(f"sqlite:///{repository.root}/mlflow.db")
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return sum(tracking.is_complete(run) for run in client.search_runs(ids))


def learns_again(repository: Repository) -> bool:
    """Whether DVC would train; what comes after training is in the row of a word."""
    return "changed deps" in repository.run("dvc", "status", "train").stdout


@dataclass(frozen=True)
class Corrected:
    """A repository in which one word of one line was changed, and what that run did."""

    repository: Repository
    done: Repro
    file: str
    old: str
    new: str


@pytest.fixture(scope="module")
def corrected(made: Repository, tmp_path_factory: pytest.TempPathFactory) -> Corrected:
    """Built once, whichever processes the tests below run in."""
    root = built_once(tmp_path_factory, "corrected", partial(correct, made))
    done = json.loads((root / "done.json").read_text())
    return Corrected(Repository(root / "voice", made.warm), Repro(done["code"], done["output"]), *done["edit"])


def correct(made: Repository, root: Path) -> None:
    repository = made.copy(root / "voice")
    cloned = from_json((repository.root / "reports/samples/base_clone-one-0.json").read_text(), Sample, "sample")
    learnt = read_jsonl(repository.root / "data/dataset/train.jsonl", Example)
    # not the clip that is cloned from: another word in it would be another way to speak for the base too
    old = next(row for row in learnt if row.id != cloned.reference).text.split(".")[0]
    edit = f"data/transcripts/{old.split()[-1]}.tsv", old, f"{old} again"
    repository.edit(*edit)
    done = repository.repro()
    (root / "done.json").write_text(json.dumps({"code": done.code, "output": done.output, "edit": edit}))


def test_nothing_changed_runs_no_stage_and_adds_no_run(repository: Repository) -> None:
    assert repository.repro().ran == []
    assert runs(repository) == 1


def test_a_word_costs_no_cut_and_no_codec_frame(made: Repository, corrected: Corrected) -> None:
    done = corrected.done
    assert done.ran == ["segment", "chunk", "check", "dataset", *LEARN_AGAIN]
    assert done.computed("chunk") == 0
    assert done.computed("encode") == done.computed("check") == 0
    assert contents(corrected.repository.root / "data/clips") == contents(made.root / "data/clips")
    assert done.computed("evaluate") <= done.computed("generate") == 6, "the tuned samples; only new sound is heard"
    assert runs(corrected.repository) == 2


def test_a_revert_computes_nothing_and_adds_no_run(made: Repository, corrected: Corrected, tmp_path: Path) -> None:
    repository = corrected.repository.copy(tmp_path / "voice")
    repository.edit(corrected.file, corrected.new, corrected.old)
    done = repository.repro()
    assert done.trained is False
    assert not [stage for stage in MAPS if done.computed(stage)]
    assert done.restored("generate") == done.restored("evaluate") == 6, "the tuned samples"
    assert repository.lock() == made.lock()
    assert runs(repository) == 2


def test_a_change_that_leaves_the_words_costs_segment_and_the_report(repository: Repository) -> None:
    repository.edit("data/transcripts/alpha.tsv", "the third", "the  third")
    assert repository.repro().ran == ["segment", "report"], "the report reads whose voice each line is"


def test_a_review_flag_costs_segment_and_the_report(repository: Repository) -> None:
    repository.edit("data/transcripts/alpha.tsv", "\t\tThis is the third", "\tok\tThis is the third")
    assert repository.repro().ran == ["segment", "report", "track"]


def test_a_speakers_entry_costs_segment_dataset_and_the_report(repository: Repository) -> None:
    repository.edit("data/speakers.yaml", "name: Ann, a sound", "name: Ann, a sound that no person makes")
    ran = repository.repro().ran
    assert ran == ["segment", "dataset", "report"], "a number might be new; the report asks which voices may be heard"


def test_a_segments_times_cut_and_encode_only_the_clips_that_contain_it(repository: Repository) -> None:
    before = set(contents(repository.root / "data/clips"))
    repository.edit("data/transcripts/alpha.tsv", "9.00\t12.00", "9.00\t11.60")
    done = repository.repro("dataset", "encode")
    assert done.ran == ["segment", "chunk", "check", "dataset", "encode"]
    assert learns_again(repository)
    changed = set(contents(repository.root / "data/clips")) - before
    assert len({Path(name).stem for name in changed}) == done.computed("chunk") <= 2
    assert done.computed("encode") == done.computed("check") == done.computed("chunk")
    assert done.computed("speech") == 0, "where somebody speaks is known"


def test_a_new_recording_computes_its_own_entries_only(repository: Repository) -> None:
    add_recording(repository.root, "gamma", seed=3)
    done = repository.repro("dataset", "encode")
    assert done.ran == ["fetch", "transcribe", "segment", "chunk", "check", "dataset", "encode"]
    assert learns_again(repository)
    assert done.computed("fetch") == done.computed("transcribe") == 1
    clips = (repository.root / "data/chunks/clips.jsonl").read_text()
    assert done.computed("chunk") == done.computed("encode") == clips.count('"recording": "gamma"') > 0


def test_a_prompt_costs_its_own_samples(repository: Repository) -> None:
    with (repository.root / "data/prompts.tsv").open("a") as prompts:
        prompts.write("extra\tdomain\tOne more sentence.\n")
    done = repository.repro()
    assert done.ran == AFTER_TRAINING
    assert done.computed("generate") == done.computed("evaluate") == 4, "one prompt in four conditions"


def test_a_scorer_hears_again_and_makes_a_run(repository: Repository) -> None:
    now = re.findall(r"^VERSION = \d+", (repository.root / "stages/evaluate.py").read_text(), re.MULTILINE)
    repository.edit("stages/evaluate.py", *now, "VERSION = 1000")
    done = repository.repro()
    assert done.ran == ["evaluate", "track"], "it heard the same, so the page is the same"
    assert done.computed("evaluate") == len(list((repository.root / "reports/samples").glob("*.json")))
    assert runs(repository) == 2


def test_the_learning_rate_costs_training_and_after(repository: Repository) -> None:
    repository.edit("params.yaml", "learning_rate: 0.001 ", "learning_rate: 0.002 ")
    done = repository.repro("generate")
    assert done.ran == ["train", "generate"], "and what comes after, as in the row of a word"
    tuned = list((repository.root / "reports/samples").glob("tuned*.json"))
    assert done.computed("generate") == len(tuned), "the base's samples stay, the tuned ones are spoken again"


def test_a_report_template_costs_the_report(repository: Repository) -> None:
    template = repository.root / "timbre/report/page/page.html"
    template.write_text(template.read_text() + "\n<!-- another line -->\n")
    assert repository.repro().ran == ["report", "track"]


def test_what_no_stage_uses_costs_nothing(repository: Repository) -> None:
    for file in ("timbre/commands/cli.py", "timbre/commands/doctor.py", "README.md"):
        path = repository.root / file
        path.write_text((path.read_text() if path.exists() else "") + "\n# a comment\n")
    assert repository.repro().ran == []


def test_a_clone_pulls_and_has_nothing_to_do(corrected: Corrected, tmp_path: Path) -> None:
    repository = corrected.repository.copy(tmp_path / "voice")
    repository.run("dvc", "remote", "add", "-d", "shared", str(tmp_path / "remote"))
    repository.commit("Correct a word")
    repository.run("dvc", "push")
    repository.run("git", "clone", "-q", str(repository.root), str(tmp_path / "clone"))
    clone = Repository(tmp_path / "clone", repository.warm)
    clone.run("dvc", "pull")
    assert clone.repro().ran == ["track"], "the clone's own store knows nothing of the version yet"
    assert clone.repro().ran == []
    assert runs(clone) == 1
    (repository.root / "reports/speed.json").unlink()  # what this machine took, which is no out
    assert contents(clone.root / "reports") == contents(repository.root / "reports")
    clone.edit("data/transcripts/alpha.tsv", "9.00\t12.00", "9.00\t11.60")
    assert clone.repro("encode").computed("encode") <= 2, "in a clone too, an edit computes only what it touches"


def test_a_partial_clone_never_builds_a_partial_dataset(repository: Repository) -> None:
    (repository.root / "data/raw/beta.json").unlink()
    done = repository.run("python", "-m", "stages.segment", *SEGMENT, check=False)
    assert done.returncode == 1
    assert "beta" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


SEGMENT = [
    *("--sources", "data/sources.yaml", "--speakers", "data/speakers.yaml", "--raw", "data/raw"),
    *("--drafts", "data/drafts", "--turns", "data/turns", "--transcripts", "data/transcripts"),
    *("--out", "data/segments", "--review", "data/review.json"),
]


@pytest.mark.parametrize(
    ("stage", "folder", "pattern"),
    [
        ("transcribe", "data/drafts", "*.json"),
        ("encode", "data/codes/csm", "*.json"),
        ("train", ".timbre/train", "**/state.pt"),
        ("generate", "reports/samples", "*.json"),
    ],
)
def test_a_kill_loses_nothing_that_was_finished(
    repository: Repository, tmp_path: Path, stage: str, folder: str, pattern: str
) -> None:
    whole = repository.lock()
    outs = {
        "transcribe": "data/drafts",
        "encode": "data/codes/csm",
        "train": "models/adapter",
        "generate": "reports/samples",
    }
    expected = contents(repository.root / outs[stage])
    shutil.rmtree(repository.root / outs[stage])
    shutil.rmtree(repository.root / ".timbre", ignore_errors=True)
    forget(repository, stage)
    place = repository.root / folder
    repository.kill_in(stage, lambda: place.exists() and any(place.glob(pattern)))
    finished = len(list(place.glob(pattern)))
    assert finished < len(expected) or stage == "train"
    done = repository.repro()
    assert stage in done.ran
    if stage == "train":
        assert "goes on from step" in done.output
    else:
        total = len([name for name in expected if name.endswith(".json")])
        assert done.computed(stage) <= total - finished + 1
    assert contents(repository.root / outs[stage]) == expected
    assert parsed(repository.lock()) == parsed(whole)


def parsed(lock: str) -> Any:
    return YAML(typ="safe").load(lock)


def forget(repository: Repository, stage: str) -> None:
    """As if the stage had never run: neither the lock nor the run cache knows it."""
    lock = parsed(repository.lock())
    del lock["stages"][stage]
    with (repository.root / "dvc.lock").open("w") as stream:
        YAML().dump(lock, stream)
    shutil.rmtree(repository.root / ".dvc/cache/runs", ignore_errors=True)


def test_two_folders_with_different_hash_seeds_give_the_same_hashes(made: Repository, tmp_path: Path) -> None:
    """A clone in another folder computes everything anew, by processes that order their sets in another way."""
    root = tmp_path / "deep/voice"
    made.run("git", "clone", "-q", str(made.root), str(root))
    (root / "dvc.lock").unlink()
    with warm_python.folder(environment(PYTHONHASHSEED="12345")) as seeded:
        done = Repository(root, seeded).repro()
    assert set(done.ran) == set(STAGES), "nothing was there already"
    assert (root / "dvc.lock").read_text() == made.lock()


def test_four_mistakes_in_params_are_four_lines_and_nothing_is_lost(repository: Repository) -> None:
    made = contents(repository.root / "data")
    repository.edit("params.yaml", "  max_seconds: 8", "  max_second: 8")  # unknown, and missing
    repository.edit("params.yaml", "  learning_rate: 0.001", "  learning_rate: fast")
    repository.edit("params.yaml", "  temperature: 0.6", "  temperature: -1")
    done = repository.repro(check=False)
    assert done.code != 0
    assert done.ran == ["chunk"], "the first stage that reads params"
    errors = [line for line in done.output.splitlines() if line.startswith("error: params.yaml:")]
    assert len(errors) == 4, done.output
    assert "chunk.max_second: unknown key; did you mean `chunk.max_seconds`?" in done.output
    assert "train.learning_rate: 'fast' is not a number" in done.output
    repository.run("git", "checkout", "params.yaml")
    mended = repository.repro()
    assert mended.ran == ["chunk"], "DVC removes a stage's tables before it starts"
    assert mended.computed("chunk") == 0
    assert contents(repository.root / "data") == made


def test_a_bad_transcript_line_stops_at_segment_and_nothing_is_lost(repository: Repository) -> None:
    segments = contents(repository.root / "data/segments")
    repository.edit("data/transcripts/alpha.tsv", "9.00\t12.00", "12.40\t12.10")
    repository.edit("data/transcripts/beta.tsv", "9.00\t12.00", "9.00\t99.00")
    done = repository.repro(check=False)
    assert done.code != 0
    assert "error: data/transcripts/alpha.tsv:4: end 12.10 is before start 12.40" in done.output
    assert "error: data/transcripts/beta.tsv:4: end 99.00 is beyond the recording" in done.output
    repository.run("git", "checkout", "data/transcripts")
    assert repository.repro().ran == []
    assert contents(repository.root / "data/segments") == segments
