"""Predictions compared with a Model's golden rows."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.core.saved_model.json.golden import first_difference

GOLDEN: list[dict[str, Any]] = [
    {"key": "a", "prediction": 100.0, "probabilities": [0.25, 0.75]},
    {"key": "b", "prediction": 0.00001, "probabilities": [1.0, 0.0]},
]


@pytest.mark.parametrize(
    ("row", "change"),
    [
        (0, {"prediction": 100.0009}),
        (1, {"prediction": 0.00002}),
        (1, {"probabilities": [1.0, 5e-7]}),
        (0, {"more": "is not looked at"}),
    ],
)
def test_what_float32_cannot_tell_apart_is_equal(row: int, change: dict[str, Any]) -> None:
    received = [dict(r) for r in GOLDEN]
    received[row].update(change)
    assert first_difference(received, GOLDEN) is None


@pytest.mark.parametrize(
    ("row", "change", "where"),
    [
        (0, {"prediction": 100.01}, "predictions[0].prediction"),
        (1, {"prediction": 0.001}, "predictions[1].prediction"),
        (1, {"prediction": None}, "predictions[1].prediction"),
        (0, {"prediction": "100.0"}, "predictions[0].prediction"),
        (0, {"prediction": float("nan")}, "predictions[0].prediction"),
        (0, {"prediction": True}, "predictions[0].prediction"),
        (0, {"key": "b"}, "predictions[0].key"),
        (1, {"probabilities": [1.0]}, "predictions[1].probabilities"),
        (1, {"probabilities": [0.0, 1.0]}, "predictions[1].probabilities"),
    ],
)
def test_what_differs_is_named(row: int, change: dict[str, Any], where: str) -> None:
    received = [dict(r) for r in GOLDEN]
    received[row].update(change)
    difference = first_difference(received, GOLDEN)
    assert difference is not None
    assert difference.where == where


@pytest.mark.parametrize("received", [[], GOLDEN[:1], [*GOLDEN, {}]])
def test_each_row_is_answered_once(received: list[Any]) -> None:
    assert first_difference(received, GOLDEN) == ("predictions", "2 rows", f"{len(received)} rows")


def test_rows_that_are_no_objects_differ() -> None:
    assert first_difference([1.0, 2.0], GOLDEN) == ("predictions[0].key", '"a"', "null")
