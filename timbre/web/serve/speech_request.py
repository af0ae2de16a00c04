"""What a client may ask for: OpenAI's fields of `POST /v1/audio/speech`, and ours, which others ignore."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from timbre.audio.stretching import TEMPOS
from timbre.web.serve.errors import Refusal

LONGEST = 4096  # characters, as OpenAI has it
MOST = 256 << 10  # bytes of a body: each character may be written as `\\uXXXX`, twice
Short = Annotated[str, Field(max_length=200)]


class NamedVoice(BaseModel):
    id: Short


class SpeechRequest(BaseModel):
    """Unknown fields are ignored: clients send more than the API has."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    input: Annotated[str, Field(min_length=1, max_length=LONGEST)]
    model: Short = "timbre"
    voice: Short | NamedVoice | None = None
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    speed: Annotated[float, Field(ge=TEMPOS[0], le=TEMPOS[1])] = 1.0
    stream_format: Literal["audio", "sse"] = "audio"
    instructions: Annotated[str, Field(max_length=4096)] | None = None
    # ours
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None  # None: another take each time
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None  # None: as `generate.temperature`
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None  # None: as `generate.top_p`
    speaker: Short | None = None  # one of several that the voice learnt; `voice` may say `champion:ann` as well
    reference: Short | None = None  # id of a training clip, `none` for no clip; None: the server's, or the speaker's
    language: Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$", max_length=20)] = "en"
    normalize: bool = True  # numbers, dates and abbreviations spelled out

    @property
    def voice_name(self) -> str | None:
        return self.voice.id if isinstance(self.voice, NamedVoice) else self.voice


def parse(body: bytes) -> SpeechRequest:
    try:
        return SpeechRequest.model_validate(json.loads(body))
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else None
        raise Refusal(400, f"{name or 'body'}: {first['msg']}", param=name, code="invalid_value") from error
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "the body is not JSON", code="invalid_json") from error
