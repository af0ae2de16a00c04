"""What is measured of a voice: by known answers, with the tiny models where somebody must listen."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from stages import evaluate
from tests.support.fake_outputs import RATE, SENTENCES, write_samples
from tests.support.paths import ROOT
from tests.support.scored_samples import LIMITS, MARINA, SCALE, sample, scored
from tests.support.tiny_models import random_whisper
from timbre import asr, audio, families
from timbre.core.content import content_key
from timbre.core.records import Example, to_json, write_jsonl
from timbre.core.sections import EvaluateParams, SpeakerParams, VoiceParams, WhisperParams
from timbre.evaluation import metrics, mos, scores
from timbre.evaluation.metrics import CONDITIONS, Evidence
from timbre.families import Turn
from timbre.families.codes import to_bytes
from timbre.mapping import batch
from timbre.project.transcripts import read as read_transcript
from timbre.report.verdict import VOID, verdict

TINY = ROOT / "models/tiny"


class World:
    """A repository's folders around `evaluate`: demo sentences held out, the tiny speaker encoder, other voices."""

    def __init__(self, root: Path, held_out: int, listener: Path) -> None:
        self.root, self.listener = root, listener
        table = read_transcript(ROOT / "data/transcripts/harbour-noon.tsv")
        rows = [row for row in table.lines if len(row.text.split()) > 5]
        self.rows = [self.example(row, number) for number, row in enumerate(rows[: held_out + 1])]
        write_jsonl(root / "data/dataset/eval.jsonl", self.rows[:-1])
        write_jsonl(root / "data/dataset/train.jsonl", self.rows[-1:])

    def example(self, row: Any, number: int) -> Example:
        name, path = content_key("clip", number), ROOT / "data/recordings/harbour-noon.flac"
        sound, rate = audio.read(path, None, row.start - 0.1, row.end + 0.1)
        (self.root / "data/clips").mkdir(parents=True, exist_ok=True)
        (self.root / f"data/clips/{name}.flac").write_bytes(audio.flac_bytes(sound, rate))
        seconds = row.end - row.start
        return Example(f"data/clips/{name}.flac", row.text, "marina", name, "noon", row.start, row.end, seconds)

    def clip(self, example: Example) -> np.ndarray:
        return audio.read(self.root / example.audio)[0]

    def encode(self) -> list[np.ndarray]:
        """Codes of every clip, the cloned one's too; gives what the codec makes of the held-out ones."""
        model = families.load_once(VoiceParams("csm", str(TINY / "csm"), None))
        (self.root / "data/codes").mkdir(exist_ok=True)
        codes = model.encode([self.clip(row) for row in self.rows])
        for row, code in zip(self.rows, codes, strict=True):
            (self.root / f"data/codes/{row.id}.safetensors").write_bytes(to_bytes(code))
        return [model.resound(Turn("", code), None) for code in codes[:-1]]

    def speak(self, condition: str, prompt: str, text: str, sound: np.ndarray) -> None:
        folder, name = self.root / "reports/samples", f"{condition}-{prompt}-0"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.flac").write_bytes(audio.flac_bytes(sound, RATE))
        cloned = self.rows[-1].id if condition.endswith("clone") else None
        made = sample(text, id=name, condition=condition, prompt=prompt, reference=cloned, seconds=len(sound) / RATE)
        (folder / f"{name}.json").write_text(to_json(made) + "\n")

    def read(self) -> Any:
        return SimpleNamespace(
            evaluate=EvaluateParams(4, str(TINY / "voices"), None, None, False, LIMITS),
            whisper=WhisperParams(str(self.listener)),
            speaker=SpeakerParams(str(TINY / "speaker"), None),
            voice=VoiceParams("csm", str(TINY / "csm"), None),
            compute=batch.HERE,
        )

    def evaluate(self, monkeypatch: pytest.MonkeyPatch) -> Evidence:
        monkeypatch.chdir(self.root)
        monkeypatch.setattr(evaluate, "read", self.read)
        outs = ("samples", "heard", "embeddings", "scores.csv", "wer.csv", "details.json", "metrics.json", "mos.json")
        paths = [
            *(Path("data", name) for name in ("dataset", "clips", "codes", "opinions")),
            *(Path("reports", out) for out in outs),
        ]
        evaluate.main(**{path.stem: path for path in paths})
        return metrics.read(self.root / "reports/details.json")


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Evidence]:
    """Samples of which we know what they are, instead of what a model said.

    base         other voices, whatever they say     base_clone   the speaker, with the texts swapped
    tuned        the speaker through the codec       tuned_clone  the same, and its last sample silent
    """
    world = World(tmp_path_factory.mktemp("known"), held_out=8, listener=TINY / "whisper.pt")
    coded, held_out = world.encode(), world.rows[:-1]
    others = sorted((TINY / "voices").rglob("0.flac"))
    for number, row in enumerate(held_out):
        swapped = held_out[(number + 1) % len(held_out)]
        silence = np.random.default_rng(0).normal(0, 5e-4, 3 * RATE).astype(np.float32)
        world.speak("base", f"p{number}", row.text, audio.read(others[number])[0])
        world.speak("base_clone", f"p{number}", row.text, world.clip(swapped))
        world.speak("tuned", f"p{number}", row.text, coded[number])
        world.speak("tuned_clone", f"p{number}", row.text, silence if row is held_out[-1] else coded[number])
    with pytest.MonkeyPatch.context() as patch:
        return world, world.evaluate(patch)


def test_true_clips_score_at_the_ceiling(known: tuple[World, Evidence]) -> None:
    _, found = known
    tuned, own = found.conditions["tuned"], found.speaker
    assert own is not None
    assert own.ceiling is not None
    assert own.ceiling > 0.95
    assert tuned.similarity == pytest.approx(own.ceiling, abs=0.01)
    assert tuned.named == 1
    assert tuned.pace == pytest.approx(1, abs=0.05)
    assert tuned.pauses == pytest.approx(own.pauses or 0, abs=0.05)
    assert (tuned.wer or 0) < 0.1


def test_shuffled_speakers_drop_the_similarity_to_the_floor(known: tuple[World, Evidence]) -> None:
    _, found = known
    assert found.speaker is not None
    assert found.speaker.floor is not None
    assert found.speaker.floor < 0.3
    base = found.conditions["base"]
    assert base.similarity == pytest.approx(found.speaker.floor, abs=0.1)
    assert base.named == 0


def test_swapped_labels_raise_the_errors_beyond_the_interval(known: tuple[World, Evidence]) -> None:
    _, found = known
    right, swapped = found.conditions["tuned"], found.conditions["base_clone"]
    assert swapped.wer_low is not None
    assert right.wer_high is not None
    assert swapped.wer_low > right.wer_high + 0.5
    found_better = found.differences["tuned_clone-base_clone"]
    assert (found_better.wins, found_better.losses) == (7, 1), "the last sample is silent"
    assert swapped.named == 1, "the voice is the speaker's, whatever it says"


def test_what_whisper_invents_in_silence_counts_as_no_word_read(known: tuple[World, Evidence]) -> None:
    world, found = known
    with (world.root / "reports/scores.csv").open() as lines:
        rows = {row["sample"]: row for row in csv.DictReader(lines)}
    silent = rows["tuned_clone-p7-0"]
    assert (silent["silent"], silent["heard"], silent["wer"], silent["named"]) == ("True", "", "1.0", "False")
    assert (silent["similarity"], silent["pace"]) == ("0.0", "")
    assert found.conditions["tuned_clone"].silent == 1


def test_gates_tell_what_holds(known: tuple[World, Evidence]) -> None:
    _, found = known
    assert found.failed == ["similarity"], "base + cloning is the speaker too"
    assert found.gates["reference"].value == 1
    assert (found.gates["words"].value or 0) < 0


def another_reference(world: World) -> None:
    shutil.copyfile(TINY / "voices/mira/0.flac", world.root / world.rows[-1].audio)


def a_leaked_clip(world: World) -> None:
    write_jsonl(world.root / "data/dataset/train.jsonl", [world.rows[-1], world.rows[0]])


def a_leaked_sentence(world: World) -> None:
    """Of a prompt, inside a longer clip of training."""
    longer = replace(world.rows[-1], text=f"Good morning. {world.rows[2].text} Good night.")
    write_jsonl(world.root / "data/dataset/train.jsonl", [longer])


@pytest.mark.parametrize(
    ("gate", "spoil"),
    [("reference", another_reference), ("leakage", a_leaked_clip), ("leakage", a_leaked_sentence)],
)
def test_what_makes_all_numbers_void_fails_its_gate_and_is_the_headline(
    known: tuple[World, Evidence], gate: str, spoil: Callable[[World], None], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    world, before = copy(known[0]), known[1]
    world.root = Path(shutil.copytree(known[0].root, tmp_path / "world"))
    spoil(world)
    found = world.evaluate(monkeypatch)
    assert before.gates[gate].passed
    assert sorted(found.failed) == sorted([gate, *before.failed])
    assert verdict(found).headline == VOID[gate] != verdict(before).headline


def test_the_same_samples_are_scored_the_same_from_nothing(
    known: tuple[World, Evidence], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world, _ = known
    names = ("scores.csv", "wer.csv", "details.json", "metrics.json")
    before = {name: (world.root / "reports" / name).read_bytes() for name in names}
    world.evaluate(monkeypatch)
    assert capsys.readouterr().out.count(" 0 computed") == 2
    one = next((world.root / "reports/samples").glob("tuned-p0-0.flac"))
    for name in ("heard", "embeddings"):
        (world.root / f"reports/{name}/{one.stem}.json").unlink()
    world.evaluate(monkeypatch)
    assert capsys.readouterr().out.count(" 1 computed") == 2, "one sample is heard and embedded again"
    assert before == {name: (world.root / "reports" / name).read_bytes() for name in names}


def test_predicted_opinions_are_beside_the_metrics_and_change_nothing_in_them(
    known: tuple[World, Evidence], monkeypatch: pytest.MonkeyPatch
) -> None:
    (world, _), path = known, known[0].root / "reports/mos.json"
    before = (world.root / "reports/details.json").read_bytes()
    monkeypatch.setattr(mos, "predicted", lambda samples, rate: 3.25)
    world.evaluate(monkeypatch)
    assert mos.read(path, world.root / "reports/samples") == dict.fromkeys(CONDITIONS, 3.25)
    assert (world.root / "reports/details.json").read_bytes() == before
    path.unlink()


def test_a_failed_gate_is_written_and_told(
    known: tuple[World, Evidence], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world, found = known
    (world.root / "reports/details.json").unlink()
    world.evaluate(monkeypatch)
    assert metrics.read(world.root / "reports/details.json") == found
    told = capsys.readouterr().out
    assert "evaluate: FAILED  the adapter brings the voice nearer to the speaker than cloning alone" in told
    assert "evaluate: passed  the clip that is cloned is the speaker's voice: 1, limit 1" in told


def test_only_new_samples_are_heard_and_another_whisper_hears_all_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_samples(tmp_path / "samples", {name: SENTENCES[name] for name in ("ferry", "one")})
    silence, flac = np.zeros(RATE, np.float32), tmp_path / "samples/tuned-one-0.flac"
    soundfile.write(flac, silence, RATE, subtype="PCM_16")
    options = WhisperParams(str(random_whisper(tmp_path / "whisper.pt", babbles=True)))
    paths = sorted((tmp_path / "samples").glob("*.flac"))

    lengths: list[int] = []
    texts = asr.texts

    def heard(options: WhisperParams, sounds: Sequence[audio.Samples], spoken: Sequence[str]) -> list[str]:
        lengths.extend(map(len, sounds))
        return texts(options, sounds, spoken)

    monkeypatch.setattr(asr, "texts", heard)

    def listen() -> str:
        found = evaluate.listen(tmp_path / "heard", paths, options, 3)
        assert found[paths.index(flac)].text == "", "Whisper invents words in silence"
        assert any(sound.text for sound in found)
        return capsys.readouterr().out

    assert "8 computed" in listen()
    assert lengths == sorted(lengths), "those of one length share a batch"
    assert len(set(lengths)) > 1
    assert "0 computed, 8 kept" in listen()
    record = json.loads((tmp_path / "heard/tuned-one-0.json").read_text())
    assert record["silent"]
    assert "openai-whisper 20" in record["normaliser"]
    soundfile.write(tmp_path / "samples/base-ferry-0.flac", silence, RATE, subtype="PCM_16")
    assert "1 computed, 7 kept" in listen()
    import torch

    content = torch.load(options.model)
    content["model_state_dict"]["decoder.positional_embedding"] += 1
    torch.save(content, options.model)
    assert "8 computed" in listen()


def test_each_sample_is_heard_and_compared_in_its_own_language(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a recogniser that keeps what it was asked, and writes German as Whisper does."""
    write_samples(tmp_path / "samples", {"ferry": "The ferry.", "gruss": "Das macht fünf Euro."})
    paths = [tmp_path / f"samples/base-{name}-0.flac" for name in ("ferry", "gruss")]
    asked: list[tuple[str, ...]] = []

    def texts(options: WhisperParams, sounds: list[Any], languages: list[str]) -> list[str]:
        asked.append(tuple(languages))
        return ["Das macht 5 €." if language == "de" else "The ferry." for language in languages]

    monkeypatch.setattr(asr, "texts", texts)
    options = WhisperParams(str(random_whisper(tmp_path / "whisper.pt")))
    heard = evaluate.listen(tmp_path / "heard", paths, options, 3, spoken=["en", "de"])
    assert asked == [("en", "de")]
    assert "num2words" in json.loads((tmp_path / "heard/base-gruss-0.json").read_text())["normaliser"]
    german = sample("Das macht fünf Euro.", language="de")
    row = evaluate.score(german, heard[1], MARINA, SCALE, own=10.0)
    assert (row.errors, row.wrong_characters, row.language) == (0, 0, "de")
    assert evaluate.score(replace(german, language="en"), heard[1], MARINA, SCALE, own=10.0).errors > 0
    scores.write(tmp_path / "scores.csv", [scored("The ferry.", "The ferry."), row])
    assert [one["language"] for one in csv.DictReader((tmp_path / "scores.csv").open())] == ["en", "de"]
    scores.write(tmp_path / "scores.csv", [scored("The ferry.", "The ferry.")])
    assert "language" not in (tmp_path / "scores.csv").read_text().splitlines()[0]
    evaluate.listen(tmp_path / "heard", paths, options, 3, spoken=["en", "fr"])
    assert [one[-1] for one in asked[1:]] == ["fr"], "another language hears anew what is in it"
