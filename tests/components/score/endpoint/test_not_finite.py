"""What is made of an answer that names rows whose prediction is not finite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headrace.components.score.endpoint.not_finite import NotFiniteRows, answers_around, blank, rows_said
from headrace.components.serve.app import refusal
from headrace.core.saved_model.interface import ModelOutput
from headrace.core.saved_model.json.rows import NotFinitePrediction as Refused
from headrace.core.scoring.bisect import RowsFailed
from headrace.core.scoring.to_columns import Answer

OUTPUTS = [ModelOutput("score", "float32"), ModelOutput("shares", "float32", 2), ModelOutput("class", "string")]


class Server:
    """Answers rows of x; a negative one has no score, and a zero no shares."""

    def __init__(self, fillers: int = 0) -> None:
        self.asked: list[list[float]] = []
        self.fillers = fillers

    def __call__(self, columns: Mapping[str, list[Any]]) -> dict[str, Answer]:
        values = columns["x"] + columns["x"][-1:] * self.fillers
        self.asked.append(columns["x"])
        for name, bad in (("score", [v < 0 for v in values]), ("shares", [v == 0 for v in values])):
            if any(bad):
                rows = [row for row, is_bad in enumerate(bad) if is_bad]
                raise NotFiniteRows("not finite", {name: rows})
        x = np.array(columns["x"], np.float32)
        return {"score": x, "shares": np.stack([x, -x], axis=1), "class": pa.array([b"a"] * len(x), pa.binary())}


def test_the_others_keep_their_answers_in_as_few_requests_as_there_are_refusals() -> None:
    server = Server()
    answers = answers_around(server, {"x": [1.0, -1.0, 2.0, 0.0, -3.0]}, 5, OUTPUTS)
    np.testing.assert_array_equal(answers["score"], np.array([1, np.nan, 2, 1, np.nan], np.float32))
    np.testing.assert_array_equal(answers["shares"][:, 0], np.array([1, 1, 2, np.nan, 1], np.float32))
    assert server.asked == [[1, -1, 2, 0, -3], [1, 1, 2, 0, 1], [1, 1, 2, 1, 1]]


def test_rows_beyond_the_last_are_copies_of_it() -> None:
    answers = answers_around(Server(fillers=3), {"x": [1.0, -1.0]}, 2, OUTPUTS)
    np.testing.assert_array_equal(answers["score"], np.array([1, np.nan], np.float32))


def test_where_no_row_is_left_nothing_more_is_asked() -> None:
    server = Server()
    answers = answers_around(server, {"x": [-1.0, -2.0]}, 2, OUTPUTS)
    assert np.isnan(answers["score"]).all()
    assert answers["shares"].shape == (2, 2)
    assert len(answers["class"]) == 2
    assert len(server.asked) == 1


def test_what_cannot_be_nan_or_does_not_go_away_is_a_failure_of_the_rows() -> None:
    def says(rows: Mapping[str, list[int]]) -> Any:
        def ask(_: Mapping[str, list[Any]]) -> dict[str, Answer]:
            raise NotFiniteRows("not finite", rows)

        return ask

    for rows in ({"class": [0]}, {"other": [0]}, {"score": [0]}):
        with pytest.raises(RowsFailed, match="not finite"):
            answers_around(says(rows), {"x": [1.0, 2.0]}, 2, OUTPUTS)
    wide = [ModelOutput("score", "float32"), ModelOutput("any", "float32", 0)]
    with pytest.raises(RowsFailed, match="not finite"):
        answers_around(says({"score": [0, 1]}), {"x": [1.0, 2.0]}, 2, wide)


def test_blank_answers_are_of_the_outputs_types() -> None:
    made = blank(OUTPUTS, 3, {"score"})
    assert np.isnan(made["score"]).all()
    assert (made["score"].dtype, made["shares"].tolist()) == (np.float32, [[0, 0]] * 3)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (refusal(Refused({"score": [1, 7]}, "nan")).decode(), {"score": [1, 7]}),
        (f"Non-OK result 422 ({refusal(Refused({'a': [0], 'b': [2]}, 'inf')).decode()}).", {"a": [0], "b": [2]}),
        ('{"error": "no"}', None),
        ('{"not_finite": {}}', None),
        ('{"not_finite": {"a": []}}', None),
        ('{"not_finite": {"a": [-1]}}', None),
        ('{"not_finite": {"a": [true]}}', None),
        ('{"not_finite": {"a": 1}}', None),
        ('{"not_finite": {a}}', None),
        ("", None),
    ],
)
def test_what_is_read_of_a_text(text: str, rows: Any) -> None:
    assert rows_said(text) == rows
