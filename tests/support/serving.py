"""A loaded model that answers bodies as the server does, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headrace.components.serve.modes.dynamic import Dynamic
from headrace.components.serve.protocols import rows
from headrace.core.saved_model.find import find_source
from headrace.core.scoring.online.current import CurrentModel
from headrace.core.scoring.online.model import OnlineModel


def load(path: Path | str, *, rules: Any = "enforce", **options: Any) -> OnlineModel:
    """The model at a path; `options` as of OnlineModel."""
    return OnlineModel(find_source(str(path), rules=rules), **options)


def dynamic(model: Any, **options: Any) -> Dynamic:
    """An answerer with a model; `options` as of Dynamic."""
    return Dynamic(CurrentModel(model), **options)


def answer(model: OnlineModel, body: bytes, *, columnar: bool = True, max_instances: int = 10_000) -> bytes:
    """The body of the response to a predict request; what the server refuses is raised."""
    answerer = dynamic(model)
    forms = rows.ROWS_OR_COLUMNS if columnar else rows.ROWS
    call = rows.decode(body, answerer.description, forms=forms, max_instances=max_instances)
    (outcome,) = answerer.answer([call.request])
    if isinstance(outcome, Exception):
        raise outcome
    return call.respond(outcome).body
