"""Problem digests: of the parts of a declaration that preprocessing, training and evaluation read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_EXAMPLES = (
    *("name", "key", "label", "features", "splits", "quarantine_budget", "drift", "duplicate_rows"),
    *("missing", "derive", "weight", "reads", "prepared_by"),
)
# Arguments of columns that only the model uses: Examples contain the columns without them.
_OF_THE_MODEL = frozenset({"buckets", "embedding", "hash_buckets", "max_vocabulary"})
# Fields that were added later, with their defaults: a field at its default does not change the digest.
_LATER: Mapping[str, Any] = {
    "max_missing": None,
    "max_unknown": None,
    "drift": None,
    "duplicate_rows": "allow",
    "column": None,
    "missing": [],
    "derive": {},
    "weight": None,
    "class_weights": None,
    "reads": [],
    "prepared_by": "",
    "threshold": 0.5,
    "costs": None,
    "no_rows": "skip",
    "exponent": 0,
    "double": False,
}


def schema_digest(problem: Mapping[str, Any]) -> str:
    """Digest of the parts of a problem, as its JSON value, that preprocessing reads; in hexadecimal."""
    read = {name: problem[name] for name in (*_EXAMPLES, "no_rows") if name in problem}
    columns = [feature for feature in problem["features"] if feature["kind"] != "Crossed"]
    read["features"] = [_without(column) for column in columns]
    read["label"] = _without(problem["label"])
    return _digest(read)


def training_digest(problem: Mapping[str, Any]) -> str:
    """Digest of the parts that training reads or copies into the Model: all but the gate and the search."""
    names = (*_EXAMPLES, "training", "hyperparameters", "threshold", "serving")
    return _digest({name: problem[name] for name in names if name in problem})


def evaluation_digest(problem: Mapping[str, Any]) -> str:
    """Digest of the parts that evaluation reads: the columns, for slices, the gate, the threshold and the costs."""
    names = (*_EXAMPLES, "gate", "threshold", "costs")
    return _digest({name: problem[name] for name in names if name in problem})


def _without(column: Mapping[str, Any]) -> dict[str, Any]:
    # A number of buckets is measured with the statistics.
    measured = {"buckets"} if isinstance(column.get("buckets"), int) else set()
    return {name: value for name, value in column.items() if name not in _OF_THE_MODEL - measured}


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(_declared(facts), sort_keys=True).encode()).hexdigest()


def _declared(plain: Any) -> Any:
    """JSON values without the fields of _LATER that have their defaults."""
    if isinstance(plain, dict):
        return {n: _declared(v) for n, v in plain.items() if n not in _LATER or v != _LATER[n]}
    return [_declared(value) for value in plain] if isinstance(plain, list) else plain
