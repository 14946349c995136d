"""Drift limits: maximum distances of columns from an earlier version of the data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from headrace.core import storage
from headrace.core.errors import DataError
from headrace.core.problem import Categorical, Problem
from headrace.core.rules.shares import COLUMNS, and_more, mark
from headrace.core.statistics.drift import jensen_shannon, l_infinity
from headrace.core.text import counted


def read_baseline(path: str) -> Mapping[str, Any] | None:
    """The earlier statistics.json at `path`, or in the Examples there; None without a path.

    Raises:
        DataError: it is not a statistics file.
    """
    if not path:
        return None
    inside = storage.join(path, "statistics.json")
    where = inside if storage.exists(inside) else path
    plain = storage.read_json(where)
    if not isinstance(plain, dict) or not isinstance(plain.get("columns"), dict) or plain.get("format") != 1:
        raise DataError("it is not a statistics.json", where=where, expected="what an earlier preprocess measured")
    return plain


def baseline_version(path: str) -> str:
    """Fingerprint of the statistics at `path`, or in the Examples there; "" without a path.

    Raises:
        DataError: there are none.
    """
    plain = read_baseline(path)
    return "" if plain is None else statistics_version(plain)


def statistics_version(plain: Mapping[str, Any]) -> str:
    """Fingerprint of the content of a statistics.json."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def not_comparable(problem: Problem, baseline: Mapping[str, Any]) -> list[str]:
    """The columns of the Problem that the baseline lacks, or has with another kind or without values."""
    found = baseline["columns"]
    kinds = {
        c.name: "categorical" if isinstance(c, Categorical) else "numeric" for c in (*problem.columns, problem.label)
    }
    return [name for name, kind in kinds.items() if not _has(found.get(name), kind)]


def check_drift(
    problem: Problem,
    data: str,
    baseline: Mapping[str, Any] | None,
    statistics: Mapping[str, Any],
    *,
    without: Collection[str] = (),
) -> None:
    """Checks each column's distance from its earlier statistics against the Problem's `drift`.

    Args:
        problem: has the thresholds in `drift`; without them nothing is checked.
        data: source of the rows, for the message.
        baseline: the earlier statistics; without them nothing is checked.
        statistics: the present statistics.
        without: columns that are not checked, such as `not_comparable` ones.

    Raises:
        DataError: a distance is above its threshold, or a column is missing in the baseline or has another kind there;
            with a table of all checked columns.
    """
    if baseline is None or problem.drift is None:
        return
    judged: list[tuple[str, str, float, float]] = []
    for declared in (*problem.columns, problem.label):
        if declared.name in without:
            continue
        thresholds = problem.drift.of(declared.name)
        before, now = baseline["columns"].get(declared.name), statistics["columns"][declared.name]
        measures = {"Jensen-Shannon divergence": (jensen_shannon, thresholds.jensen_shannon)}
        if isinstance(declared, Categorical):
            measures["L-infinity distance"] = (l_infinity, thresholds.l_infinity)
        for measure, (distance, bound) in measures.items():
            if bound is None:
                continue
            if before is None or not _has(before, now["kind"]):
                raise _not_comparable(declared.name, now["kind"], before)
            # A column that has lost all its values has the maximum distance.
            judged.append((declared.name, measure, distance(before, now) if now["count"] else 1.0, bound))
    broken = sorted((row for row in judged if row[2] > row[3]), key=lambda row: row[3] - row[2])
    if not broken:
        return
    name, measure, distance_seen, bound = broken[0]
    raise DataError(
        f'the column "{name}" has drifted from the baseline' + and_more(len(broken)),
        where=data,
        expected=f"a {measure} of at most {bound:g}",
        received=f"{distance_seen:.4f}",
        fix="Find out what changed; if it is right so, raise the threshold in the Problem's drift, or give a later "
        "baseline",
        table=[
            COLUMNS,
            *(
                [name, measure, f"{distance:.4f}", f"at most {bound:g}", mark(distance, bound)]
                for name, measure, distance, bound in judged
            ),
        ],
    )


def _has(column: Mapping[str, Any] | None, kind: str) -> bool:
    return column is not None and column["kind"] == kind and bool(column["count"])


def _not_comparable(name: str, kind: str, before: Mapping[str, Any] | None) -> DataError:
    return DataError(
        f'the baseline cannot be compared in the column "{name}"',
        where="--baseline",
        expected=f"a {kind} column with values",
        received="no column"
        if before is None
        else f"a {before['kind']} column with {counted(before['count'], 'value')}",
        fix="Give the statistics.json of the same problem",
    )
