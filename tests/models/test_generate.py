"""Samples in four conditions: which are made again, what is cloned, and what silence leaves."""

from __future__ import annotations

import dataclasses
import json
import shutil
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from stages import generate
from stages.generate import CONDITIONS, Speed, plan, speak
from tests.support.consent import withdraw_consent, write_consent
from tests.support.paths import ROOT
from tests.support.tiny_models import CODEBOOK_SIZE, CODEBOOKS, SAMPLE_RATE, adapted, random_csm
from timbre import audio, families
from timbre.core.errors import DataError, ModelError, SourceError
from timbre.core.records import Example, Sample, from_json, to_json, write_jsonl
from timbre.core.sections import GenerateParams, VoiceParams
from timbre.families import Cloning, Lora, Turn
from timbre.families.codes import to_bytes
from timbre.mapping.refresh import Job, refresh
from timbre.project.prompts import Prompt
from timbre.synthesis.reference import Reference, choose_reference
from timbre.synthesis.true_prompts import true_prompts

PARAMS = GenerateParams(
    seeds=[0, 1],
    true_prompts=0,
    temperature=0.8,
    top_k=0,
    top_p=1.0,
    repetition_penalty=1.0,
    cap_seconds=0.4,
    cap_seconds_per_character=0.0,
    heard_before=0.0,
    batch=3,
    precision="auto",
)
FERRY, COFFEE = Prompt("ferry", "domain", "The ferry waits."), Prompt("coffee", "hard", "Green coffee to Oslo, please.")
CLONING = Cloning("turns", (5.0, 10.0))
TEXTS = [FERRY, COFFEE]


def reference(text: str = "The green train.") -> Reference:
    codes = np.random.default_rng(0).integers(1, CODEBOOK_SIZE, (20, CODEBOOKS)).astype(np.int16)
    return Reference("0123456789abcdef", "ann", Turn(text, {"codes": codes}))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> VoiceParams:
    return VoiceParams("csm", str(random_csm(tmp_path_factory.mktemp("models") / "csm")), None)


@pytest.fixture(scope="module")
def adapter(model: VoiceParams, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    folder = tmp_path_factory.mktemp("models") / "adapter"
    voice = families.load(model)
    course = adapted(voice, Lora(4, 8, True, 0.0))
    torch.manual_seed(0)
    course.set_weights({n: torch.randn(w.shape) * 0.2 for n, w in course.weights().items()})
    voice.save_adapter(folder)
    return folder


def make(
    out: Path,
    model: VoiceParams,
    adapter: Path,
    params: GenerateParams = PARAMS,
    worn: str = "a",
    speed: Speed | None = None,
) -> set[str]:
    """Bring `out` up to date; the names of the samples that were made."""
    planned = plan(TEXTS, params, families.fingerprint(model), worn, reference())
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.json")}
    jobs = [Job(sample.id, sample.key, (sample, request)) for sample, request in planned]
    compute = partial(speak, voice=model, adapter=adapter, params=params, speed=speed or Speed())
    refresh(out, jobs, compute, suffixes=[".flac", ".json"], label="generate", batch=len(jobs), independent=True)
    return {p.stem for p in out.glob("*.json") if before.get(p.name) != p.stat().st_mtime_ns}


def test_every_prompt_is_said_in_every_condition_with_every_seed(
    model: VoiceParams, adapter: Path, tmp_path: Path
) -> None:
    made = make(tmp_path, model, adapter)
    assert made == {f"{c}-{p}-{s}" for c in CONDITIONS for p in ("ferry", "coffee") for s in (0, 1)}
    sounds = set()
    for name in made:
        sample = from_json((tmp_path / f"{name}.json").read_text(), Sample, name)
        sound, rate = soundfile.read(tmp_path / f"{name}.flac")
        assert (rate, len(sound)) == (SAMPLE_RATE, round(sample.seconds * SAMPLE_RATE))
        assert sample.seconds == 0.4
        assert not sample.ended
        assert (sample.reference is not None) == sample.condition.endswith("clone")
        assert (sample.adapter is not None) == sample.condition.startswith("tuned")
        sounds.add(sound.tobytes())
    assert len(sounds) == len(made), "each sample is another sound"


@pytest.mark.parametrize("learnt_by", ["data/dataset", "models/adapter"])
def test_no_sentence_is_spoken_with_a_voice_whose_consent_was_withdrawn(
    learnt_by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    write_consent(tmp_path)
    withdraw_consent(tmp_path)
    rows = examples(1) if learnt_by == "data/dataset" else []
    write_jsonl(Path("data/dataset/train.jsonl"), [dataclasses.replace(row, source="ann") for row in rows])
    Path("models/adapter").mkdir(parents=True)
    speakers = {} if rows else {"ann": ["talk"]}
    Path("models/adapter/training.json").write_text(json.dumps({"speakers": speakers}))
    places = ("data/prompts.tsv", "data/dataset", "data/clips", "data/codes", "models/adapter", "samples", "speed.json")
    with pytest.raises(SourceError, match=r"^data/speakers.yaml:2: ann took the consent back on 2026-02-01"):
        generate.main(*map(Path, places))
    assert not Path("samples").exists()


def test_another_adapter_leaves_the_samples_of_the_base(model: VoiceParams, adapter: Path, tmp_path: Path) -> None:
    make(tmp_path, model, adapter)
    assert make(tmp_path, model, adapter) == set()
    made = make(tmp_path, model, adapter, worn="b")
    assert made == {f"{c}-{p}-{s}" for c in ("tuned", "tuned_clone") for p in ("ferry", "coffee") for s in (0, 1)}


def test_samples_are_the_same_bytes_when_a_run_was_cut_short(model: VoiceParams, adapter: Path, tmp_path: Path) -> None:
    params = dataclasses.replace(PARAMS, temperature=1.0, cap_seconds=1.0)
    make(tmp_path, model, adapter, params)
    whole = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    lost = {name for number, name in enumerate(sorted({path.stem for path in tmp_path.iterdir()})) if number % 3 == 1}
    for name in lost:
        (tmp_path / f"{name}.json").unlink()
    assert make(tmp_path, model, adapter, params) == lost
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == whole


def test_samples_are_the_same_bytes_in_slots_of_any_number(model: VoiceParams, adapter: Path, tmp_path: Path) -> None:
    """Where the likeliest code is taken: sums of other widths differ in their last digits, which a draw may meet."""
    for slots in (1, 5):
        make(tmp_path / str(slots), model, adapter, dataclasses.replace(PARAMS, batch=slots, temperature=0.0))
    for path in (tmp_path / "1").iterdir():
        assert path.read_bytes() == (tmp_path / "5" / path.name).read_bytes()


def test_memory_holds_one_model_at_a_time(
    model: VoiceParams, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, models, others = families.load, list[weakref.ref[Any]](), list[int]()

    def counted(*named: Any, **more: Any) -> families.Voice:
        others.append(sum(each() is not None for each in models))
        voice = load(*named, **more)
        models.append(weakref.ref(voice.model))
        return voice

    monkeypatch.setattr(families, "load", counted)
    monkeypatch.setattr(families, "_loaded", {})
    make(tmp_path, model, adapter)
    assert others == [0, 0], "the base is gone when the tuned voice is loaded"


def test_a_sample_depends_on_its_own_prompt_seed_model_and_reference() -> None:
    def keys(**changed: object) -> dict[str, str]:
        given = {"spoken": TEXTS, "params": PARAMS, "base": "m", "adapter": "a", "reference": reference()} | changed
        return {sample.id: sample.key for sample, _ in plan(**given)}  # type: ignore[arg-type]

    def changed(**how: object) -> set[str]:
        return {name for name, key in keys(**how).items() if first.get(name) != key}

    first = keys()
    assert len(set(first.values())) == len(first)
    assert changed(spoken=[FERRY._replace(text="The ferry."), COFFEE]) == {n for n in first if "-ferry-" in n}
    assert changed(spoken=[COFFEE, FERRY]) == set()
    new = Prompt("new", "hard", "Oslo.")
    assert changed(spoken=[*TEXTS, new]) == {f"{c}-new-{s}" for c in CONDITIONS for s in (0, 1)}
    assert changed(adapter="b") == {n for n in first if n.startswith("tuned")}
    assert changed(reference=reference("Another word.")) == {n for n in first if "clone" in n}
    assert changed(base="n") == set(first)
    assert changed(params=dataclasses.replace(PARAMS, temperature=0.5)) == set(first)
    assert changed(params=dataclasses.replace(PARAMS, batch=9, true_prompts=3)) == set()
    assert changed(params=dataclasses.replace(PARAMS, seeds=[0, 2])) == {n for n in keys() if n.endswith("1")} - set(
        first
    ) | {f"{c}-{p}-2" for c in CONDITIONS for p in ("ferry", "coffee")}


def test_a_word_with_a_pronunciation_is_spoken_as_it_is_spelt_there_and_the_sample_keeps_the_text() -> None:
    plain, spelt = (
        plan(TEXTS, PARAMS, "m", "a", reference(), ("number",), {"en": words}.__getitem__)
        for words in ({}, {"ferry": "fairy"})
    )
    for (sample, request), (other, told) in zip(plain, spelt, strict=True):
        assert other.text == sample.text
        assert told.text == request.text.replace("ferry", "fairy")
        assert (other.key != sample.key) == (told.text != request.text), "who is not concerned stays"
    assert any("fairy" in request.text for _, request in spelt)


def test_a_prompt_is_spoken_in_its_own_language_and_others_in_that_of_the_recordings() -> None:
    texts = [FERRY, COFFEE._replace(language="de"), COFFEE._replace(id="cafe", language="en")]
    spellings = {"en": {"oslo": "ozlo"}, "de": {"oslo": "uslu"}, "fr": {"ferry": "feri"}}.__getitem__
    for language in ("en", "fr"):
        turn = reference().turn._replace(language=language)
        planned = plan(texts, PARAMS, "m", "a", reference()._replace(turn=turn), ("language",), spellings)
        spoken = {sample.prompt: (sample.language, request.language, request.text) for sample, request in planned}
        assert spoken["ferry"][:2] == (language, language)
        assert spoken["ferry"][2] == ("The ferry waits." if language == "en" else "The feri waits.")
        assert spoken["coffee"] == ("de", "de", "Green coffee to uslu, please.")
        assert spoken["cafe"] == ("en", "en", "Green coffee to ozlo, please.")
    english, usual = (
        {sample.key for sample, _ in plan([COFFEE._replace(language=name)], PARAMS, "m", "a", reference())}
        for name in ("en", None)
    )
    assert english == usual, "who says what was meant anyway speaks nothing again"
    german = {sample.key for sample, _ in plan([COFFEE._replace(language="de")], PARAMS, "m", "a", reference())}
    assert not german & usual
    assert '"language"' not in to_json(planned[-1][0]), "files of English samples are as before"
    assert '"language": "fr"' in to_json(planned[0][0])


def test_a_voice_that_says_nothing_leaves_a_record_and_a_short_silence(adapter: Path, tmp_path: Path) -> None:
    mute = VoiceParams("csm", str(random_csm(tmp_path / "csm", silent=True)), None)
    params = dataclasses.replace(PARAMS, temperature=0.0, seeds=[0])
    planned = [row for row in plan(TEXTS, params, "m", "a", reference()) if row[0].condition == "base"]
    for files in speak(planned, mute, adapter, params, Speed()):
        record, flac = files[".json"], files[".flac"]
        assert isinstance(record, bytes)
        assert isinstance(flac, bytes)
        assert (json.loads(record)["seconds"], json.loads(record)["ended"]) == (0.0, True)
        (tmp_path / "a.flac").write_bytes(flac)
        sound, _ = soundfile.read(tmp_path / "a.flac")
        assert 0 < len(sound) <= SAMPLE_RATE / 5
        assert not sound.any()


def examples(*seconds: float) -> list[Example]:
    return [
        Example(f"data/clips/c{i}.flac", f"Text {i}.", "ann", f"c{i}", "talk", 0, s, s) for i, s in enumerate(seconds)
    ]


def write_sound(root: Path, rows: list[Example], clipped: tuple[str, ...] = ()) -> None:
    for row in rows:
        (root / "clips").mkdir(exist_ok=True)
        (root / "codes").mkdir(exist_ok=True)
        sound = np.full(800, 1.0 if row.id in clipped else 0.3, np.float32)
        (root / f"clips/{row.id}.flac").write_bytes(audio.flac_bytes(sound, SAMPLE_RATE))
        (root / f"codes/{row.id}.safetensors").write_bytes(to_bytes({"codes": np.ones((3, CODEBOOKS), np.int16)}))


def test_the_reference_is_a_clean_clip_of_five_to_ten_seconds_and_stays_when_others_come(tmp_path: Path) -> None:
    rows = examples(3, 6, 7, 9, 12, 8, 30)
    write_sound(tmp_path, rows)
    first = choose_reference(rows, tmp_path / "clips", tmp_path / "codes", CLONING)
    chosen = next(row for row in rows if row.id == first.clip)
    assert 5 <= chosen.seconds <= 10
    assert first.turn.text == chosen.text
    without = [row for row in rows if row.seconds > 11 or row.id == first.clip]
    assert choose_reference(without[::-1], tmp_path / "clips", tmp_path / "codes", CLONING).clip == first.clip
    write_sound(tmp_path, rows, clipped=(first.clip,))
    assert choose_reference(rows, tmp_path / "clips", tmp_path / "codes", CLONING).clip not in (
        first.clip,
        "c0",
        "c4",
        "c6",
    )


def test_where_no_clip_is_that_long_the_nearest_is_taken(tmp_path: Path) -> None:
    rows = examples(1, 2.5, 13, 30)
    write_sound(tmp_path, rows)
    assert choose_reference(rows, tmp_path / "clips", tmp_path / "codes", CLONING).clip == "c1"
    shutil.rmtree(tmp_path / "codes")
    with pytest.raises(DataError, match="c1: no codes"):
        choose_reference(rows, tmp_path / "clips", tmp_path / "codes", CLONING)


def test_of_a_longer_clip_the_first_sentences_are_heard(tmp_path: Path) -> None:
    [row] = examples(30)
    row = dataclasses.replace(row, text="One is here. Two. Three.", sentence_ends=[[12, 7.5], [17, 15.0]])
    write_sound(tmp_path, [row])
    (tmp_path / "codes/c0.safetensors").write_bytes(to_bytes({"codes": np.ones((375, CODEBOOKS), np.int16)}))
    chosen = choose_reference([row], tmp_path / "clips", tmp_path / "codes", CLONING)
    assert (chosen.turn.text, len(chosen.turn.codes["codes"])) == ("One is here.", 93)  # type: ignore[index]
    whole = choose_reference([row], tmp_path / "clips", tmp_path / "codes", CLONING._replace(kind="sound"))
    assert whole.turn.text == row.text


def test_an_adapter_of_zeros_is_refused_and_one_of_next_to_nothing_changes_no_sound(
    model: VoiceParams, adapter: Path, tmp_path: Path
) -> None:
    nothing, zeros = tmp_path / "nothing", tmp_path / "zeros"
    voice = families.load(model, adapter=None)
    course = adapted(voice, Lora(4, 8, True, 0.0))
    start = course.weights()
    for folder, least in ((nothing, 1e-12), (zeros, 0.0)):
        course.set_weights({name: weight * 0 + least for name, weight in start.items()})
        voice.save_adapter(folder)
    with pytest.raises(ModelError, match="changes nothing in the base model"):
        make(tmp_path / "refused", model, zeros)

    def changed(worn: Path) -> float:
        """Share of the tuned samples that sound other than the base's: all conditions draw by the same seed."""
        out = tmp_path / f"samples-{worn.name}"
        make(out, model, worn)
        tuned = sorted(out.glob("tuned*.flac"))
        return sum(heard(path) != heard(path.with_name(path.name.replace("tuned", "base"))) for path in tuned) / len(
            tuned
        )

    assert changed(nothing) == 0
    assert changed(adapter) == 1


def heard(path: Path) -> str:
    return audio.sha256(audio.read(path)[0])


def test_the_speed_is_written_where_something_was_spoken_and_stays_where_nothing_was(
    model: VoiceParams, adapter: Path, tmp_path: Path
) -> None:
    path, speed = tmp_path / "speed.json", Speed()
    make(tmp_path / "samples", model, adapter, speed=speed)
    speed.write(path)
    measured = json.loads(path.read_text())
    assert (measured["samples"], round(measured["speech_seconds"], 6)) == (16, 6.4)
    assert measured["real_time_factor"] == round(measured["seconds"] / measured["speech_seconds"], 3) > 0
    again = Speed()
    make(tmp_path / "samples", model, adapter, speed=again)
    again.write(path)
    assert json.loads(path.read_text()) == measured


def test_true_prompts_are_sentences_that_the_speaker_says_in_held_out_clips_and_stay_when_others_come() -> None:
    rows = [*examples(*range(1, 9)), dataclasses.replace(examples(9)[0], id="other", source="ben")]
    chosen = true_prompts(rows, "ann", [Prompt("p", "domain", "text 3")], 3)
    texts = {row.id: row.text for row in rows if row.source == "ann"}
    assert all((p.id, p.kind, p.text) == (f"true-{p.clip}", "true", texts[p.clip or ""]) for p in chosen)
    assert len({prompt.text for prompt in chosen} - {"Text 3."}) == 3, "what is a prompt already is not asked again"
    fewer = [row for row in rows if row.id in {prompt.clip for prompt in chosen}]
    assert true_prompts(fewer[::-1], "ann", [], 3) == chosen
    assert len(true_prompts([*rows, *rows], "ann", [], 99)) == 8, "each sentence once"
    assert true_prompts(rows, "ann", [], 0) == []


def test_params_out_of_range_are_told_all_at_once() -> None:
    with pytest.raises(ValueError, match=r"(?s)temperature.*top_p: 0.0.*repetition_penalty: 0.5.*cap_seconds.*seeds"):
        GenerateParams([], 3, -1.0, 0, 0.0, 0.5, 0.0, 0.1, -1.0, 1, "auto")
