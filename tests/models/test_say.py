"""`timbre say`: to a file, a pipe and a player, while the voice speaks; the clip that it may hear first."""

from __future__ import annotations

import gc
import io
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from ruamel.yaml import YAML

from tests.support.consent import entry_of, write_speakers
from tests.support.fake_outputs import write_samples
from tests.support.paths import ROOT
from tests.support.tiny_models import CODEBOOK_SIZE, CODEBOOKS, SAMPLE_RATE, random_csm
from timbre import audio, families, synthesis
from timbre.commands import cli, say
from timbre.core import params
from timbre.core.errors import DataError, ModelError, SourceError
from timbre.core.records import Example, write_jsonl
from timbre.core.sections import VoiceParams
from timbre.exchange import voice_versions
from timbre.exchange.speaker_choice import spoken_as
from timbre.families import Voice
from timbre.families.codes import to_bytes
from timbre.synthesis import sinks, spoken_lines

REFERENCE = "0123456789abcdef"  # of the samples that tests/support/fake_outputs.py makes
SAY = ["say", "--base", "the ferry waits"]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Voice]:
    root = tmp_path_factory.mktemp("say")
    random_csm(root / "base")
    document = params.load(ROOT / "params.yaml")
    document["voice"]["base"] = str(root / "base")
    document["generate"] |= {"cap_seconds": 0.8, "cap_seconds_per_character": 0.0}
    with (root / "params.yaml").open("w") as stream:
        YAML().dump(document, stream)
    return root, families.load(VoiceParams("csm", str(root / "base"), None))


@pytest.fixture
def place(template: tuple[Path, Voice], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with params.yaml, whose voice is loaded already."""
    root, voice = template
    (tmp_path / "params.yaml").symlink_to(root / "params.yaml")
    for name in ("timbre", "stages"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(families, "load", lambda *_, **__: voice)
    return tmp_path


def test_a_file_holds_what_was_said_and_the_command_tells_how_long_that_took(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.execute(SAY) == 0
    said = capsys.readouterr().out
    assert said.startswith("say.flac: 0.8 s, spoken in ")
    assert "first sound after " in said
    assert said.endswith("; cut by generate.cap_seconds\n")
    assert cli.execute([*SAY, "--out", "a.wav"]) == 0
    flac, wav = soundfile.SoundFile("say.flac"), soundfile.SoundFile("a.wav")
    assert (flac.subtype, wav.subtype, flac.samplerate) == ("PCM_16", "PCM_16", SAMPLE_RATE)
    assert (flac.read(dtype="int16") == wav.read(dtype="int16")).all(), "the same seed is the same take"
    assert {path.name for path in place.iterdir() if path.is_file()} == {"say.flac", "a.wav", "params.yaml"}


def test_garbage_is_looked_for_once_there_is_sound(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_for: list[bool] = []
    perform = say.perform

    def watched(pieces: Any, write: Any, heard: Any) -> Any:
        def written(piece: Any) -> None:
            looked_for.append(gc.isenabled())
            write(piece)

        return perform(pieces, written, heard)

    monkeypatch.setattr(say, "perform", watched)
    assert cli.execute(SAY) == 0
    assert looked_for[0] is False
    assert len(looked_for) > 1
    assert all(looked_for[1:])
    assert gc.isenabled()


def test_words_that_the_demos_voice_does_not_know_are_named_with_the_way_on(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = Path(params.load()["voice"]["base"])
    (base.parent / "corpus.json").write_text('{"words": ["the", "ferry", "waits"]}')
    try:
        cli.execute(["say", "--base", "the fishmonger waits"])
    finally:
        (base.parent / "corpus.json").unlink()
    told = capsys.readouterr().err
    assert "warning: this voice does not know fishmonger, and will spell or mumble them; " in told
    assert "knows only the 3 words of the demo: `cp presets/csm-1b.yaml params.yaml`" in told


def test_a_pipe_gets_a_wav_and_nothing_else(place: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    cli.execute([*SAY, "--out", "a.wav"])
    capfdbinary.readouterr()
    assert cli.execute([*SAY, "--out", "-"]) == 0
    piped, told = capfdbinary.readouterr()
    samples, rate = soundfile.read(io.BytesIO(piped), dtype="int16")
    assert rate == SAMPLE_RATE
    assert (samples == soundfile.read("a.wav", dtype="int16")[0]).all()
    assert told.startswith(b"sound: 0.8 s, ")


def test_a_listener_who_leaves_ends_it_quietly(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as left:
        monkeypatch.setattr(sys, "stdout", left)
        assert cli.execute([*SAY, "--out", "-"]) == 0
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_no_sound(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with pytest.raises(DataError, match="let a player follow"):
        cli.execute([*SAY, "--out", "-"])


def player(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "aplay").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "aplay").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_a_player_gets_the_same_wav_and_is_waited_for(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    player(place, "cat > heard.wav; sleep 0.1; echo done > played", monkeypatch)
    assert cli.execute([*SAY, "--play"]) == 0
    assert (place / "played").exists()
    assert len(soundfile.read("heard.wav")[0]) == round(0.8 * SAMPLE_RATE)
    assert capsys.readouterr().out.startswith("aplay: 0.8 s, ")


def test_a_player_that_fails_or_is_missing_is_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    player(place, "exit 3", monkeypatch)
    with pytest.raises(DataError, match="aplay failed"):
        cli.execute([*SAY, "--play"])
    monkeypatch.setattr(sinks, "PLAYERS", (("no-such-player", "-"),))
    with pytest.raises(DataError, match=r"no player is installed \(no-such-player\)"):
        cli.execute([*SAY, "--play"])


def test_cloning_hears_the_clip_that_generate_cloned_from(place: Path) -> None:
    with pytest.raises(DataError, match="reports/samples: no sample that cloned a clip"):
        cli.execute([*SAY, "--clone"])
    write_samples(place / "reports/samples", {"ferry": "The ferry waits."})
    example = Example(f"data/clips/{REFERENCE}.flac", "The green train.", "ann", REFERENCE, "talk", 0.0, 1.0, 1.0)
    write_jsonl(place / "data/dataset/train.jsonl", [example])
    write_people(place)
    with pytest.raises(DataError, match=f"base_clone-ferry-0: its reference {REFERENCE} is gone"):
        cli.execute([*SAY, "--clone"])
    (place / "data/codes/csm").mkdir(parents=True)
    heard = np.random.default_rng(0).integers(1, CODEBOOK_SIZE, (20, CODEBOOKS)).astype(np.int16)
    (place / f"data/codes/csm/{REFERENCE}.safetensors").write_bytes(to_bytes({"codes": heard}))
    [turn] = synthesis.reference_clip()
    assert turn.text == "The green train."
    assert turn.codes
    assert (turn.codes["codes"] == heard).all()
    cli.execute(SAY)
    cli.execute([*SAY, "--clone", "--out", "cloned.flac"])
    assert Path("say.flac").read_bytes() != Path("cloned.flac").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([" "], "nothing to say"),
        (["hello", "--out", "a.aac"], r"a\.aac: name a file that ends in \.flac, \.wav, \.mp3 or \.opus"),
        (["hello", "--out", "nowhere/a.wav"], "there is no folder nowhere"),
    ],
)
def test_what_cannot_be_said_is_told_before_a_model_is_loaded(arguments: list[str], told: str) -> None:
    with pytest.raises(DataError, match=told):
        cli.execute(["say", *arguments])


def test_without_an_adapter_there_is_no_tuned_voice(place: Path) -> None:
    with pytest.raises(ModelError, match="no tuned voice yet"):
        cli.execute(["say", "hello"])


def test_a_program_hears_the_sentence_as_the_command_does_but_for_the_mark(place: Path) -> None:
    voice = synthesis.load(adapter=None)
    pieces = list(synthesis.say(voice, "the ferry waits", seed=1))
    assert len(pieces) > 3
    cli.execute([*SAY, "--seed", "1", "--out", "a.wav", "--no-mark", "compared with the bare sound"])
    assert (audio.to_pcm(np.concatenate(pieces)) == soundfile.read("a.wav", dtype="int16")[0]).all()
    logged = [json.loads(line) for line in Path(".timbre/spoken.jsonl").read_text().splitlines()]
    assert logged[-1]["unmarked"] == "compared with the bare sound"
    assert "ferry" not in str(logged)
    cli.execute([*SAY, "--seed", "1", "--out", "b.wav"])
    assert '"synthetic": true' in soundfile.SoundFile("b.wav").comment
    assert len(soundfile.read("b.wav")[0]) == len(soundfile.read("a.wav")[0])


def test_lines_are_spoken_once_each(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("lines.tsv").write_text("id\ttext\tseed\none\tthe ferry waits\t1\ntwo\ttrain 12. Again!\t\n")
    say = ["say", "--base", "--lines", "lines.tsv", "--out", "spoken"]
    assert cli.execute(say) == 0
    assert capsys.readouterr().out.startswith("spoken: 2 spoken, 0 were there; ")
    before = {path.name: path.read_bytes() for path in Path("spoken").iterdir()}
    assert sorted(before) == ["one.flac", "one.json", "two.flac", "two.json"]
    assert json.loads(before["two.json"])["text"] == "train twelve. Again!"
    Path("spoken/one.flac").unlink()
    assert cli.execute(say) == 0
    assert capsys.readouterr().out.startswith("spoken: 1 spoken, 1 were there; ")
    assert {path.name: path.read_bytes() for path in Path("spoken").iterdir()} == before
    Path("lines.tsv").write_text("id\ttext\n../x\thello\none\t\n")
    with pytest.raises(DataError, match=r"(?s)lines\.tsv:2: .*lines\.tsv:3: "):
        cli.execute(say)


def test_a_line_whose_sound_a_kill_left_without_its_record_is_spoken_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say = ["say", "--base", "--lines", "lines.tsv", "--out", "spoken"]
    head, sound = "id\ttext\tseed\none\tthe ferry waits\t", Path("spoken/one.flac")
    Path("lines.tsv").write_text(f"{head}1\n")
    cli.execute(say)
    first = sound.read_bytes()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    Path("lines.tsv").write_text(f"{head}2\n")
    with monkeypatch.context() as patch:
        patch.setattr(spoken_lines, "write_atomic", killed)  # the sound is there, its record is not
        with pytest.raises(KeyboardInterrupt):
            cli.execute(say)
    assert sound.read_bytes() != first
    Path("lines.tsv").write_text(f"{head}1\n")
    cli.execute(say)
    assert sound.read_bytes() == first


def write_people(place: Path, revoked: str = "null") -> None:
    """Ann, whose recording is `talk`."""
    (place / "data").mkdir(exist_ok=True)
    write_speakers(place, ann=revoked)
    entry = "- {id: talk, url: 'https://a.b/c', speaker: ann, language: en, licence: CC0-1.0, consent: hers}\n"
    (place / "data/sources.yaml").write_text(entry)


def write_adapter(place: Path) -> None:
    adapter = place / "models/adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").touch()
    (adapter / "training.json").write_text('{"speakers": {"ann": ["talk"]}}')


def write_two_speakers(place: Path, bob_revoked: str = "null") -> None:
    """Ann's and Bob's clips, and an adapter that learnt both; no samples."""
    write_people(place)
    with (place / "data/speakers.yaml").open("a") as people:
        people.write(entry_of("bob", revoked=bob_revoked, number=1))
    with (place / "data/sources.yaml").open("a") as sources:
        sources.write(
            "- {id: walk, url: 'https://a.b/d', speaker: bob, language: en, licence: CC0-1.0, consent: his}\n"
        )
    names = {"ann": ("0a", "talk"), "bob": ("0b", "walk")}
    rows = [
        Example(f"data/clips/{clip}.flac", "The green train.", name, clip, where, 0.0, 1.0, 1.0, number=number)
        for number, (name, (clip, where)) in enumerate(names.items())
    ]
    write_jsonl(place / "data/dataset/train.jsonl", rows)
    for folder in ("codes/csm", "clips"):
        (place / "data" / folder).mkdir(parents=True, exist_ok=True)
    for row in rows:
        heard = np.random.default_rng(row.number).integers(1, CODEBOOK_SIZE, (20, CODEBOOKS)).astype(np.int16)
        (place / f"data/codes/csm/{row.id}.safetensors").write_bytes(to_bytes({"codes": heard}))
        soundfile.write(place / f"data/clips/{row.id}.flac", np.zeros(800), SAMPLE_RATE)
    if not (place / "models/adapter").exists():
        write_adapter(place)
    learnt = {"speakers": {"ann": ["talk"], "bob": ["walk"]}, "numbers": {"ann": 0, "bob": 1}}
    (place / "models/adapter/training.json").write_text(json.dumps(learnt))


def test_each_of_several_speakers_is_spoken_as(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_two_speakers(place)
    sounds = {}
    for more in ("", "--speaker ann", "--speaker bob", "--speaker ann --clone", "--speaker bob --clone"):
        cli.execute(["say", "the ferry waits", "--out", "a.wav", *more.split()])
        sounds[more] = soundfile.read("a.wav", dtype="int16")[0].tobytes()
    assert sounds[""] == sounds["--speaker ann"], "who has most clips, or comes first"
    assert len(set(sounds.values())) == 4
    Path("lines.tsv").write_text("id\ttext\tspeaker\none\tthe ferry waits\tann\ntwo\tthe ferry waits\tbob\n")
    lines = ["say", "--lines", "lines.tsv", "--out", "spoken"]
    cli.execute(lines)
    assert Path("spoken/one.flac").read_bytes() != Path("spoken/two.flac").read_bytes()
    Path("lines.tsv").write_text("id\ttext\tspeaker\none\tthe ferry waits\tbob\n")
    capsys.readouterr()
    cli.execute(lines)
    assert capsys.readouterr().out.startswith("spoken: 1 spoken, 0 were there; ")


def test_a_speaker_whom_the_voice_does_not_know_or_who_does_not_consent_is_told_in_a_line(place: Path) -> None:
    write_two_speakers(place)
    with pytest.raises(DataError, match=r"^models/adapter: has no speaker eve; it learnt ann, bob$"):
        cli.execute(["say", "the ferry waits", "--speaker", "eve"])
    with pytest.raises(DataError, match=r"^base: has learnt nobody; add --clone to let it hear a clip of bob$"):
        cli.execute([*SAY, "--speaker", "bob"])
    with pytest.raises(DataError, match=r"^eve: no clip of this speaker in .*; it has clips of ann, bob$"):
        cli.execute([*SAY, "--speaker", "eve", "--clone"])
    write_two_speakers(place, bob_revoked="2026-04-01")
    with pytest.raises(SourceError, match=r"^0b: data/speakers\.yaml:3: bob took the consent back"):
        cli.execute([*SAY, "--speaker", "bob", "--clone"])


def test_a_version_speaks_by_the_numbers_that_it_learnt(place: Path) -> None:
    write_two_speakers(place)
    version = voice_versions.find("models/adapter")
    assert spoken_as(version, "en", "bob", clone=True).reference[0].speaker == (1, "bob")
    older = replace(version, numbers={})  # of before numbers: everybody was [0]
    as_older = spoken_as(older, "en", "bob", clone=True)
    assert as_older.reference[0].speaker == (0, "bob")
    assert as_older.like
    assert as_older.like.speaker == (0, "bob")
    without = replace(version, voice=replace(version.voice, family="xtts"))
    assert len(spoken_as(without, "en", "bob", clone=False).reference) == 1, "XTTS knows a speaker by a clip alone"


def test_a_voice_whose_consent_was_withdrawn_says_nothing_more(place: Path) -> None:
    write_people(place)
    write_adapter(place)
    assert cli.execute(["say", "the ferry waits"]) == 0
    Path("say.flac").unlink()
    write_people(place, revoked="2026-04-01")
    with pytest.raises(SourceError, match=r"models/adapter: data/speakers\.yaml:2: ann took the consent back"):
        cli.execute(["say", "the ferry waits"])
    assert not Path("say.flac").exists()
    assert cli.execute(SAY) == 0, "the base model is nobody's voice"


def test_a_clip_of_somebody_who_withdrew_consent_is_not_cloned(place: Path) -> None:
    write_people(place, revoked="2026-04-01")
    write_samples(place / "reports/samples", {"ferry": "The ferry waits."})
    example = Example(f"data/clips/{REFERENCE}.flac", "The green train.", "ann", REFERENCE, "talk", 0.0, 1.0, 1.0)
    write_jsonl(place / "data/dataset/train.jsonl", [example])
    with pytest.raises(SourceError, match=f"{REFERENCE}: .* ann took the consent back"):
        cli.execute([*SAY, "--clone"])


@pytest.mark.parametrize(("flag", "value"), [("--speed", "0"), ("--speed", "4.1"), ("--no-mark", " ")])
def test_lines_are_refused_what_a_text_is(place: Path, flag: str, value: str) -> None:
    Path("lines.tsv").write_text("id\ttext\none\tthe ferry\n")
    with pytest.raises(DataError, match=f"{flag}: "):
        cli.execute(["say", "--base", "--lines", "lines.tsv", "--out", "spoken", flag, value])
