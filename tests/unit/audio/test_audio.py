"""What is audio that a voice can be learnt from, and what is refused with one line."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile

from timbre import audio
from timbre.core.errors import AudioError

RATE = 22_050


def tone(seconds: float = 2.0, rate: int = RATE, level: float = 0.3) -> audio.Samples:
    return (level * np.sin(2 * np.pi * 220 * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def write(path: Path, samples: audio.Samples | audio.Pcm | None = None, rate: int = RATE, **options: str) -> Path:
    soundfile.write(path, tone(rate=rate) if samples is None else samples, rate, **options)
    return path


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def by_ffmpeg(source: Path, target: Path, *options: str) -> Path:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-i", str(source), *options, str(target)]
    subprocess.run(command, check=True)
    return target


def refusal(path: Path, **options: float) -> str:
    with pytest.raises(AudioError) as caught:
        audio.to_flac(path, path.parent / "out.flac", name="talk", **options)
    assert [p.name for p in path.parent.iterdir() if p.name.startswith("out")] == []
    text = str(caught.value)
    assert text.startswith("talk: ")
    assert "\n" not in text
    return text


def test_sixteen_bits_come_back_exactly(tmp_path: Path) -> None:
    pcm = np.random.default_rng(0).integers(-32768, 32768, 3 * audio.BLOCK + 5).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", pcm, RATE)
    facts = audio.to_flac(tmp_path / "a.wav", tmp_path / "b.flac", name="a")
    copied, rate = soundfile.read(tmp_path / "b.flac", dtype="int16")
    assert (copied == pcm).all()
    assert (rate, facts.sample_rate, facts.frames, facts.channels) == (RATE, RATE, len(pcm), 1)
    samples, _ = audio.read(tmp_path / "b.flac")
    assert audio.sha256(samples) == facts.sha256


def test_the_same_samples_are_the_same_bytes() -> None:
    assert audio.flac_bytes(tone(), RATE) == audio.flac_bytes(tone(), RATE)


def test_the_container_does_not_change_the_hash_of_the_samples(tmp_path: Path) -> None:
    hashes = {
        audio.to_flac(write(tmp_path / f"a.{ending}", audio.to_pcm(tone())), tmp_path / "b.flac", name="a").sha256
        for ending in ("wav", "flac", "aiff")
    }
    assert len(hashes) == 1


def test_two_channels_become_their_mean_and_the_rate_is_kept(tmp_path: Path) -> None:
    stereo = np.stack([tone(rate=44_100), np.zeros(88_200, np.float32)], axis=1)
    facts = audio.to_flac(write(tmp_path / "a.wav", stereo, 44_100), tmp_path / "b.flac", name="a")
    samples, rate = audio.read(tmp_path / "b.flac")
    assert (facts.channels, rate) == (2, 44_100)
    assert audio.peak(samples) == pytest.approx(0.15, abs=1e-3)


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
def test_a_part_is_cut_to_the_sample(tmp_path: Path, ending: str) -> None:
    write(tmp_path / f"a.{ending}", tone(20.0))
    facts = audio.to_flac(tmp_path / f"a.{ending}", tmp_path / "b.flac", name="a", start=13.5, end=17)
    assert facts.frames == round(3.5 * RATE)


def test_an_end_within_a_second_after_the_last_sample_means_the_end(tmp_path: Path) -> None:
    assert audio.to_flac(write(tmp_path / "a.wav"), tmp_path / "b.flac", name="a", end=2.5).seconds == 2


@pytest.mark.parametrize("ending", ["mp3", "ogg", "m4a", "webm", "mka"])
def test_compressed_recordings_are_read(tmp_path: Path, ending: str) -> None:
    source = write(tmp_path / "a.wav", rate=48_000)
    facts = audio.to_flac(by_ffmpeg(source, tmp_path / f"a.{ending}"), tmp_path / "b.flac", name="a")
    assert facts.seconds == pytest.approx(2, abs=0.1)
    assert {path.name for path in tmp_path.iterdir()} == {"a.wav", f"a.{ending}", "b.flac"}


def test_a_file_name_is_never_an_option_or_a_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    by_ffmpeg(write(Path("a.wav"), rate=48_000), Path("b.m4a")).rename("-i concat:$(x);a.m4a")
    assert audio.to_flac(Path("-i concat:$(x);a.m4a"), Path("b.flac"), name="a").frames > 0


def test_a_playlist_posing_as_audio_opens_no_other_file(tmp_path: Path) -> None:
    secret = by_ffmpeg(write(tmp_path / "a.wav", rate=48_000), tmp_path / "secret.ts", "-c:a", "aac")
    (tmp_path / "a.m3u8").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{secret}\n#EXT-X-ENDLIST\n")
    assert "is not audio" in refusal(tmp_path / "a.m3u8")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    assert "is empty" in refusal(tmp_path / "a.wav")


def test_a_file_without_samples_is_refused(tmp_path: Path) -> None:
    assert "holds no samples" in refusal(write(tmp_path / "a.wav", tone(0)))


def test_what_is_not_audio_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("<html>404</html>" * 100)
    assert "is not audio" in refusal(tmp_path / "a.wav")


@pytest.mark.parametrize("share", [0.6, 0.999])
@pytest.mark.parametrize("ending", ["wav", "flac", "aiff"])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, ending: str, share: float) -> None:
    assert "cut short" in refusal(cut(write(tmp_path / f"a.{ending}"), share))


@pytest.mark.parametrize(
    ("ending", "options", "problem"),
    [
        ("mp3", [], "cut short"),
        ("webm", [], "cut short"),
        ("m4a", ["-movflags", "+faststart"], "cut short"),
        ("m4a", [], "or only a piece of it"),  # the index was at the end
    ],
)
def test_a_compressed_file_that_was_cut_short_is_refused(
    tmp_path: Path, ending: str, options: list[str], problem: str
) -> None:
    whole = by_ffmpeg(write(tmp_path / "a.wav", tone(10, 48_000), 48_000), tmp_path / f"a.{ending}", *options)
    assert problem in refusal(cut(whole, 0.6))


def test_a_whole_mp3_whose_header_counts_no_frames_is_read(tmp_path: Path) -> None:
    # frames of 182 and 183 bytes: the guess is long
    options = ["-b:a", "56k", "-write_xing", "0", "-id3v2_version", "0"]
    whole = by_ffmpeg(write(tmp_path / "a.wav", tone(60, 44_100), 44_100), tmp_path / "a.mp3", *options)
    assert soundfile.info(whole).duration > 60.2
    assert len(audio.read(whole)[0]) / 44_100 == pytest.approx(60, abs=0.1)


def test_silence_is_refused(tmp_path: Path) -> None:
    assert "is silent, its loudest sample has -6" in refusal(write(tmp_path / "a.wav", tone(level=0.001)))


def test_eight_channels_are_refused(tmp_path: Path) -> None:
    assert "8 channels; mix it down" in refusal(write(tmp_path / "a.wav", np.stack([tone()] * 8, axis=1)))


def test_eight_kilohertz_are_refused(tmp_path: Path) -> None:
    assert "8000 Hz, too narrow" in refusal(write(tmp_path / "a.wav", rate=8_000))


def test_samples_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    broken = tone()
    broken[7] = np.nan
    assert "no numbers" in refusal(write(tmp_path / "a.wav", broken, subtype="FLOAT"))


def test_too_short_and_too_long_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav")
    assert "lasts 2.00 s, and at least 3 s" in refusal(path, min_seconds=3)
    assert "is longer than 0.0002" in refusal(path, max_seconds=1)


def test_a_part_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "lasts 2.00 s, so it has no part from 1 to 9 s" in refusal(write(tmp_path / "a.wav"), start=1, end=9)


def test_resampling_keeps_length_and_level() -> None:
    at_16k = audio.resample(tone(1.0, 44_100), 44_100, 16_000)
    assert len(at_16k) == 16_000
    assert audio.peak(at_16k[1000:-1000]) == pytest.approx(0.3, abs=0.01)


def test_a_span_is_read_without_the_rest(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", tone(5.0))
    whole, rate = audio.read(path)
    part, _ = audio.read(path, start=1.25, end=2.5)
    assert (part == whole[round(1.25 * rate) : round(2.5 * rate)]).all()


def test_levels_find_the_pause() -> None:
    samples = tone(1.0)
    samples[RATE // 2 : RATE // 2 + RATE // 10] = 0
    assert audio.levels(samples, RATE)[51:59] == pytest.approx(0)
    assert audio.is_silent(samples[RATE // 2 : RATE // 2 + RATE // 10])
    assert not audio.is_silent(samples)


def test_many_files_are_read_in_their_order_and_the_first_that_is_none_is_told(tmp_path: Path) -> None:
    for number in range(5):
        samples = np.full(1600, number / 8, np.float32)
        (tmp_path / f"{number}.flac").write_bytes(audio.flac_bytes(samples, 16_000))
    paths = [tmp_path / f"{number}.flac" for number in range(5)]
    assert [float(samples[800]) for samples in audio.read_all(paths, 16_000)] == [number / 8 for number in range(5)]
    assert audio.read_all([], 16_000) == []
    paths[3].write_bytes(b"nothing")
    with pytest.raises(AudioError, match=r"3\.flac"):
        audio.read_all(paths, 16_000)


def test_a_whole_file_is_read_once_while_it_is_remembered(tmp_path: Path) -> None:
    path = write(tmp_path / "one.flac")
    with audio.remembered():
        part, _ = audio.read(path, None, 0.5, 1.0)
        samples, rate = audio.read(path)
        path.unlink()
        again, own_rate = audio.read(path)
        at_16_khz, _ = audio.read(path, 16_000)
        with pytest.raises(AudioError, match="does not exist"):
            audio.read(path, None, 0.5, 1.0)
    assert (len(part), rate, own_rate) == (RATE // 2, RATE, RATE)
    assert np.array_equal(samples, again)
    assert np.array_equal(at_16_khz, audio.resample(samples, RATE, 16_000))
    with pytest.raises(AudioError, match="does not exist"):
        audio.read(path)


def test_no_more_is_remembered_than_there_is_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [write(tmp_path / f"{name}.flac") for name in ("one", "two")]
    monkeypatch.setattr(audio, "REMEMBERED", len(audio.read(paths[0])[0]))
    with audio.remembered():
        for path in paths:
            audio.read(path)
            path.unlink()
        audio.read(paths[0])
        with pytest.raises(AudioError, match="does not exist"):
            audio.read(paths[1])
