"""The label check: what Whisper hears in a clip beside its text, heard again only when the sound is another."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from stages import check as stage
from stages.check import Hearing, hear, main
from tests.support.paths import ROOT
from timbre import asr, audio
from timbre.asr import greedy, shared_silence, silent_tail
from timbre.core.records import Clip, Label, read_jsonl, write_jsonl
from timbre.core.sections import CheckParams, SpeakerParams, WhisperParams
from timbre.mapping import batch
from timbre.project.transcripts import read as read_transcript


class Counted:
    """A function, and how often it was called."""

    def __init__(self, function: Callable[..., object]) -> None:
        self.function, self.calls = function, 0

    def __call__(self, *given: object) -> object:
        self.calls += 1
        return self.function(*given)


MODEL = WhisperParams(str(ROOT / "models/tiny/whisper.pt"))


def clip(number: int, start: float, end: float, text: str) -> Clip:
    return Clip(f"clip-{number}", "harbour-noon", "marina", start, end, [[start, end]], end - start, text)


CLIPS = [
    clip(0, 0.3, 3.4, ""),  # its text is what is said, read from the transcript
    clip(1, 37.1, 40.1, "Five station please pier twelve night with from."),
    clip(2, 57.4, 60.2, "Something else altogether."),
]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips of a demo recording."""
    folder = tmp_path_factory.mktemp("clips")
    for one in CLIPS:
        samples, rate = audio.read(ROOT / "data/recordings/harbour-noon.flac", start=one.start, end=one.end)
        (folder / f"{one.id}.flac").write_bytes(audio.flac_bytes(samples, rate))
    return folder


@pytest.fixture
def root(tmp_path: Path, clips: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    settings = SimpleNamespace(
        check=CheckParams(2),
        whisper=MODEL,
        compute=batch.HERE,
        speaker=SpeakerParams(str(ROOT / "models/tiny/speaker"), None),
        evaluate=SimpleNamespace(others="others"),
    )
    monkeypatch.setattr(stage, "read", lambda: settings)
    for name in ("mira", "nele"):
        shutil.copytree(ROOT / "models/tiny/voices" / name, Path("others") / name)
    about = {
        "id": "harbour-noon",
        "speaker": "marina",
        "language": "en",
        "licence": "CC0-1.0",
        "consent": "none needed",
        "origin": "data/recordings/harbour-noon.flac",
        "sha256": "ab" * 32,
        "sample_rate": 16000,
        "seconds": 122.2,
    }
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/harbour-noon.json").write_text(json.dumps({"key": "k", "recording": about}))
    Path("data/raw/harbour-noon.flac").touch()
    Path("data/sources.yaml").write_text(
        "- {id: harbour-noon, url: https://example.org/noon.wav, speaker: marina, language: en,\n"
        "   licence: CC0-1.0, consent: none needed}\n"
    )
    write_jsonl(Path("data/clips.jsonl"), CLIPS)
    Path("data/clips").symlink_to(clips)
    return tmp_path


def run() -> list[Label]:
    main(
        *(
            Path("data", name)
            for name in ("sources.yaml", "raw", "clips", "clips.jsonl", "heard", "voices", "labels.jsonl")
        )
    )
    return read_jsonl(Path("data/labels.jsonl"), Label)


def test_the_text_that_is_least_what_is_heard_comes_first(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = run()
    assert [label.clip for label in labels] == ["clip-0", "clip-2", "clip-1"]
    assert labels[0].cer == 1, "there is no text, and something is heard"
    assert labels[1].cer > 0.5
    assert 0 < labels[2].cer < 0.3
    assert labels[2].heard.startswith("Five station please pier twelve night")
    assert {label.language for label in labels} == {None}, "this Whisper knows English only"
    heard = {label.clip: label.heard for label in labels}
    write_jsonl(Path("data/clips.jsonl"), [replace(CLIPS[0], text=heard["clip-0"]), *CLIPS[1:]])
    capsys.readouterr()
    again = run()
    assert "check: 0 computed, 3 kept" in capsys.readouterr().out, "another word is no other sound"
    assert [label.clip for label in again] == ["clip-2", "clip-1", "clip-0"]
    write_jsonl(Path("data/clips.jsonl"), CLIPS[1:])
    assert [label.clip for label in run()] == ["clip-2", "clip-1"]
    assert not Path("data/heard/clip-0.json").exists()


@pytest.fixture
def two_voices(root: Path) -> list[Clip]:
    """Eight clips under marina's name, of which two are rasmus's."""
    path, lines = ROOT / "data/recordings/harbour-noon.flac", ROOT / "data/transcripts/harbour-noon.tsv"
    own = [(line.start, audio.read(path, None, line.start, line.end)) for line in read_transcript(lines).lines[:6]]
    theirs = [(60.0 + n, audio.read(ROOT / f"models/tiny/voices/rasmus/{n}.flac")) for n in range(2)]
    Path("data/clips").unlink()
    Path("data/clips").mkdir()
    rows = []
    for number, (start, (samples, rate)) in enumerate([*own, *theirs]):
        rows.append(clip(number, start, start + len(samples) / rate, "Words."))
        Path(f"data/clips/clip-{number}.flac").write_bytes(audio.flac_bytes(samples, rate))
    write_jsonl(Path("data/clips.jsonl"), rows)
    return rows


def test_clips_of_another_voice_are_named_before_anything_is_learnt(
    two_voices: list[Clip], capsys: pytest.CaptureFixture[str]
) -> None:
    strange = {label.clip for label in run() if label.stranger}
    assert strange == {"clip-6", "clip-7"}
    told = capsys.readouterr()
    assert "check: two voices under the name marina?" in told.err
    assert "harbour-noon at 60.00 s, harbour-noon at 61.00 s; listen" in told.err
    assert "voices: 12 computed" in told.out
    run()
    assert "voices: 0 computed, 12 kept" in capsys.readouterr().out


def test_one_voice_leaves_no_trace_in_the_table(two_voices: list[Clip], capsys: pytest.CaptureFixture[str]) -> None:
    write_jsonl(Path("data/clips.jsonl"), two_voices[:6])
    run()
    assert "two voices" not in capsys.readouterr().err
    assert "stranger" not in Path("data/labels.jsonl").read_text()


def test_a_clip_is_heard_the_same_in_any_company(clips: Path) -> None:
    every = [Hearing(clips / f"{one.id}.flac", "en", "k") for one in CLIPS]
    alone = [files for one in every for files in hear([one], MODEL)]
    assert list(hear(every, MODEL)) == alone


def test_a_batch_hears_what_transcribing_hears(clips: Path) -> None:
    model = asr.load(MODEL)
    sounds = [audio.read(clips / f"{one.id}.flac", asr.SAMPLE_RATE)[0] for one in CLIPS]
    heard = asr.hear(model, sounds, ["en"] * 3)
    assert [h.text for h in heard] == [asr.transcribe(model, sound).text for sound in sounds]


def test_silence_behind_a_clip_is_taken_from_an_empty_window_and_the_words_stay(
    clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = asr.load(MODEL)
    sounds = [audio.read(clips / f"{one.id}.flac", asr.SAMPLE_RATE)[0] for one in CLIPS]
    quick = asr.hear(model, sounds, ["en"] * 3)
    whole = Counted(model.encoder.forward)
    monkeypatch.setattr(model.encoder, "forward", whole)
    assert asr.hear(model, sounds, ["en"] * 3) == quick
    assert not whole.calls
    monkeypatch.setattr(silent_tail, "looks_near", lambda model: False)
    assert asr.hear(model, sounds, ["en"] * 3) == quick
    assert whole.calls == 1


def test_a_whisper_that_looks_everywhere_gets_its_whole_window() -> None:
    import torch
    from whisper.model import ModelDimensions, Whisper

    torch.manual_seed(0)
    model = Whisper(ModelDimensions(80, 1500, 16, 1, 2, 51864, 24, 16, 1, 1)).eval()
    mels = torch.rand(1, 80, 3000)
    with torch.inference_mode():
        assert not silent_tail.looks_near(model)
        assert torch.equal(silent_tail.embed(model, mels, [3.0]), model.embed_audio(mels))


def test_a_whisper_of_many_languages_says_how_likely_each_clips_own_is() -> None:
    import torch
    from whisper.model import ModelDimensions, Whisper

    torch.manual_seed(0)
    model = Whisper(ModelDimensions(80, 1500, 16, 1, 1, 51865, 24, 16, 1, 1)).eval()
    torch.nn.init.normal_(model.decoder.positional_embedding)  # Whisper leaves there what memory held
    sounds = [np.zeros(asr.SAMPLE_RATE, np.float32), np.ones(asr.SAMPLE_RATE, np.float32)]
    one, two = asr.hear(model, sounds, ["de", "en"])
    assert one.language is not None
    assert two.language is not None
    assert 0 < one.language < 1
    (alone,) = asr.hear(model, sounds[:1], ["de"])
    assert alone.language == pytest.approx(one.language, rel=1e-3)


def test_a_clip_is_heard_to_its_end_where_whisper_stops_in_the_middle(
    clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import whisper

    model, decode = asr.load(MODEL), greedy.decoded
    sounds = [audio.read(clips / f"{one.id}.flac", asr.SAMPLE_RATE)[0] for one in CLIPS[:2]]
    both = np.concatenate(sounds)
    zero = whisper.tokenizer.get_tokenizer(model.is_multilingual).timestamp_begin

    def stops(package: object, model: object, features: object, options: whisper.DecodingOptions) -> Sequence[object]:
        """As real Whispers do: the first end that is written ends the window."""
        found = decode(package, model, features, options)
        if options.without_timestamps:
            return found
        return [replace(one, text="The captain", tokens=[zero, 42, zero + 50]) for one in found]

    whole = asr.hear(model, [both], ["en"])[0].text
    monkeypatch.setattr(greedy, "decoded", stops)
    assert asr.hear(model, [both], ["en"])[0].text == whole
    assert len(whole.split()) > 12


def test_the_silence_behind_clips_is_looked_at_once_and_scores_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    model, lengths = asr.load(MODEL), [1.2, 2.0, 0.7]
    mels = torch.rand(3, 80, 3000, generator=torch.Generator().manual_seed(0))
    for row, seconds in enumerate(lengths):
        mels[row, :, round(100 * seconds) :] = 0
    told = torch.tensor([[50257, 50363, 464, 17024]] * 3)
    with torch.inference_mode():
        features = silent_tail.embed(model, mels, lengths)
        sounding = silent_tail.shared_from(model, lengths)
        assert sounding == silent_tail.positions(2.0)
        whole = model.decoder(told, features)
        with shared_silence.seen_once(model, sounding):
            together = model.decoder(told, features)
            cache, hooks = model.install_kv_cache_hooks()
            steps = [model.decoder(told[:, :2], features, kv_cache=cache)]
            looking = Counted(shared_silence._seen)
            monkeypatch.setattr(shared_silence, "_seen", looking)
            steps += [model.decoder(told[:, place : place + 1], features, kv_cache=cache) for place in (2, 3)]
        for hook in hooks:
            hook.remove()
        again = model.decoder(told, features)
    assert torch.allclose(together, whole, atol=1e-3)
    assert torch.allclose(torch.cat(steps, 1), whole, atol=1e-3)
    assert not looking.calls, "keys and values are made with the first token"
    assert torch.equal(again, whole), "the decoder is left as it was"


def test_clips_of_one_length_are_heard_together(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []
    together = asr.hear

    def heard(model: asr.Model, sounds: list[audio.Samples], spoken: list[str]) -> list[asr.Heard]:
        lengths.extend(map(len, sounds))
        return together(model, sounds, spoken)

    monkeypatch.setattr(asr, "hear", heard)
    labels = run()
    assert [label.clip for label in labels] == ["clip-0", "clip-2", "clip-1"], "each with what is heard in it"
    assert lengths == sorted(lengths)
    assert len(set(lengths)) == 3
