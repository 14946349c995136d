"""What Predictions depend on, known before a model is loaded: the same identity means the same bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from headrace.components.score.options import EndpointOptions
from headrace.core import storage
from headrace.core.errors import UsageError
from headrace.core.steps.identity import release
from headrace.core.steps.step import identity


def score_identity(
    model_version: str,
    data_version: str,
    *,
    sink: str = "parquet",
    table: str = "",
    partition_by: str = "",
    signature: str = "serving_default",
    key: str | None = None,
    inputs: Mapping[str, str | Sequence[str]] | Sequence[str] | None = None,
    optional: Sequence[str] = (),
    constants: Mapping[str, Any] | None = None,
    batch: str = "rows",
    approach: str = "auto",
    csv: Sequence[str] = (),
    rules: str = "enforce",
) -> str:
    """Identity of Predictions: what their bytes depend on. Runners, batches and threads change none of them."""
    return identity(
        "score",
        model=model_version,
        data=data_version,
        release=release(),
        sink=sink,
        table=table,
        partition_by=partition_by,
        signature=signature,
        key=key,
        inputs=inputs,
        optional=list(optional),
        constants=dict(constants or {}),
        batch=batch,
        approach=approach,
        csv=list(csv),
        rules=rules,
    )


def constants_of(text: str) -> dict[str, Any]:
    """The constants of a pipeline's parameter, by input; none of "".

    Raises:
        UsageError: it is not a JSON object of single values.
    """
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, bool | int | float | str) for value in found.values()):
        raise UsageError("the constants are not valid", expected='JSON {"INPUT": VALUE, ...}', received=text)
    return found


def version_of(model: str, endpoint: EndpointOptions | None = None) -> str:
    """What names a model's version before it is loaded: its own word, else a digest of its files, or its endpoint.

    Raises:
        UsageError: nothing that can be loaded is there.
        DataError: what is there is damaged.
    """
    if endpoint is not None and (not model or not storage.exists(model)):
        return endpoint.url
    # What reads models needs NumPy, which the tasks that only work out identities may have none of.
    from headrace.core.saved_model.digest import saved_model_digest
    from headrace.core.saved_model.find import find_source

    source = find_source(model, name="model")
    return source.version if source.interface is not None else saved_model_digest(source.saved_model)
