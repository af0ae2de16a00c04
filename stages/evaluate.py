"""Is this voice better than that one, and how sure are we? Every sample is heard, and held against the speaker's own.

Reads   reports/samples/<id>.json and .flac   what `generate` made: four conditions over the same prompts and seeds
        data/dataset, data/clips, data/codes  the speaker's held-out clips, and what was learnt, which they must not be
        evaluate.others (a folder)            other voices: <voice>.flac, or <voice>/<any>.flac
        data/pronunciations.tsv               words that `generate` spoke as they are spelt there
        data/opinions/<listener>.tsv          what people preferred in blind listening tests
Writes  reports/heard/<id>.json               what Whisper heard; second-<id>.json what the second ear heard, if any
        reports/embeddings/<name>.json        whose voice it is: embeddings of samples, true clips and other voices
        reports/scores.csv                    a row per sample
        reports/wer.csv                       a row per condition, for `dvc plots`
        reports/details.json                  rates with intervals, differences, gates; see timbre/evaluation/metrics.py
        reports/metrics.json                  the few of them that versions are compared by, for `dvc metrics diff`
        reports/mos.json                      predicted opinions, where DNSMOS is installed; no output of the pipeline

    python -m stages.evaluate --samples reports/samples --dataset data/dataset --clips data/clips \\
        --codes data/codes/csm --opinions data/opinions --heard reports/heard --embeddings reports/embeddings \\
        --scores reports/scores.csv --wer reports/wer.csv --details reports/details.json \\
        --metrics reports/metrics.json --mos reports/mos.json

Both folders are keyed by the sound, so that only new samples are heard and embedded. A condition's word error rate is
the errors of all its samples over the words of all its prompts: a one-word prompt weighs one word. Similarity is the
cosine to the mean of the speaker's held-out clips; those clips themselves, through the codec, are its ceiling, and
other voices its floor. A sample without sound has no words and is nobody's voice: it is not shown to Whisper, which
invents some. Where the voice learnt several speakers, each is judged by itself, and a gate passes where it does for all
of them; the rates are over all samples. A gate that does not pass is written and told; with `evaluate.strict` the last
stage, `track`, ends the pipeline with an error, once report and run show it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from timbre import audio
from timbre.asr import languages, second_ear
from timbre.asr.second_ear import SecondEar
from timbre.audio import delivery
from timbre.core.content import file_sha256, write_atomic
from timbre.core.errors import DataError, ModelError, raise_all
from timbre.core.params import read
from timbre.core.records import Example, Sample, from_json, read_jsonl
from timbre.core.sections import SpeakerParams
from timbre.evaluation import gates, one_voice, preferences, scores, speaker_encoder, speaker_similarity, word_errors
from timbre.evaluation import metrics as evidence
from timbre.evaluation.compared_sounds import other_sounds, own_sounds, sample_sounds, targets
from timbre.evaluation.hearing import SECOND, HeardSample, codec_cost, listen
from timbre.evaluation.measures import asks
from timbre.evaluation.metrics import CONDITIONS, Evidence, Speaker
from timbre.evaluation.mos import judge as predict_opinions
from timbre.evaluation.preferences import HeardSound
from timbre.evaluation.scores import Score
from timbre.evaluation.second_opinion import second_opinion
from timbre.evaluation.speaker_encoder import Vector
from timbre.evaluation.speaker_similarity import Scale, Vectors
from timbre.evaluation.weighing import JudgedSpeaker, weigh_all
from timbre.mapping.stage import run_stage
from timbre.project import pronunciations
from timbre.project.opinions import read as read_opinions

VERSION = 4  # raise when the code hears other words in the same sound


@dataclass(frozen=True)
class SecondVoice:
    """A sample as the second speaker encoder judges it."""

    similarity: float
    named: bool | None  # None where nobody knows other voices


def read_samples(folder: Path) -> list[Sample]:
    """Every sample, in the order of conditions, prompts, seeds; refused unless each condition speaks the same."""
    samples = [from_json(path.read_text(encoding="utf-8"), Sample, str(path)) for path in folder.glob("*.json")]
    samples.sort(key=lambda s: (CONDITIONS.index(s.condition), s.speaker, s.prompt, s.seed))
    spoken = {name: {(s.line, s.seed) for s in samples if s.condition == name} for name in CONDITIONS}
    everything = set().union(*spoken.values())
    problems = [
        f"{folder}/{name}-{line}-{seed}.json: missing, while other conditions speak this prompt; run `dvc repro`"
        for name in CONDITIONS
        for line, seed in sorted(everything - spoken[name])
    ]
    problems += [
        f"{folder / s.id}.flac: missing; run `dvc repro`" for s in samples if not (folder / f"{s.id}.flac").exists()
    ]
    raise_all(DataError, problems or ([] if samples else [f"{folder}: no samples; run `dvc repro`"]))
    return samples


def own_delivery(rows: Sequence[Example], clips: Path) -> tuple[float | None, float | None]:
    """The speaker's characters per second of speech, and share of pauses, over all rows."""
    sounds = [audio.read(clips / f"{row.id}.flac") for row in rows]
    spoken = sum(delivery.speech_seconds(*sound) for sound in sounds)
    if not spoken:
        return None, None
    seconds = sum(len(samples) / rate for samples, rate in sounds)
    return sum(len(row.text) for row in rows) / spoken, 1 - spoken / seconds


def score(
    sample: Sample, sound: HeardSample, whose: Vector, scale: Scale, own: float | None,
    spellings: Mapping[str, str] | None = None, second: SecondVoice | None = None,
) -> Score:  # fmt: skip
    """`own` is the speaker's pace in characters per second of speech; a word counts as right in either spelling."""
    texts = (sample.text, sound.text, sound.second or "")
    said, understood, by_second = (pronunciations.apply(text, spellings or {}) for text in texts)
    try:
        reading, other = (word_errors.compare(said, text, sample.language) for text in (understood, by_second))
    except ValueError as error:
        raise DataError(f"prompt {sample.prompt}: {error}; mend data/prompts.tsv") from error
    voices = scale.voices
    spoken = 0.0 if sound.silent else delivery.speech_seconds(sound.samples, sound.rate)
    return Score(
        sample=sample.id,
        condition=sample.condition,
        prompt=sample.prompt,
        seed=sample.seed,
        wer=round(reading.wer, 4),
        cer=round(reading.cer, 4),
        errors=reading.errors,
        words=reading.words,
        similarity=None if voices is None else 0.0 if sound.silent else round(voices.similarity(whose), 4),
        named=None if voices is None or not voices.others else not sound.silent and voices.is_named(whose),
        pace=round(len(sample.text) / spoken / own, 4) if spoken and own else None,
        pauses=round(1 - spoken * sound.rate / len(sound.samples), 4) if spoken else None,
        seconds=round(sample.seconds, 3),
        ended=sample.ended,
        silent=sound.silent,
        clipped=delivery.is_clipped(sound.samples),
        repeated=reading.repeated,
        text=sample.text,
        heard=sound.text,
        diff=reading.diff,
        looped=reading.looped,
        language=sample.language,
        speaker=sample.speaker,
        second_heard=sound.second,
        second_errors=None if sound.second is None else other.errors,
        second_similarity=None if second is None else 0.0 if sound.silent else round(second.similarity, 4),
        second_named=None if second is None or second.named is None else not sound.silent and second.named,
    )


def judge_speaker(
    name: str, heard: Mapping[Sample, HeardSample], embedded: Sequence[Vectors], held_out: Sequence[Example],
    clips: Path,
) -> JudgedSpeaker:  # fmt: skip
    by_kind, *by_second = (speaker_similarity.of_voice(vectors, name) for vectors in embedded)
    scale = speaker_similarity.measure(by_kind)
    pace, pauses = own_delivery([row for row in held_out if row.source == name], clips)
    spellings = functools.cache(pronunciations.read)
    whose = {sound.name: vector for sound, vector in by_kind["sample"]}
    own = [sample for sample in heard if sample.id in whose]
    rows = [
        score(sample, heard[sample], whose[sample.id], scale, pace, spellings(sample.language), other)
        for sample, other in zip(own, second_voices(by_second, own), strict=True)
    ]
    cloned = named_references([vector for _, vector in by_kind["reference"]], scale)
    own_scale = Speaker(scale.ceiling, scale.floor, pace, pauses, strangers(name, by_kind, scale))
    return JudgedSpeaker(rows, own_scale, cloned)


def strangers(name: str, vectors: Vectors, scale: Scale) -> float | None:
    """The share of the speaker's held-out clips that are of another voice, if any; they are named."""
    own = vectors["true"]
    if scale.voices is None or not (
        other := one_voice.second_voice([v for _, v in own], one_voice.limit(scale.voices))
    ):
        return None
    print(f"evaluate: warning: {one_voice.doubt(name, [own[place][0].name for place in other])}")
    return len(other) / len(own)


def named_references(cloned: Sequence[Vector], scale: Scale) -> float | None:
    """Share of the cloned clips that are named as the speaker; None where nobody knows other voices."""
    voices = scale.voices
    if voices is None or not voices.others or not cloned:
        return None
    return sum(voices.is_named(clip) for clip in cloned) / len(cloned)


def heard_sounds(samples: Sequence[Sample], folder: Path) -> dict[str, HeardSound]:
    """By the name that opinions give a sound."""
    return {
        file_sha256(folder / f"{sample.id}.flac")[:16]: HeardSound(sample.condition, sample.line) for sample in samples
    }


def write(rows: Sequence[Score], judged: Evidence, table: Path, wer: Path, details: Path, metrics: Path) -> None:
    scores.write(table, rows)
    rates = ({"condition": name, "wer": m.wer, "cer": m.cer} for name, m in judged.conditions.items())
    write_atomic(wer, scores.to_csv(rates, ["condition", "wer", "cer"]))
    evidence.write(details, judged)
    evidence.write_headline(metrics, judged)


def tell(judged: Evidence, leaks: Sequence[str]) -> None:
    for name, gate in judged.gates.items():
        value = "not measured" if gate.value is None else f"{gate.value:.4g}"
        print(f"evaluate: {'passed' if gate.passed else 'FAILED'}  {asks(name)}: {value}, limit {gate.limit:g}")
    for disagreement in evidence.disagreements(judged).values():
        print(f"evaluate: warning: {disagreement}")
    for name, listener in judged.listeners.items():
        if not listener.reliable:
            print(f"evaluate: {name} {listener.why}; nothing of this listener counts")
    for leak in leaks:
        print(f"evaluate: leakage: {leak}")


def second_judge(name: str | None, samples: Sequence[Sample]) -> SecondEar | None:
    """Refused where it does not know a language of the samples; its blind spots are told."""
    if name is None:
        return None
    ear = second_ear.second_ear(name, (sample.text for sample in samples))
    foreign = {sample.language for sample in samples} - set(second_ear.heard_by(ear))
    raise_all(
        ModelError, (f"evaluate.second_ear: {name} does not know `{one}`; name another" for one in sorted(foreign))
    )
    if missing := second_ear.unknown(ear):
        print(f"evaluate: {name} lacks these words, and gets them wrong in each sample: {', '.join(missing)}")
    return ear


def second_voices(by_second: Sequence[Vectors], samples: Sequence[Sample]) -> list[SecondVoice | None]:
    """What the second encoder makes of each sample; nothing where there is none, or no clip to compare with."""
    voices = speaker_similarity.measure(by_second[0]).voices if by_second else None
    if voices is None:
        return [None] * len(samples)
    vectors = (vector for _, vector in by_second[0]["sample"])
    return [SecondVoice(voices.similarity(one), voices.is_named(one) if voices.others else None) for one in vectors]


def main(
    samples: Annotated[Path, "folder of generated samples"],
    dataset: Annotated[Path, "folder of train.jsonl and eval.jsonl"],
    clips: Annotated[Path, "folder of clips"],
    codes: Annotated[Path, "folder of the clips' codes"],
    opinions: Annotated[Path, "folder of what people preferred"],
    heard: Annotated[Path, "folder for what Whisper heard"],
    embeddings: Annotated[Path, "folder for embeddings"],
    scores: Annotated[Path, "table with a row per sample"],
    wer: Annotated[Path, "table with a row per condition"],
    details: Annotated[Path, "rates, differences and gates"],
    metrics: Annotated[Path, "the few rates that versions are compared by"],
    mos: Annotated[Path, "predicted opinions, where DNSMOS is installed"],
) -> None:
    settings = read()
    params, options = settings.evaluate, settings.whisper
    encoder, voice = settings.speaker, settings.voice
    engine = settings.compute
    spoken = read_samples(samples)
    train, held_out = (read_jsonl(dataset / f"{name}.jsonl", Example) for name in ("train", "eval"))
    cloned = targets(spoken, [*train, *held_out])
    paths = [samples / f"{sample.id}.flac" for sample in spoken]
    spoken_in = {f"{samples / sample.id}.flac": sample.language for sample in spoken}
    languages.refuse(options, spoken_in)
    second = second_judge(params.second_ear, spoken)
    true = own_sounds(cloned, held_out, clips, codes)
    spoken_as = list(spoken_in.values())
    with audio.remembered():  # the samples, which two models hear and `score` measures
        understood = listen(heard, paths, options, params.batch, engine, spoken_as, second, true, voice, VERSION)
        sounds = dict(zip(spoken, understood, strict=True))
        strange = other_sounds(cloned, train, held_out, clips, Path(params.others))
        compared = [*sample_sounds(spoken, cloned, samples, clips), *true, *strange]
        encoders = [encoder, *(SpeakerParams(*name) for name in speaker_encoder.named(params.second_encoder))]
        embedded = speaker_similarity.bring(embeddings, compared, encoders, voice, engine)
        each = {name: judge_speaker(name, sounds, embedded, held_out, clips) for name in cloned}
    by_sample = {row.sample: row for one in each.values() for row in one.rows}
    rows = [by_sample[sample.id] for sample in spoken]
    leaks = list(gates.leaks(train, held_out, {sample.prompt: sample.text for sample in spoken}))
    people = preferences.judge(read_opinions(opinions), heard_sounds(spoken, samples), rows)
    judges = second_opinion(rows, params.second_ear, params.second_encoder)
    if "wer" in judges:
        first, other = (codec_cost(heard, true, prefix) for prefix in ("", SECOND))
        judges["wer"] = replace(judges["wer"], codec_first=first, codec=other)
    judged = weigh_all(each, rows, len(leaks), params.gates, people, judges)
    write(rows, judged, scores, wer, details, metrics)
    tell(judged, leaks)
    predict_opinions(mos, paths)


if __name__ == "__main__":
    run_stage(main)
