"""Identity of Predictions, computed without loading a model: the same identity means the same bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from headrace.components.score.options import EndpointOptions
from headrace.core import storage
from headrace.core.errors import UsageError
from headrace.core.saved_model import version
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
    """Cache key of Predictions, from everything that affects their bytes; runners, batches and threads do not."""
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
    """The constants of a pipeline's parameter, by input; empty for "".

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
    """A model's version without loading it: the declared one, else a digest of its files, or its endpoint.

    Raises:
        UsageError: there is no model.
        DataError: the model is damaged.
    """
    if endpoint is not None and (not model or not storage.exists(model)):
        return endpoint.url
    return version.version_of(model)
