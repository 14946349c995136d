"""What is asked of the data as a whole: shares of missing and of unknown values, and drift from an earlier version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from headrace.core import storage
from headrace.core.errors import DataError
from headrace.core.problem import Categorical, Problem
from headrace.core.statistics.drift import jensen_shannon, l_infinity
from headrace.core.text import counted

_COLUMNS = ["column", "measure", "seen", "expected", ""]


def check_shares(problem: Problem, data: str, seen: Mapping[str, int]) -> None:
    """Checks the shares of missing and unknown values among the rows that broke no rule of their own.

    Args:
        problem: whose columns say max_missing and max_unknown.
        data: what the rows were read from, for the message.
        seen: `Checked.seen` of all rows.

    Raises:
        DataError: a share is above its bound, with a table of all that were judged.
    """
    rows = seen.get("rows", 0)
    judged: list[tuple[str, str, float, float]] = []
    for declared in problem.columns:
        bounds = {"missing": declared.max_missing}
        if isinstance(declared, Categorical):
            bounds["unknown"] = declared.max_unknown
        for measure, bound in bounds.items():
            if bound is not None and rows:
                judged.append((declared.name, measure, seen.get(f"{measure} {declared.name}", 0) / rows, bound))
    broken = [row for row in judged if row[2] > row[3]]
    if not broken:
        return
    name, measure, share, bound = broken[0]
    raise DataError(
        f'more values of "{name}" are {measure} than the Problem allows' + _and_more(len(broken)),
        where=data,
        expected=f"at most {100 * bound:g} % of {counted(rows, 'row')}",
        received=f"{share:.2%} ({counted(seen[f'{measure} {name}'], 'row')})",
        fix=f"Correct the rows, or raise max_{measure} in the Problem file",
        table=[
            _COLUMNS,
            *(
                [name, f"{measure} values", f"{share:.2%}", f"at most {100 * bound:g} %", _mark(share, bound)]
                for name, measure, share, bound in judged
            ),
        ],
    )


def read_baseline(path: str) -> Mapping[str, Any] | None:
    """The earlier statistics.json at `path`, or in the Examples there; None of no path.

    Raises:
        DataError: it is not one.
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
    """Fingerprint of the statistics at `path`, or in the Examples there; "" of no path.

    Raises:
        DataError: there are none.
    """
    plain = read_baseline(path)
    return "" if plain is None else hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def check_drift(problem: Problem, data: str, baseline: Mapping[str, Any] | None, statistics: Mapping[str, Any]) -> None:
    """Checks each column's distance from its earlier statistics against the Problem's `drift`.

    Args:
        problem: whose drift says the thresholds; without it nothing is judged.
        data: what the rows were read from, for the message.
        baseline: the earlier statistics; without them nothing is judged.
        statistics: those of now.

    Raises:
        DataError: a distance is above its threshold, or the baseline lacks a column or has it of another kind; with
            a table of all that were judged.
    """
    if baseline is None or problem.drift is None:
        return
    judged: list[tuple[str, str, float, float]] = []
    for declared in (*problem.columns, problem.label):
        thresholds = problem.drift.of(declared.name)
        before, now = baseline["columns"].get(declared.name), statistics["columns"][declared.name]
        measures = {"Jensen-Shannon divergence": (jensen_shannon, thresholds.jensen_shannon)}
        if isinstance(declared, Categorical):
            measures["L-infinity distance"] = (l_infinity, thresholds.l_infinity)
        for measure, (distance, bound) in measures.items():
            if bound is None:
                continue
            if before is None or before["kind"] != now["kind"] or not before["count"]:
                raise _not_comparable(declared.name, now["kind"], before)
            # A column that has lost all its values is as far away as can be.
            judged.append((declared.name, measure, distance(before, now) if now["count"] else 1.0, bound))
    broken = sorted((row for row in judged if row[2] > row[3]), key=lambda row: row[3] - row[2])
    if not broken:
        return
    name, measure, distance_seen, bound = broken[0]
    raise DataError(
        f'the column "{name}" has drifted from the baseline' + _and_more(len(broken)),
        where=data,
        expected=f"a {measure} of at most {bound:g}",
        received=f"{distance_seen:.4f}",
        fix="Find out what changed; if it is right so, raise the threshold in the Problem's drift, or give a later "
        "baseline",
        table=[
            _COLUMNS,
            *(
                [name, measure, f"{distance:.4f}", f"at most {bound:g}", _mark(distance, bound)]
                for name, measure, distance, bound in judged
            ),
        ],
    )


def _not_comparable(name: str, kind: str, before: Mapping[str, Any] | None) -> DataError:
    return DataError(
        f'the baseline cannot be compared in the column "{name}"',
        where="--baseline",
        expected=f"a {kind} column with values",
        received="no such column"
        if before is None
        else f"a {before['kind']} column with {counted(before['count'], 'value')}",
        fix="Give the statistics.json of the same problem",
    )


def _and_more(count: int) -> str:
    return f", and {count - 1} more" if count > 1 else ""


def _mark(seen: float, bound: float) -> str:
    return "too much" if seen > bound else "ok"
