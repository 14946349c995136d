"""What later fields of a Problem refuse, and that without them a Problem is what it was."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from headrace.core.errors import ProblemError
from headrace.core.problem import Categorical, Drift, Numeric, Problem


def make(**declared: Any) -> Problem:
    features = [Numeric("age", optional=True), Categorical("kind", vocabulary=["a", "b"])]
    return Problem(**{"name": "p", "key": "id", "label": Numeric("y"), "features": features, **declared})


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (lambda: Numeric("age", max_missing=0.1), "optional=True"),
        (lambda: Numeric("age", optional=True, max_missing=1.1), "a fraction between 0 and 1"),
        (lambda: Categorical("kind", max_unknown=0.1), "max_unknown needs a vocabulary"),
        (lambda: Categorical("kind", vocabulary=["a"], max_unknown=True), "max_unknown is wrong"),
        (lambda: Drift(jensen_shannon=2), "jensen_shannon is wrong"),
        (lambda: Drift(l_infinity=float("nan")), "l_infinity is wrong"),
        (lambda: Drift(columns={"a": 0.1}), "columns are wrong"),  # type: ignore[dict-item]
        (lambda: Drift(columns={"a": Drift(columns={"b": Drift()})}), "columns are wrong"),
        (lambda: make(drift=0.1), "drift is wrong"),
        (lambda: make(drift=Drift(columns={"none": Drift()})), 'the column "none" to compare does not exist'),
        (lambda: make(drift=Drift(columns={"age": Drift(l_infinity=0.1)})), "no L-infinity distance"),
        (lambda: make(duplicate_rows="drop"), '"allow" or "quarantine"'),
        (
            lambda: make(label=Categorical("y", vocabulary=["a", "b"], max_unknown=0.1)),
            "the label cannot have unknown values",
        ),
    ],
)
def test_refusals(declare: Any, said: str) -> None:
    with pytest.raises(ProblemError) as error:
        declare()
    assert said in error.value.paragraph


def test_the_digest_covers_what_is_declared_and_is_what_it_was_without() -> None:
    plain = make()
    # As it is without these fields.
    assert plain.schema_digest == "61c416117b8004292e41388d968d340034a90584cfb015c60caff20c2ae8abb6"
    changed = [
        make(drift=Drift(jensen_shannon=0.1)),
        make(drift=Drift(jensen_shannon=0.1, columns={"kind": Drift()})),
        make(duplicate_rows="quarantine"),
        make(features=[dataclasses.replace(plain.columns[0], max_missing=0.5), plain.columns[1]]),
        make(features=[plain.columns[0], dataclasses.replace(plain.columns[1], max_unknown=0.5)]),
    ]
    assert len({plain.schema_digest, *(problem.schema_digest for problem in changed)}) == 6
    assert make(drift=Drift(l_infinity=0.1, columns={"kind": Drift()})).to_json()["drift"]["columns"]["kind"] == {
        "jensen_shannon": None, "l_infinity": None, "columns": {},
    }  # fmt: skip
