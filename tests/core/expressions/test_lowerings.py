"""Lowerings of expressions: numpy, Arrow and TensorFlow give the same values for any expression and any rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.core.errors import ProblemError
from headrace.core.expressions import functions as x
from headrace.core.expressions import lower_arrow, lower_numpy, lower_tensorflow
from headrace.core.expressions.binding import inlined, raw_columns
from headrace.core.expressions.json_form import from_json, to_json
from headrace.core.expressions.nodes import ColumnReference, Expression, coerced

NUMBERS = ("a", "b")
TEXTS = ("s", "t")
ZONES = ("UTC", "America/Chicago", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "Africa/Casablanca")

_EXTREMES = [
    0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, 1e-3, 3.0, 7.0, 100.0, 3.4028235e38, -3.4028235e38, 1.1754944e-38,
    1e-40, 1e-45, -1e-42, 16777217.0, 9007199254740993.0, 1e20, float("nan"),
]  # fmt: skip
_WRITTEN = [
    "", " ", "a", "A", "Äß", "İı", "ÉCOLE", "日本", "🙂x", " pad\t", "true", "FALSE", "1", "0", "007", "+5", "-3.25",
    "1e5", "1e-99", "1e999", "9" * 31, "0x10", "1_000", ".5", "5.", "nan", "inf", "a.b*c", "x\ny", "\u2003wide\u2003",
    "2026-05-16", "2026-03-29 01:30", "2026-03-29T02:30:00+01:00", "2026-10-25T00:59:59.999999999Z", "2023-02-29",
    "2024-02-29", "0001-01-01", "0000-01-01", "0001-01-01T00:00+14:00", "9999-12-31T23:59:59-12:00", "1899-12-31",
    "1900-01-01T00:00:01", "2100-12-31T23:59:59", "2101-01-01", "1969-12-31 23:59:59.5-0630", "2026-13-01",
    "2026-05-16T24:00", "2026-05-16T12:60", "2026-05-16 12:30:60", "2026-05-16T12:30+24", "20260516", "1400268500",
    "-86400.5", "1400268500000", "253402300799", "253402300800", "999999999999999999", "1234567890123456789", "-0.5",
    "2026-05-16\n", "1400268500\n", "2026/05/16", "2026/05/16 12:30-07:00", "2026/05-16", "2026-05/16 12:30",
]  # fmt: skip

_numbers = st.sampled_from(_EXTREMES) | st.floats(width=32, allow_infinity=False)
_texts = st.sampled_from(_WRITTEN) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6
)
_parts = st.sampled_from(["a", "A", ".", "*", "\\", " ", "本", "é", "01", "\n"])


def _extend(of: Any) -> Any:
    def grown(kind: str) -> Any:
        return of.map(lambda e: _as(kind, e))

    number, boolean, text, time = (grown(kind) for kind in ("number", "boolean", "text", "time"))
    zone = st.sampled_from(ZONES)
    unary = [
        x.log,
        x.log1p,
        x.exp,
        x.expm1,
        x.sqrt,
        x.floor,
        x.ceil,
        x.round_half_even,
        abs,
        lambda e: -e,
        x.sin,
        x.cos,
    ]
    parts = [x.year, x.month, x.day, x.weekday, x.day_of_year, x.hour, x.minute, x.second]
    binary = [
        lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a * b, lambda a, b: a / b, lambda a, b: a % b,
        lambda a, b: a // b, x.minimum, x.maximum, lambda a, b: a < b, lambda a, b: a >= b, lambda a, b: a == b,
        lambda a, b: a != b,
    ]  # fmt: skip
    return st.one_of(
        st.builds(lambda f, e: f(e), st.sampled_from(unary), number),
        st.builds(lambda f, a, b: f(a, b), st.sampled_from(binary), number, number),
        st.builds(lambda e, n: e**n, number, st.sampled_from([2, 3, 0.5, -1, 1.7, 0])),
        st.builds(lambda e: x.bucket(e, [-1, 0.5, 3]), number),
        st.builds(lambda e: e.clip(-2, 5), number),
        st.builds(x.haversine, number, number, number, number),
        st.builds(x.if_else, boolean, number, number),
        st.builds(x.if_else, boolean, text, text),
        st.builds(lambda c, d: c & d, boolean, boolean),
        st.builds(lambda c, d: c | d, boolean, boolean),
        st.builds(lambda c: ~c, boolean),
        st.builds(lambda e: e.is_missing(), of),
        st.builds(lambda e, v: e.fill_missing(v), number, number),
        st.builds(lambda e, v: e.fill_missing(v), text, text),
        st.builds(lambda e: e.lower(), text),
        st.builds(lambda e: e.strip(), text),
        st.builds(lambda e: e.length(), text),
        st.builds(lambda e, i, n: e.cut(i, i + n - 1 if i + n else 0), text, st.integers(0, 5), st.integers(0, 4)),
        st.builds(lambda e, p: e.contains(p), text, _parts),
        st.builds(lambda e, p: e.startswith(p), text, _parts),
        st.builds(lambda e, p: e.endswith(p), text, _parts),
        st.builds(lambda e, f: e + f, text, text),
        st.builds(lambda e, f: e == f, text, text),
        st.builds(lambda e: e.isin(["a", "true", "本", "1"]), text),
        st.builds(x.number, text),
        st.builds(lambda e: x.as_text(x.floor(e)), number),
        st.builds(lambda f, e, z: f(e, zone=z), st.sampled_from(parts), time, zone),
        st.builds(lambda e, f: e - f, time, time),
        st.builds(lambda e, f: e < f, time, time),
        st.builds(lambda e, u: x.timestamp(e, unit=u), text, st.sampled_from(["s", "ms", "us"])),
    )


def _as(kind: str, e: Expression) -> Expression:
    """An expression of another kind made of `e`, so that any two fit together."""
    if e.kind == kind or (kind == "number" and e.kind == "integer"):
        return e
    if e.kind == "time":
        return _as(kind, x.second(e))
    if kind == "number":
        return x.number(e)
    if kind == "boolean":
        return e > 0 if e.kind in ("number", "integer") else e.contains("1")
    if kind == "time":
        return x.timestamp(_as("text", e))
    return x.as_text(x.floor(e) if e.kind == "number" else e)


_leaves = st.one_of(
    st.sampled_from([ColumnReference(name, "number") for name in NUMBERS]),
    st.sampled_from([ColumnReference(name, "text") for name in TEXTS]),
    st.builds(lambda v: ColumnReference("a", "number") * v, st.sampled_from([0, 1, 0.2, -3, 1e300])),
)
expressions = st.recursive(_leaves, _extend, max_leaves=8)
rows = st.lists(st.tuples(_numbers, _numbers, _texts, _texts), min_size=1, max_size=12)


def lowered(derive: dict[str, Expression], table: list[tuple[Any, ...]], graph: bool = False) -> list[dict[str, Any]]:
    """What numpy, Arrow and TensorFlow give: float32 with NaN, or lists of text."""
    names = (*NUMBERS, *TEXTS)
    columns: dict[str, Any] = dict(zip(names, zip(*table, strict=True), strict=True))
    arrays = {n: np.array(columns[n], np.float64) if n in NUMBERS else _objects(columns[n]) for n in names}
    arrow = {n: pa.array(a, from_pandas=True) if n in NUMBERS else pa.array(a, pa.string()) for n, a in arrays.items()}

    def on_tensors(**tensors: Any) -> Any:
        return lower_tensorflow.derive(derive, tensors)

    called = tf.function(on_tensors, autograph=False) if graph else on_tensors
    by_tensorflow = called(**{n: tf.constant(a) for n, a in arrays.items()})
    by_arrow = lower_arrow.derive(derive, arrow, len(table))
    return [
        {n: _plain(v) for n, v in lower_numpy.derive(derive, arrays).items()},
        {n: _plain(_from_arrow(v)) for n, v in by_arrow.items()},
        {n: _plain(v.numpy()) for n, v in by_tensorflow.items()},
    ]


def _objects(values: Any) -> Any:
    texts = np.empty(len(values), object)
    texts[:] = values
    return texts


def _from_arrow(column: pa.Array) -> Any:
    if pa.types.is_string(column.type):
        assert not any(value == "" for value in column.to_pylist())
        return _objects([value or "" for value in column.to_pylist()])
    return column.to_numpy(zero_copy_only=False)


def _plain(values: Any) -> Any:
    if values.dtype == object:
        return [v.decode() if isinstance(v, bytes) else v for v in values.tolist()]
    with np.errstate(over="ignore", under="ignore"):
        narrow = values.astype(np.float32)
    # What is nearer to zero may be zero to TensorFlow.
    return np.where(np.abs(narrow) < 1.2e-38, np.float32(0), narrow)


def agree(derive: dict[str, Expression], table: list[tuple[Any, ...]], graph: bool = False) -> None:
    expected, *others = lowered(derive, table, graph)
    for name, received in zip(("Arrow", "TensorFlow"), others, strict=True):
        for column, values in expected.items():
            np.testing.assert_array_equal(received[column], values, err_msg=f"{name}: {derive[column]}", strict=True)


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(expressions, rows)
def test_the_three_lowerings_agree(expression: Expression, table: list[tuple[Any, ...]]) -> None:
    if expression.kind == "time":
        expression = expression - x.timestamp(x.as_text(x.floor(ColumnReference("a", "number") * 0)), unit="s")
    agree({"y": coerced(expression, "number", "") if expression.kind == "boolean" else expression}, table)


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(expressions.filter(lambda e: e.kind in ("number", "integer", "text")), min_size=5, max_size=5))
def test_a_graph_gives_what_the_arrays_give(several: list[Expression]) -> None:
    table = [(a, b, s, t) for a, b, (s, t) in zip(
        _EXTREMES * 3, _EXTREMES[3:] * 4, zip(_WRITTEN, _WRITTEN[7:] + _WRITTEN[:7], strict=True), strict=False
    )]  # fmt: skip
    agree({f"y{i}": e for i, e in enumerate(several)}, table, graph=True)


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(expressions)
def test_json_gives_the_same_expression_back(expression: Expression) -> None:
    again = from_json(to_json(expression))
    assert to_json(again) == to_json(expression)
    assert (again.kind, again.depth, again.size) == (expression.kind, expression.depth, expression.size)


def values_of(expression: Expression, **columns: list[Any]) -> list[Any]:
    """The values by numpy, None for missing, after the other lowerings have given the same."""
    derive = inlined({"y": expression}, {})
    raw = raw_columns(derive)
    arrays = {n: np.array(v, np.float64) if raw[n] == "number" else _objects(v) for n, v in columns.items()}
    by_numpy = lower_numpy.derive(derive, arrays)["y"]
    by_tensorflow = lower_tensorflow.derive(derive, {n: tf.constant(a) for n, a in arrays.items()})["y"].numpy()
    arrow = {n: pa.array(a, from_pandas=True) for n, a in arrays.items()}
    by_arrow = _from_arrow(lower_arrow.derive(derive, arrow, len(next(iter(arrays.values()))))["y"])
    for other in (by_tensorflow, by_arrow):
        np.testing.assert_array_equal(_plain(other), _plain(by_numpy))
    return [None if v == "" or v != v else v for v in by_numpy.tolist()]


NAN = float("nan")


@pytest.mark.parametrize(
    ("expression", "columns", "expected"),
    [
        (x.col("a") / x.col("b"), {"a": [1, 0, 6, NAN], "b": [0, 0, 4, 1]}, [None, None, 1.5, None]),
        (x.log("a"), {"a": [1, 0, -1]}, [0, None, None]),
        (x.col("a") % 3, {"a": [7, -7, 0]}, [1, 2, 0]),
        (x.col("a") // 2, {"a": [7, -7]}, [3, -4]),
        (x.col("a") ** 2, {"a": [3, -3]}, [9, 9]),
        (2 ** x.col("a"), {"a": [3, -1]}, [8, 0.5]),
        (x.exp("a"), {"a": [0, 100]}, [1, None]),
        (x.round_half_even("a"), {"a": [0.5, 1.5, -2.5]}, [0, 2, -2]),
        (x.col("a").clip(0, 2), {"a": [-1, 1, 3, NAN]}, [0, 1, 2, None]),
        (x.bucket("a", [0, 10]), {"a": [-1, 0, 9, 10]}, [0, 1, 1, 2]),
        (x.as_text(x.bucket("a", [0])), {"a": [-1, 0, NAN]}, ["0", "1", None]),
        (x.if_else(x.col("a") > 1, "high", "low"), {"a": [2, 1, NAN]}, ["high", "low", None]),
        (x.as_text((x.col("a") > 1) & (x.col("b") > 1)),
         {"a": [0, 2, NAN], "b": [NAN, NAN, 0]}, ["false", None, "false"]),
        (x.as_text((x.col("a") > 1) | (x.col("b") > 1)), {"a": [0, 2, NAN], "b": [NAN, NAN, 0]}, [None, "true", None]),
        (x.col("a").fill_missing(x.col("b")), {"a": [NAN, 1], "b": [5, 6]}, [5, 1]),
        (x.as_text(x.col("s").is_missing()), {"s": ["", "x"]}, ["true", "false"]),
        (x.col("s").strip().lower(), {"s": [" Ab ", "\t", "É"]}, ["ab", None, "É"]),
        (x.col("s").length(), {"s": ["日本", "", "🙂"]}, [2, None, 1]),
        (x.col("s").cut(1, 3), {"s": ["日本語x", "a", "ab"]}, ["本語", None, "b"]),
        (x.as_text(x.col("s").contains(".")), {"s": ["a.b", "ab", ""]}, ["true", "false", None]),
        (x.col("s") + "-" + x.col("t"), {"s": ["a", ""], "t": ["b", "c"]}, ["a-b", None]),
        (x.number(x.col("s")), {"s": [" 1.5 ", "1e3", "x", "+.5", "1,5"]}, [1.5, 1000, None, 0.5, None]),
        (x.haversine("a", "b", 48.8566, 2.3522), {"a": [52.52, 91], "b": [13.405, 0]}, [877.4645385742188, None]),
        (x.timestamp("s") - x.timestamp("t"), {"s": ["2024-03-01"], "t": ["2024-02-28T12:00:00.25Z"]}, [129599.75]),
        (x.hour("s", zone="America/Chicago"), {"s": ["2014-05-16T19:30:00Z", "2014-01-16T19:30:00Z"]}, [14, 13]),
        (x.hour("s", zone="Europe/Berlin"), {"s": ["2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z"]}, [1, 3]),
        (x.weekday(x.timestamp("s", unit="s")), {"s": ["0", "-1", "345600", "1e9"]}, [3, 2, 0, None]),
        (x.year(x.timestamp("s", unit="ms")), {"s": ["1400268500123", "1400268500", "x"]}, [2014, 1970, None]),
        (x.hour("s"), {"s": ["2010/01/31 23:00", "2010/02/30 23:00", "2010-01/31 23:00"]}, [23, None, None]),
        (x.day_of_year("s"), {"s": ["2024-12-31", "2023-12-31", "2023-02-30"]}, [366, 365, None]),
    ],
)  # fmt: skip
def test_what_operations_mean(expression: Expression, columns: dict[str, list[Any]], expected: list[Any]) -> None:
    assert values_of(expression, **columns) == expected


@pytest.mark.parametrize(
    ("expression", "values", "expected"),
    [
        (x.col("a") * 2.0**200, [2.0**-200, -(2.0**-190), 0, NAN], [1, -1024, 0, None]),
        (x.col("a") / 2.0**1000, [2.0**1000, 2.0**1010], [1, 1024]),
        (x.as_text(x.col("a") > 0), [1e-300, 0.0], ["true", "false"]),
        # Not normal in float64: flushed to zero, as TensorFlow's kernels do.
        (x.as_text(x.col("a") > 0), [1e-310], ["false"]),
    ],
)
def test_columns_of_float64_keep_their_range(expression: Expression, values: list[Any], expected: list[Any]) -> None:
    assert values_of(expression, a=values) == expected


def test_derived_columns_read_each_other() -> None:
    derive = inlined({"twice": x.col("a") * 2, "more": x.col("twice") + x.col("a")}, {})
    assert raw_columns(derive) == {"a": "number"}
    assert lower_numpy.derive(derive, {"a": np.array([1.0, 2.0])})["more"].tolist() == [3.0, 6.0]


def test_a_circle_is_refused() -> None:
    with pytest.raises(ProblemError) as raised:
        inlined({"a": x.col("b") + 1, "b": x.col("a") + 1}, {})
    assert raised.value.received == "a reads b reads a"
