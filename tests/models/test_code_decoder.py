"""The decode loop that XTTS and GPT-SoVITS share: what a sentence says depends on itself alone."""

from __future__ import annotations

import pytest
import torch

from tests.support.tiny_sovits import STAGE1
from tests.support.tiny_xtts import CONFIG, VOCABULARY
from timbre.families.code_decoder import CodeDecoder, CodeDrawing, CodeSentence, SaidCode
from timbre.families.sampling import penalised, pick
from timbre.families.sovits.stage1 import Stage1, Stage1Speaker
from timbre.families.xtts.config import XttsSettings
from timbre.families.xtts.gpt import GptSpeaker, SpeechGpt


@pytest.fixture(scope="module")
def stage1() -> Stage1Speaker:
    torch.manual_seed(0)
    model = Stage1(STAGE1["model"])
    model.ar_predict_layer.weight.data.mul_(20)
    return Stage1Speaker(model.eval())


@pytest.fixture(scope="module")
def gpt() -> GptSpeaker:
    torch.manual_seed(0)
    model = SpeechGpt(XttsSettings.model_validate(CONFIG).model_args, VOCABULARY)
    model.mel_head.weight.data.mul_(20)
    return GptSpeaker(model.eval())


def sentences(speaker: Stage1Speaker | GptSpeaker) -> list[CodeSentence]:
    made = []
    for number, (text, before, most) in enumerate([(9, 5, 20), (40, 0, 7), (3, 60, 33), (12, 1, 1), (25, 9, 30)]):
        torch.manual_seed(number)
        ids = torch.randint(1, 200, (text,))
        if isinstance(speaker, GptSpeaker):
            made.append(speaker.sentence(torch.randn(1, 32, speaker.channels), ids, most, number))
        else:
            made.append(speaker.sentence(ids, torch.randint(0, 1024, (before,)), most, number))
    return made


@pytest.mark.parametrize("how", [CodeDrawing(0.0), CodeDrawing(0.9, 15, 0.8, 1.35)])
@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("model", ["stage1", "gpt"])
def test_a_sentence_is_the_same_bits_in_any_company_slot_and_order(
    request: pytest.FixtureRequest, model: str, slots: int, how: CodeDrawing
) -> None:
    speaker = request.getfixturevalue(model)
    asked = sentences(speaker)
    decoder = CodeDecoder(speaker, how, slots, torch.zeros(1))
    together = by_number(list(decoder.speak(asked)))
    backwards = by_number(list(decoder.speak(asked[::-1])))
    for number, sentence in enumerate(asked):
        alone = by_number(list(decoder.speak([sentence])))[0]
        for other in (together[number], backwards[len(asked) - 1 - number]):
            assert [said.code for said in other] == [said.code for said in alone]
            assert all(torch.equal(a.state, b.state) for a, b in zip(other, alone, strict=True))
        assert len(alone) == sentence.codes or alone[-1].ended


def by_number(said: list[SaidCode]) -> dict[int, list[SaidCode]]:
    made: dict[int, list[SaidCode]] = {}
    for one in said:
        made.setdefault(one.number, []).append(one)
    return made


def test_the_end_is_not_said_in_the_first_steps(stage1: Stage1Speaker) -> None:
    kept = stage1.model.ar_predict_layer.weight.data.clone()
    stage1.model.ar_predict_layer.weight.data[: stage1.end] = 0  # or it is as likely as all others
    stage1.model.ar_predict_layer.weight.data[stage1.end] = 0
    how = CodeDrawing(0.0)
    try:
        said = list(CodeDecoder(stage1, how, 1, torch.zeros(1)).speak(sentences(stage1)[:1]))
    finally:
        stage1.model.ar_predict_layer.weight.data = kept
    assert not any(one.ended for one in said[:11])


def test_drawing_keeps_to_the_likeliest_codes() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    draws = torch.linspace(0, 0.999, 200, dtype=torch.float64)[:, None]

    def met(how: CodeDrawing) -> set[int]:
        return {int(pick(logits, draw[None], how)) for draw in draws}

    assert met(CodeDrawing(1.0)) == {0, 1, 2, 3}
    assert met(CodeDrawing(1.0, top_k=2)) == {0, 1}
    assert met(CodeDrawing(1.0, top_p=0.8)) == {0, 1}  # the smallest set of at least this probability
    assert met(CodeDrawing(1.0, top_p=0.81)) == {0, 1, 2}
    assert met(CodeDrawing(1.0, top_p=0.01)) == {0}
    assert met(CodeDrawing(0.0)) == {0}


def test_a_penalty_makes_what_was_said_less_likely() -> None:
    said = torch.tensor([[True, True, False, False]])
    assert penalised(torch.tensor([[4.0, -4.0, 4.0, -4.0]]), said, 2.0).tolist() == [[2.0, -8.0, 4.0, -4.0]]
