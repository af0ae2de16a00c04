"""Where somebody speaks: found by a network that knows voices, or by loudness, and read back moment by moment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from tests.support.paths import ROOT
from timbre import audio
from timbre.audio import silero, speech_activity
from timbre.audio.speech_activity import Activity
from timbre.core.errors import ModelError
from timbre.project import transcripts

RATE = 16_000
SECONDS = 20


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first seconds of a demo recording."""
    samples, rate = audio.read(ROOT / "data/recordings/harbour-morning.flac", end=SECONDS)
    path = tmp_path_factory.mktemp("spoken") / "talk.flac"
    path.write_bytes(audio.flac_bytes(samples, rate))
    return path


def measured(path: Path, vad: speech_activity.Vad) -> Activity:
    stored = path.with_suffix(f".{vad}.npy")
    stored.write_bytes(speech_activity.measure(path, vad))
    return speech_activity.open(stored)


@pytest.mark.parametrize("vad", ["silero", "energy"])
def test_speech_is_where_the_transcript_has_its_lines(spoken: Path, vad: speech_activity.Vad) -> None:
    found = measured(spoken, vad)
    lines = [x for x in transcripts.read(ROOT / "data/transcripts/harbour-morning.tsv").lines if x.end < SECONDS]
    assert len(lines) >= 5
    said = np.zeros(SECONDS * 100, bool)
    for line in lines:
        inside = found.speaks(line.start, line.end)
        assert inside.mean() > 0.85, line
        said[round(line.start * 100) : round(line.end * 100)] = True
    last = lines[-1].end
    silent = ~said[: round(last * 100)] & ~found.speaks(0, last)
    assert silent.sum() / (~said[: round(last * 100)]).sum() > 0.5, "the pauses are no speech"


def test_the_networks_own_package_finds_the_same_probabilities(spoken: Path) -> None:
    import torch
    from silero_vad import load_silero_vad

    blocks = list(audio.stream(spoken, RATE))
    found = silero.probabilities(np.array_split(np.concatenate(blocks), [100, 5_000, 5_001, 200_000]))
    frames = torch.from_numpy(np.concatenate(blocks)).split(silero.FRAME)
    network = load_silero_vad()
    with torch.inference_mode():
        expected = np.array([network(frame, RATE).item() for frame in frames if len(frame) == silero.FRAME])
    assert len(found) == SECONDS * RATE // silero.FRAME
    assert np.ptp(expected) > 0.9
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_is_shorter_than_a_frame_has_no_probability() -> None:
    assert not len(silero.probabilities([]))
    assert not len(silero.probabilities([np.zeros(silero.FRAME - 1, np.float32)]))


def test_weights_that_cannot_be_read_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "silero_vad" / "__init__.py"
    (package.parent / "data").mkdir(parents=True)
    package.touch()
    (package.parent / silero.WEIGHTS).write_bytes(b"no archive")
    monkeypatch.setattr(silero.importlib.util, "find_spec", lambda _: SimpleNamespace(origin=str(package)))
    with pytest.raises(ModelError, match=r"silero_vad\.jit: no weights of silero-vad that we know .*`make install`"):
        silero.network.__wrapped__()


@pytest.mark.parametrize("vad", ["silero", "energy"])
def test_another_rate_has_the_same_moments(spoken: Path, vad: speech_activity.Vad) -> None:
    samples, _ = audio.read(spoken, 44_100)
    other = spoken.with_name("wide.flac")
    other.write_bytes(audio.flac_bytes(samples, 44_100))
    one, two = measured(spoken, vad), measured(other, vad)
    assert abs(len(one.levels) - len(two.levels)) <= 1
    assert (one.speaks(0, SECONDS - 1) == two.speaks(0, SECONDS - 1)).mean() > 0.98


def test_silero_is_deaf_to_what_is_loud_and_no_voice_and_energy_is_not(tmp_path: Path) -> None:
    time = np.arange(4 * RATE) / RATE
    hiss = np.random.default_rng(0).normal(0, 0.1, len(time)) * (time % 2 < 1) + 1e-4
    soundfile.write(tmp_path / "hiss.flac", hiss, RATE)
    assert measured(tmp_path / "hiss.flac", "silero").runs(0, 4) == []
    runs = measured(tmp_path / "hiss.flac", "energy").runs(0, 4)
    assert [(round(a, 1), round(b, 1)) for a, b in runs] == [(0, 1), (2, 3)]


def test_digital_silence_is_nobody(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "nothing.flac", np.zeros(RATE), RATE)
    for vad in ("silero", "energy"):
        assert measured(tmp_path / "nothing.flac", vad).runs(0, 1) == []  # type: ignore[arg-type]


def test_neither_torchaudio_nor_torchcodec_is_loaded(spoken: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from timbre.audio import speech_activity as activity\n"
        "assert 'torch' not in sys.modules\n"
        "activity.measure(Path(sys.argv[1]), 'silero')\n"
        "assert not {'torchaudio', 'torchcodec'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(spoken)], cwd=ROOT, check=True)
