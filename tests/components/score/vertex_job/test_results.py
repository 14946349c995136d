"""What is made of the files that a batch prediction job writes, whole, broken and in every form."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from headrace.components.score.vertex_job.results import Results
from headrace.core.errors import PlatformError
from headrace.core.saved_model.interface import ModelBinding, ModelInput, ModelOutput

TAKES = ModelBinding(
    "serving_default",
    (ModelInput("x", "float32", None, ("x",)),),
    (ModelOutput("score", "float32"), ModelOutput("words", "string", 2)),
    key="id",
)


def answer(key: Any, score: Any, words: Any = ("a", "b")) -> dict[str, Any]:
    return {"key": key, "prediction": {"score": score, "words": list(words)}}


@pytest.fixture
def read(put: Callable[[str, bytes], str]) -> Callable[..., Results]:
    """`read({file: lines})`: the results in these files."""

    def made(files: dict[str, list[Any]], naming: Any = "position") -> Results:
        folder = put("out/other.txt", b"").rpartition("/")[0]
        for name, lines in files.items():
            text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
            put(f"out/{name}", text.encode())
        return Results.read(folder, TAKES, "row", naming)

    return made


def found(results: Results, *names: str) -> list[Any]:
    at = results.find(np.array([name.encode() for name in names]))
    return [None if place < 0 else float(results.columns["score"][place]) for place in at]


def test_answers_are_found_in_any_order_and_file(read: Callable[..., Results]) -> None:
    results = read(
        {
            "prediction.results-00000-of-00002": [answer("0-3", 3), answer("0-1", 1.5, ("one", "two"))],
            "prediction.results-00001-of-00002": [answer("1-10", 10), answer("0-10", 0.1)],
            "prediction.errors_stats-00000-of-00001": [],
        }
    )
    assert found(results, "0-1", "0-3", "0-10", "1-10", "1-1", "0-100") == [
        1.5, 3.0, float(np.float32(0.1)), 10.0, None, None,
    ]  # fmt: skip
    (place,) = results.find(np.array([b"0-1"]))
    assert results.columns["words"][int(place)].as_py() == [b"one", b"two"]
    assert results.why(b"1-1") == "the job returned no prediction and no reason"


def test_instances_that_come_back_whole_name_their_row_too(read: Callable[..., Results]) -> None:
    line = {"instance": {"row": "0-1", "x": 2.0}, "prediction": {"score": 4.0, "words": ["a", "b"]}}
    assert found(read({"predictions_0001.jsonl": [line]}), "0-1") == [4.0]


def test_what_is_said_of_rows_is_said_of_them(read: Callable[..., Results]) -> None:
    results = read(
        {
            "predictions_0001.jsonl": [answer("0-1", 1)],
            "errors_0001.jsonl": [
                {"instance": {"row": "0-2"}, "error": {"code": 3, "message": "x is wrong"}},
                {"key": "0-3", "error": "too long"},
            ],
        }
    )
    assert results.why(b"0-2") == "the job returned no prediction: x is wrong"
    assert results.why(b"0-3") == "the job returned no prediction: too long"


def test_what_is_said_of_batches_is_said_of_those_without_an_answer(read: Callable[..., Results]) -> None:
    errors = [str(("Post request fails: 400", 64)), str(("Post request fails: 503", 7))]
    results = read({"prediction.errors_stats-00000-of-00001": errors})
    assert results.reasons == {"Post request fails: 400": 64, "Post request fails: 503": 7}
    assert results.why(b"0-1") == (
        "the job returned no prediction: the most frequent error is: Post request fails: 400"
    )
    assert found(results, "0-1") == [None]


def test_a_broken_answer_costs_its_own_row_alone(read: Callable[..., Results]) -> None:
    lines = [answer(f"0-{row}", row) for row in range(1, 40)]
    lines[9] = answer("0-10", "high")
    lines[19] = {"key": "0-20", "prediction": {"score": 1.0}}
    lines[29] = "half a li"  # type: ignore[call-overload]
    results = read({"prediction.results-00000-of-00001": lines})
    names = [f"0-{row}" for row in range(1, 40)]
    assert [name for name, score in zip(names, found(results, *names), strict=True) if score is None] == [
        "0-10", "0-20", "0-30",
    ]  # fmt: skip
    assert "the output score has values that are not float32" in results.why(b"0-10")
    assert "a prediction lacks 'words'" in results.why(b"0-20")
    assert "half a li" in results.why(b"0-30")


def test_a_row_that_is_answered_twice_has_one_answer_and_a_key_of_two_rows_none(
    read: Callable[..., Results],
) -> None:
    files = {"predictions_0001.jsonl": [answer("a", 1), answer("b", 2), answer("a", 1)]}
    assert found(read(files), "a", "b") == [1.0, 2.0]
    results = read(files, "key")
    assert found(results, "a", "b") == [None, 2.0]
    assert results.why(b"a") == "the job returned no prediction: several rows have this key"


def test_a_second_job_answers_what_the_first_refused(read: Callable[..., Results]) -> None:
    first = read(
        {
            "prediction.results-00000-of-00001": [answer("0-1", 1), answer("0-12", 12), answer("0-2", "none")],
            "prediction.errors_stats-00000-of-00001": [str(("refused", 3))],
        }
    )
    assert first.unanswered(np.array([b"0-1", b"0-2", b"0-3", b"0-100"])).tolist() == [False, False, True, True]
    said = '{"error": "not finite", "not_finite": {"score": [0]}}'
    second = read(
        {
            "prediction.results-00000-of-00001": [answer("0-100", 100), answer("0-1", 7)],
            "prediction.errors_stats-00000-of-00001": [str((f"Non-OK result 422 ({said}).", 1))],
        }
    )
    assert second.not_finite_of(b"0-3") == frozenset()
    both = first.with_those_of(second, TAKES)
    assert found(both, "0-1", "0-2", "0-3", "0-12", "0-100") == [1.0, None, None, 12.0, 100.0]
    assert both.columns["words"][int(both.find(np.array([b"0-100"]))[0])].as_py() == [b"a", b"b"]
    assert both.not_finite_of(b"0-3") == frozenset({"score"})
    # Its own answer was broken, whatever is said of others.
    assert both.not_finite_of(b"0-2") == frozenset()
    assert "the output score has values that are not float32" in both.why(b"0-2")
    assert both.reasons.total() == 1


def test_a_folder_without_results_is_none(read: Callable[..., Results]) -> None:
    with pytest.raises(PlatformError, match="the job wrote no results"):
        read({})
