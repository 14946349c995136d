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
# What the model alone makes of a column: Examples hold the columns as they are.
_OF_THE_MODEL = frozenset({"buckets", "embedding", "hash_buckets", "max_vocabulary"})
# Fields that came later, and what they are where nothing is declared: then the digest is what it was before them.
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
    """Digest of what preprocessing reads of a problem, given as its JSON value; in hexadecimal, as all of these."""
    read = {name: problem[name] for name in (*_EXAMPLES, "no_rows") if name in problem}
    columns = [feature for feature in problem["features"] if feature["kind"] != "Crossed"]
    read["features"] = [_without(column) for column in columns]
    read["label"] = _without(problem["label"])
    return _digest(read)


def training_digest(problem: Mapping[str, Any]) -> str:
    """Digest of what training reads or hands on in the Model: all but the gate and the search."""
    names = (*_EXAMPLES, "training", "hyperparameters", "threshold", "serving")
    return _digest({name: problem[name] for name in names if name in problem})


def evaluation_digest(problem: Mapping[str, Any]) -> str:
    """Digest of what evaluation reads: the columns, which slices are cut by, the gate, the threshold and the costs."""
    names = (*_EXAMPLES, "gate", "threshold", "costs")
    return _digest({name: problem[name] for name in names if name in problem})


def _without(column: Mapping[str, Any]) -> dict[str, Any]:
    # A number of buckets is measured with the statistics.
    measured = {"buckets"} if isinstance(column.get("buckets"), int) else set()
    return {name: value for name, value in column.items() if name not in _OF_THE_MODEL - measured}


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(_declared(facts), sort_keys=True).encode()).hexdigest()


def _declared(plain: Any) -> Any:
    """JSON values without the later fields that are at their defaults."""
    if isinstance(plain, dict):
        return {n: _declared(v) for n, v in plain.items() if n not in _LATER or v != _LATER[n]}
    return [_declared(value) for value in plain] if isinstance(plain, list) else plain
