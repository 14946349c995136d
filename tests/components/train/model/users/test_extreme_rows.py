"""Rows with extreme values, whose derived features agree with the columns that they read."""

from __future__ import annotations

import numpy as np

from headrace.components.train.model.users.extreme_rows import extreme_rows
from headrace.core.problem import Categorical, Numeric, Problem
from headrace.expressions import col

STATISTICS = {
    "length": {"minimum": 2.0, "maximum": 8.0},
    "depth": {"minimum": 1.0, "maximum": 4.0},
    "ratio": {"minimum": 0.0, "maximum": 100.0},
}


def test_derived_features_follow_the_columns_that_they_read() -> None:
    problem = Problem(
        name="penguins",
        key="id",
        label=Numeric("mass"),
        features=[Numeric("depth"), Numeric("ratio"), Categorical("kind")],
        derive={"ratio": col("length") / col("depth"), "kind": col("species").lower()},
    )
    rows = {
        "length": np.array([6.0], np.float64),
        "depth": np.array([2.0], np.float32),
        "depth.exact": np.array([2.0], np.float64),
        "ratio": np.array([3.0], np.float32),
        "species": np.array([b"Adelie"], object),
        "kind": np.array([b"adelie"], object),
        "key": np.array([b"1"], object),
    }
    extremes = extreme_rows(problem, STATISTICS, rows)
    np.testing.assert_array_equal(extremes["ratio"], extremes["length"] / extremes["depth"])
    np.testing.assert_array_equal(extremes["depth.exact"], extremes["depth"])
    pairs = list(zip(extremes["length"].tolist(), extremes["depth"].tolist(), strict=True))
    assert set(pairs) == {(6, 2), (2, 2), (8, 2), (6, 1), (6, 4)}
    assert extremes["kind"].tolist() == [text.lower() for text in extremes["species"]]
    assert len(set(extremes["species"])) == 2
    assert all(len(values) == len(extremes["key"]) for values in extremes.values())
