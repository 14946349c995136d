"""Response bodies of prediction servers, as JSON values; without Arrow, which the image of the Kafka scorer lacks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from headrace.components.score.options import Form

# Fields with which Vertex AI names the model of a response.
_VERTEX_VERSION = ("deployedModelId", "modelVersionId")


class BrokenReply(Exception):
    """The response is not valid; the message has the reason."""


@dataclass(frozen=True)
class Reply:
    """The response of a prediction server.

    Attributes:
        predictions: one value per row; for the form "inputs", an array per output, or the array of the only output.
        deployed: the deployed model, if the server names it as Vertex AI does; or "".
    """

    predictions: Any
    deployed: str = ""


def reply_of(content: bytes, form: Form) -> Reply:
    """Parses the body of a response.

    Raises:
        BrokenReply: it is not the response of a prediction server.
    """
    name, kinds = ("predictions", (list,)) if form == "instances" else ("outputs", (dict, list))
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BrokenReply(f"it is not JSON: {error}") from error
    if not isinstance(answer, dict) or not isinstance(answer.get(name), kinds):
        raise BrokenReply(f"it has no {name}")
    said = [str(answer[field]) for field in _VERTEX_VERSION if answer.get(field)]
    return Reply(answer[name], ", version ".join(said))
