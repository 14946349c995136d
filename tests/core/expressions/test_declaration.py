"""Declaration of expressions: what is refused, and with what words."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from headrace import expressions as x
from headrace.core.errors import ProblemError
from headrace.core.expressions import zones
from headrace.core.expressions.json_form import from_json, to_json
from headrace.core.expressions.nodes import Expression
from headrace.expressions import col


@pytest.mark.parametrize(
    ("build", "what"),
    [
        (lambda: col(""), "col is wrong"),
        (lambda: col("a") + None, "an operand is wrong"),
        (lambda: col("a") + float("nan"), "an operand is wrong"),
        (lambda: col("a") == "", "an operand is wrong"),
        (lambda: col("a") + 2**60, "an operand is wrong"),
        (lambda: col("a").lower() * 2, "multiply requires a number"),
        (lambda: x.log(x.timestamp("a")), "log requires a number"),
        (lambda: x.hour("a") + "x", "concat requires text"),
        (lambda: col("a").lower() & (col("b") > 1), "and requires true or false"),
        (lambda: x.if_else(col("a") > 1, "x", x.hour("b")), "if_else requires text"),
        (lambda: x.hour("a", zone="Mars/Olympus"), "zone is wrong"),
        (lambda: x.hour("a", zone="../../etc/passwd"), "zone is wrong"),
        (lambda: x.timestamp("a", unit="h"), "unit is wrong"),
        (lambda: x.bucket("a", [2, 1]), "boundaries is wrong"),
        (lambda: x.bucket("a", [1, 10**400]), "boundaries is wrong"),
        (lambda: col("a").cut(-1, 2), "start is wrong"),
        (lambda: col("a").contains(""), "part is wrong"),
        (lambda: col("a").isin([]), "isin is wrong"),
        (lambda: bool(col("a") > 1), "an expression has no truth value, only one per row"),
        (lambda: 0 < col("a") < 1, "an expression has no truth value, only one per row"),
        (lambda: list(col("a")), "an expression is one value per row, and cannot be iterated"),
    ],
)
def test_refused(build: Callable[[], object], what: str) -> None:
    with pytest.raises(ProblemError) as raised:
        build()
    assert raised.value.what == what


def test_depth_and_size_are_bounded() -> None:
    deep: Expression = col("a") + 1
    with pytest.raises(ProblemError, match="the expression is too large"):
        for _ in range(100):
            deep = x.log(deep)
    wide: Expression = col("a") + 1
    with pytest.raises(ProblemError, match="the expression is too large"):
        for _ in range(40):
            wide = wide + wide


def test_use_tells_what_a_column_is() -> None:
    assert to_json(x.hour("t", zone="Europe/Berlin")) == {
        "call": "hour",
        "of": [{"call": "timestamp", "of": [{"column": "t", "kind": "text"}], "unit": ""}],
        "zone": "Europe/Berlin",
    }
    assert to_json(col("a") > 0.5)["of"] == [{"literal": 0.5}, {"column": "a", "kind": "number"}]
    assert to_json(col("c") == "x")["of"] == [{"column": "c", "kind": "text"}, {"literal": "x"}]


@pytest.mark.parametrize(
    "plain",
    [
        None, [], {"call": "system", "of": [{"literal": 1}]}, {"call": "log", "of": []}, {"literal": None},
        {"column": 1}, {"call": "hour", "of": [{"column": "t"}]}, {"column": "a", "kind": "time"},
    ],
)  # fmt: skip
def test_json_of_another_form_is_refused(plain: Any) -> None:
    with pytest.raises(ProblemError):
        from_json(plain)


@pytest.mark.parametrize("name", ["America/Chicago", "Europe/Berlin", "Africa/Casablanca", "Etc/GMT+5"])
def test_tables_of_zones_are_those_of_zoneinfo(name: str) -> None:
    table = zones.zone(name)
    with resources.files("tzdata.zoneinfo").joinpath(*name.split("/")).open("rb") as file:
        rules = ZoneInfo.from_file(file)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    for start, offset in zip(table.starts, table.offsets, strict=True):
        assert (epoch + timedelta(seconds=start)).astimezone(rules).utcoffset() == timedelta(seconds=offset)
    for start, before in zip(table.starts[1:], table.offsets, strict=False):
        earlier = epoch + timedelta(seconds=start - 1)
        assert earlier.astimezone(rules).utcoffset() == timedelta(seconds=before)
    # Each hour of 2026: no change is left out.
    first = zones.seconds_of(2026)
    for second in range(first, zones.seconds_of(2027), 3600):
        offset = next(o for s, o in reversed(list(zip(table.starts, table.offsets, strict=True))) if s <= second)
        assert (epoch + timedelta(seconds=second)).astimezone(rules).utcoffset() == timedelta(seconds=offset)


def test_the_public_names_are_complete() -> None:
    assert sorted(x.__all__) == list(x.__all__)
    assert all(getattr(x, name).__doc__ for name in x.__all__)
