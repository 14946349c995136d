"""Measurement: the results of an evaluation that need TensorFlow, stored so that another gate is applied without it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.components.evaluate.importance import FeatureImportance, Importance
from headrace.components.evaluate.predict import SplitPredictions
from headrace.components.evaluate.slices import Category
from headrace.core import storage
from headrace.core.errors import HeadraceError
from headrace.core.metrics import Outcomes
from headrace.core.problem import Problem
from headrace.core.steps.identity import release
from headrace.core.steps.step import identity

# Beyond this number of rows, prediction takes longer than the import of TensorFlow, and the file becomes large.
MOST_ROWS = 200_000
_DIGEST_BYTES = hashlib.sha256().digest_size
_OUTCOMES = ("label", "prediction", "probability", "weight")


@dataclass(frozen=True)
class Measurement:
    """Predictions and importance, which depend on the Examples and the models, and not on the gate.

    Attributes:
        test: the test split, predicted by the model and the champion.
        eval: the eval split, predicted by the model.
        importance: of the model's inputs, on the eval split.
    """

    test: SplitPredictions
    eval: SplitPredictions
    importance: Importance


def measurement_identity(
    problem: Problem, examples_identity: str, model_version: str, champion_version: str | None, seed: int = 1
) -> str:
    """Identity of a measurement, the cache key of its file.

    Args:
        problem: the Problem, whose gate and costs do not change the identity.
        examples_identity: identity of the Examples.
        model_version: of the Model.
        champion_version: of the champion; None without one.
        seed: of the importance, as of `EvaluateConfig`.
    """
    return identity(
        "measurement",
        problem=dataclasses.replace(problem, gate=None, costs=None).evaluation_digest,
        examples=examples_identity,
        model=model_version,
        champion=champion_version,
        seed=seed,
        release=release(),
    )


def stored_or(uri: str, measure: Callable[[], Measurement]) -> Measurement:
    """The measurement in a file; measured and written there if the file does not exist or is damaged.

    Args:
        uri: URI of the file; "" stores nothing.
        measure: computes the measurement.

    Raises:
        HeadraceError: as `measure`.
    """
    stored = _read(uri) if uri else None
    if stored is not None:
        return stored
    measured = measure()
    if uri and measured.test.outcomes[0].rows + measured.eval.outcomes[0].rows <= MOST_ROWS:
        # Without the file, such as on a full disk, the next evaluation measures again.
        with contextlib.suppress(HeadraceError):
            storage.write_bytes(uri, _to_bytes(measured))
    return measured


def _read(uri: str) -> Measurement | None:
    try:
        content = storage.read_bytes(uri)
    except (HeadraceError, OSError):
        # The file does not exist or is not usable: the measurement is repeated.
        return None
    digest, archive = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    return _from_bytes(archive) if hashlib.sha256(archive).digest() == digest else None


def _to_bytes(measured: Measurement) -> bytes:
    arrays: dict[str, NDArray[Any]] = {}
    about = {
        "test": _flat(measured.test, "test", arrays),
        "eval": _flat(measured.eval, "eval", arrays),
        "importance": dataclasses.asdict(measured.importance),
    }
    content = io.BytesIO()
    np.savez(content, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)  # type: ignore[arg-type]
    archive = content.getvalue()
    # The archive has checksums of its members, but not of their names: weights would be missing without an error.
    return hashlib.sha256(archive).digest() + archive


def _from_bytes(content: bytes) -> Measurement:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        about = json.loads(arrays["about"].tobytes())
        importance = about["importance"]
        features = tuple(FeatureImportance(**feature) for feature in importance["features"])
        return Measurement(
            _predicted(about["test"], "test", arrays),
            _predicted(about["eval"], "eval", arrays),
            Importance(**{**importance, "features": features}),
        )


def _flat(predicted: SplitPredictions, split: str, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Adds the arrays of a split to `arrays`, and returns the rest as JSON values."""
    outcomes = []
    for index, each in enumerate(predicted.outcomes):
        outcomes.append({"task": each.task, "classes": list(each.classes)})
        for name in _OUTCOMES:
            if (values := getattr(each, name)) is not None:
                arrays[f"{split}/{index}/{name}"] = values
    categories: dict[str, list[str] | None] = {}
    for index, (name, column) in enumerate(predicted.columns.items()):
        categories[name] = list(column.values) if isinstance(column, Category) else None
        arrays[f"{split}/column/{index}"] = column.codes if isinstance(column, Category) else column
    return {"keys": predicted.keys.tolist(), "outcomes": outcomes, "columns": categories}


def _predicted(about: dict[str, Any], split: str, arrays: Any) -> SplitPredictions:
    outcomes = []
    for index, each in enumerate(about["outcomes"]):
        found: dict[str, Any] = {name: arrays.get(f"{split}/{index}/{name}") for name in _OUTCOMES}
        outcomes.append(Outcomes(each["task"], tuple(each["classes"]), **found))
    columns: dict[str, Any] = {}
    for index, (name, categories) in enumerate(about["columns"].items()):
        values = arrays[f"{split}/column/{index}"]
        columns[name] = values if categories is None else Category(tuple(categories), values)
    return SplitPredictions(np.array(about["keys"], object), tuple(outcomes), columns)
