"""What `headrace tune` may try: declared, and refused where it cannot mean anything."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.core.errors import ProblemError
from headrace.core.problem import Choice, Numeric, Problem, Range, Tuning
from headrace.core.problem.tuning import split_parameters

SPACE = {
    "learning_rate": Range(1e-4, 1e-1, log=True),
    "hidden_units": Choice([[32], [64, 32]]),
    "hyperparameters.units": Range(8, 64, step=8),
}


def problem(**changes: Any) -> Problem:
    declared: dict[str, Any] = {"hyperparameters": {"units": 16}, "tuning": Tuning(SPACE), **changes}
    return Problem("births", "id", Numeric("weight"), [Numeric("age")], **declared)


def test_a_space_is_kept_as_it_was_declared() -> None:
    declared = problem()
    written = json.loads(json.dumps(declared.to_json()["tuning"]))
    assert written == {
        "space": {
            "learning_rate": {"kind": "Range", "low": 0.0001, "high": 0.1, "step": None, "log": True},
            "hidden_units": {"kind": "Choice", "options": [[32], [64, 32]]},
            "hyperparameters.units": {"kind": "Range", "low": 8, "high": 64, "step": 8, "log": False},
        },
        "trials": 20,
        "warmup_epochs": 2,
        "pruning_trials": 4,
        "seed": 1,
    }
    assert declared.schema_digest == problem(tuning=None).schema_digest, "another search does not preprocess again"
    assert problem(tuning=None).to_json()["tuning"] is None


def test_parameters_go_where_they_belong() -> None:
    assert split_parameters({"learning_rate": 0.1, "hyperparameters.units": 24}) == (
        {"learning_rate": 0.1},
        {"units": 24},
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: Range(2, 1), "Range(2, 1): the bounds are wrong. Expected numbers with low < high"),
        (lambda: Range(0, 1, log=True), "a logarithmic range must be positive. Expected low > 0. Received: 0"),
        (lambda: Range(1, 8, step=9), "step is wrong. Expected a number greater than 0, at most 7. Received: 9"),
        (lambda: Range(1, 8, step=2, log=True), "log and step exclude each other"),
        (lambda: Choice([1]), "the options are too few. Expected a list of two or more different values"),
        (lambda: Choice([[1], [1]]), "the options are too few"),
        (lambda: Choice([1, {2}]), "the options are wrong. Expected JSON values"),
        (lambda: Tuning({}), "the space is empty"),
        (lambda: Tuning({"dropout": Range(0.0, 0.5)}, trials=0), "trials is wrong. Expected a whole number, 1 or more"),
        (lambda: Tuning({"dropout": 0.5}), 'Tuning.space["dropout"]: the space is wrong'),  # type: ignore[dict-item]
        (
            lambda: Tuning({"learnig_rate": Range(0.1, 1)}),
            '"learnig_rate" cannot be tuned. Expected one of batch_size,',
        ),
        (lambda: Tuning({"seed": Range(1, 9)}), '"seed" cannot be tuned'),
        (lambda: Tuning({"learning_rate": Range(0.1, 2)}), "learning_rate is wrong. Expected in (0, 1]. Received: 2"),
        (lambda: Tuning({"batch_size": Range(0, 9)}), 'Tuning.space["batch_size"]: batch_size is wrong'),
        (
            lambda: Tuning({"batch_size": Range(8, 64, step=0.5)}),
            "batch_size must be a whole number. Expected Range(8, 64)",
        ),
        (lambda: Tuning({"hidden_units": Choice([8, 16])}), "a list of whole numbers, one for each hidden layer"),
        (lambda: Tuning({"model": Choice(["deep", "deeper"])}), "model is wrong"),
        (
            lambda: problem(hyperparameters={}),
            'the hyperparameter "units" does not exist. Expected hyperparameters={...}',
        ),
        (lambda: problem(hyperparameters={"unit": 1}), 'Expected one of unit. Received: "hyperparameters.units"'),
        (lambda: problem(tuning=SPACE), "tuning is wrong. Expected a Tuning"),
    ],
)
def test_what_cannot_mean_anything_is_refused(wrong: Any, said: str) -> None:
    with pytest.raises(ProblemError) as caught:
        wrong()
    assert said in caught.value.paragraph
