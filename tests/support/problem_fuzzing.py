"""Fuzzed Problem files: whole ones, in which expressions are replaced, removed, doubled or added, or take extremes."""

from __future__ import annotations

import ast
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from hypothesis import strategies as st

_WHOLE = (
    """
from headrace import *
from headrace.expressions import *

problem = Problem(
    name="lines",
    key="id",
    label=Numeric("y", minimum=-1000.0, maximum=1000.0),
    features=[
        Numeric("x", minimum=-10.0, maximum=100.0, max_missing=0.5, optional=True),
        Numeric("double", buckets=[0.0, 5.0, 10.0]),
        Numeric("n", buckets=4),
        Categorical("city", vocabulary=["Oslo", "Bern"], optional=True, max_unknown=0.9),
        Categorical("color", hash_buckets=5, embedding=2),
        Crossed("city", "color", hash_buckets=7),
    ],
    derive={"double": 2.0 * col("x") + 1.0},
    weight=Numeric("w", minimum=0.0),
    missing=["NA", "-"],
    splits=Splits(train=0.6, eval=0.2, test=0.2, by="day"),
    gate=Gate(metric="root_mean_squared_error", at_most=100.0, slices=["city"], minimum_slice_size=2),
    drift=Drift(columns={"x": Drift(jensen_shannon=0.5)}),
    quarantine_budget=0.5,
    training=Training(steps=1, batch_size=8, hidden_units=[4], seed=1),
)
""",
    """
from headrace import *

problem = Problem(
    name="colors",
    key=None,
    label=Categorical("colour", vocabulary=["red", "blue"], column="color"),
    features=[Numeric("x"), Categorical("city", max_vocabulary=10), Numeric("weight", optional=True, column="w")],
    splits=Splits(time="day", eval_from="2026-01-20", test_from="2026-01-25"),
    gate=None,
    threshold=0.3,
    costs=Costs(false_positive=1.0, false_negative=5.0),
    duplicate_rows="quarantine",
    no_rows="refuse",
    quarantine_budget=1.0,
    hyperparameters={"depth": [1, {"a": None}]},
    training=Training(epochs=1, model="deep", class_weights={"red": 1.0, "blue": 2.0}, dropout=0.1),
    tuning=Tuning({"learning_rate": Range(0.001, 0.1, log=True), "batch_size": Choice([8, 16])}, trials=2),
)
""",
)
_NASTY = (
    *("None", "True", "0", "-1", "1", "0.5", "-0.0", "10**30", "1e400", "float('nan')", "1e-320", "10**400", "2**63"),
    *("''", "' '", "'x'", "'y'", "'id'", "'\\x00'", "'\\ud800'", "'../..'", "'a' * 100000", "b'x'", "'NaN'", "'1.5'"),
    *("[]", "()", "{}", "[None]", "['x', 'x']", "{'x': None}", "{1: 2}", "[[]]", "[[[[]]]]", "set()", "range(5)"),
    *("Numeric('x')", "Categorical('city')", "Numeric", "lambda x: x", "object()", "...", "1j", "iter([1])", "problem"),
    *(
        "Gate()",
        "Splits()",
        "col('x')",
        "[1.0, 0.0]",
        "['Oslo'] * 3",
        "list(range(20000))",
        "1 / 0",
        "Crossed('x', 'x')",
    ),
)
_KEYWORDS = (
    *("minimum", "maximum", "buckets", "optional", "max_missing", "column", "vocabulary", "hash_buckets", "embedding"),
    *(
        "exponent",
        "double",
        "max_vocabulary",
        "max_unknown",
        "weight",
        "reads",
        "prepared_by",
        "monitor",
        "by",
        "files",
    ),
    *("train", "test", "at_least", "beats_baseline", "champion_tolerance", "learning_rate", "cross_layers", "nonsense"),
)
_LINES = [
    f"r{number},{number % 7},{number * 0.5 - 3},{number},{('Oslo', 'Bern', 'Rome', '')[number % 4]},"
    f"{('red', 'blue')[number % 2]},{number % 3},2026-01-{number % 28 + 1:02}"
    for number in range(80)
]
_BAD_LINES = ["r3,1,1,1,Oslo,red,1,2026-01-01", ",,,,,,,", "r99,NaN,1e999,x,NA,-,-1,soon"]
# Rows that the Problem files declare, some of which are wrong, and their number.
TABLE = "\n".join(["id,y,x,n,city,color,w,day", *_LINES, *_BAD_LINES, ""])
TABLE_ROWS = len(_LINES) + len(_BAD_LINES)
Edit = tuple[str, int, str, str]
# Values at the edge of what is valid, by call and keyword.
_EXTREMES = {
    "Numeric": {
        "minimum": ("-1e300", "0.0", "-5"),
        "maximum": ("1e300", "1e6", "3"),
        "max_missing": ("0.0", "1.0"),
        "buckets": ("2", "1000", "[0.0]", "[-1e300, 1e-300, 1e300]"),
        "optional": ("True", "False"),
    },
    "Categorical": {
        "vocabulary": ("['Oslo']", "['red', 'blue', 'ø']", "[str(n) for n in range(3000)]", "['']"),
        "hash_buckets": ("1", "100000"),
        "max_vocabulary": ("1", "2"),
        "embedding": ("1", "64"),
        "max_unknown": ("0.0", "1.0"),
        "optional": ("True", "False"),
    },
    "Crossed": {"hash_buckets": ("1", "100000")},
    "Gate": {
        "metric": ("'mean_absolute_error'", "'auc'", "'accuracy'"),
        "at_most": ("0.0", "1e300"),
        "slices": ("[]", "['color']", "['city']"),
        "minimum_slice_size": ("1", "10**9"),
        "beats_baseline": ("True", "False"),
        "champion_tolerance": ("0.0",),
    },
    "Splits": {"by": ("'city'", "'n'", "None"), "train": ("0.98",), "eval": ("0.01",), "test": ("0.01",)},
    "Costs": {"false_positive": ("0.0", "1e300"), "false_negative": ("1e-300",)},
    "Training": {
        "steps": ("1", "3"),
        "batch_size": ("1", "100000"),
        "learning_rate": ("1.0", "1e-30"),
        "hidden_units": ("[]", "[1]", "[1, 1, 1, 1]"),
        "dropout": ("0.0", "0.99"),
        "cross_layers": ("1", "8"),
        "model": ("'linear'", "'deep'", "'wide_and_deep'", "'cross'"),
        "patience": ("1",),
        "seed": ("0", "2**31 - 1"),
        "class_weights": ("'balanced'", "{'red': 1e-6}"),
    },
    "Problem": {
        "gate": ("None", "Gate()"),
        "splits": ("Splits()", "Splits(0.5, 0.25, 0.25)"),
        "quarantine_budget": ("0.0", "1.0"),
        "threshold": ("0.001", "0.999"),
        "weight": ("None", "'w'", "'n'"),
        "missing": ("['']", "['Oslo', '3']"),
        "hyperparameters": ("{}", "{'a': [None, 1e300]}"),
        "serving": ("Serving(mode='dynamic')",),
        "monitor": ("Monitor()", "Monitor(minimum_rows=1)"),
        "duplicate_rows": ("'allow'", "'refuse'", "'quarantine'"),
        "reads": ("['day']", "['nonsense']"),
    },
}


@cache
def _size(number: int) -> int:
    return len(_places(ast.parse(_WHOLE[number])))


def _places(tree: ast.AST) -> list[tuple[ast.AST, str, int | None]]:
    """Holder, field and index of each expression below the declaration of the Problem."""
    found: list[tuple[ast.AST, str, int | None]] = []
    for node in ast.walk(tree):
        # Not within a value that an edit put there: "'a' * 100000" for its own "'a'" is a text of 10 GB.
        if not isinstance(node, ast.expr | ast.keyword | ast.Assign) or hasattr(node, "edited"):
            continue
        for name, value in ast.iter_fields(node):
            if isinstance(value, ast.expr) and name not in ("func", "targets", "ctx"):
                found.append((node, name, None))
            elif isinstance(value, list) and name in ("args", "elts", "keywords", "values", "keys"):
                found += [(node, name, index) for index in range(len(value))]
    return found


# Numbers of the whole Problem files.
FILES = range(len(_WHOLE))


@st.composite
def problem_files(draw: st.DrawFn, number: int) -> str:
    """The text of a whole Problem file after none to three edits."""
    edit = st.tuples(
        st.sampled_from(["replace", "replace", "replace", "remove", "double", "add"]),
        st.integers(0, _size(number) - 1),
        st.sampled_from(_NASTY),
        st.sampled_from(_KEYWORDS),
    )
    return edited(number, draw(st.lists(edit, min_size=0, max_size=3)))


@st.composite
def extreme_problem_files(draw: st.DrawFn, number: int) -> str:
    """The text of a whole Problem file in which one to three keywords have extreme values."""
    tree = ast.parse(_WHOLE[number])
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _name(node) in _EXTREMES]
    for _ in range(draw(st.integers(1, 3))):
        call = draw(st.sampled_from(calls))
        keyword = draw(st.sampled_from(sorted(_EXTREMES[_name(call)])))
        value = ast.parse(draw(st.sampled_from(_EXTREMES[_name(call)][keyword])), mode="eval").body
        call.keywords = [one for one in call.keywords if one.arg != keyword]
        call.keywords.append(ast.keyword(arg=keyword, value=value))
    return ast.unparse(ast.fix_missing_locations(tree))


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def edited(number: int, edits: list[Edit]) -> str:
    """A whole Problem file after edits; one whose place an earlier one removed falls on another."""
    tree = ast.parse(_WHOLE[number])
    for kind, at, text, keyword in edits:
        places = _places(tree)
        holder, name, index = places[at % len(places)]
        value = ast.parse(text, mode="eval").body
        for node in ast.walk(value):
            vars(node)["edited"] = True
        _edit(holder, name, index, kind, value, keyword)
    return ast.unparse(ast.fix_missing_locations(tree))


def _edit(holder: Any, name: str, index: int | None, kind: str, value: ast.expr, keyword: str) -> None:
    if kind == "add" and isinstance(holder, ast.Call):
        if keyword not in {one.arg for one in holder.keywords}:
            holder.keywords.append(ast.keyword(arg=keyword, value=value))
        return
    if index is None:
        setattr(holder, name, value)
        return
    several = getattr(holder, name)
    # The two lists of a dict have one length.
    lists = [holder.keys, holder.values] if isinstance(holder, ast.Dict) else [several]
    if kind == "remove":
        for one in lists:
            del one[index]
    elif kind == "double" and name != "keywords":
        for one in lists:
            one.insert(index, one[index])
    elif name == "keywords":
        several[index].value = value
    else:
        several[index] = value


@contextmanager
def bounded(seconds: int) -> Iterator[None]:
    """Ends what takes more CPU seconds, which a busy machine does not lengthen."""

    def fail(*_: object) -> None:
        raise AssertionError(f"still at work after {seconds} CPU-s")

    before = signal.signal(signal.SIGPROF, fail)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
