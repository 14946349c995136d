"""What is asked of a training: as texts of a pipeline, as options of a shell, and in the Model's version."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples_manifest import write_manifest

from headrace.components.train.options import Budget, Checkpointing, Distribution, Input, Options, Tracking
from headrace.components.train.request import OPTIONS, TrainingRequest
from headrace.core.errors import UsageError
from headrace.core.problem.file import ProblemFile
from headrace.core.steps import identity

EXAMPLES = "fedcba9876543210"


@pytest.fixture
def examples(tmp_path: Path) -> str:
    write_manifest(tmp_path, identity=EXAMPLES)
    return str(tmp_path)


EVERY = {
    "warm_start": "m", "warm_start_version": "0123456789abcdef", "strategy": "mirrored", "precision": "float32",
    "xla": True, "cache": "disk", "sharding": "file", "deterministic": False, "checkpoint_steps": 5,
    "checkpoint_minutes": 0.5, "keep_checkpoints": 3, "max_hours": 2.0, "max_cost": 10.5, "price_per_hour": 3.0,
    "target": "r_squared=0.9", "tensorboard": True, "batch_size": 64, "epochs": 3, "steps": 7, "learning_rate": 1.0,
    "seed": 0,
}  # fmt: skip


def test_every_option_is_one_of_json_and_of_the_command_line() -> None:
    from headrace.pipelines.commands.train import train

    assert set(EVERY) == set(OPTIONS)
    commanded = {parameter.name for parameter in train.params}
    assert set(OPTIONS) - commanded == {"warm_start_version"}
    asked = TrainingRequest.from_json(EVERY)
    assert asked == TrainingRequest(
        warm_start="m",
        warm_start_version="0123456789abcdef",
        options=Options(
            Distribution("mirrored", "float32", True),
            Input("disk", "file", False),
            Checkpointing(steps=5, minutes=0.5, keep=3),
            Budget(max_hours=2.0, max_cost=10.5, price_per_hour=3.0, target="r_squared=0.9"),
            Tracking(tensorboard=True),
        ),
        overrides={"batch_size": 64, "epochs": 3, "steps": 7, "learning_rate": 1.0, "seed": 0},
    )
    assert asked.to_json() == EVERY


@given(st.fixed_dictionaries({}, optional={name: st.just(value) for name, value in EVERY.items()}))
def test_options_travel_as_json(chosen: dict[str, Any]) -> None:
    # A cost needs a price.
    priced = {"price_per_hour": 3.0} if "max_cost" in chosen else {}
    plain = {name: value for name, value in EVERY.items() if name in {**chosen, **priced}}
    asked = TrainingRequest.from_json(plain)
    assert asked.to_json() == plain
    # An engine keeps numbers of a JSON object as floats; to the identity both are the same.
    floats = {n: float(v) if type(v) is int else v for n, v in plain.items()}
    assert json.dumps(TrainingRequest.from_json(json.loads(json.dumps(floats))).to_json()) == json.dumps(
        asked.to_json()
    )


def test_defaults_are_not_told() -> None:
    defaults = {"strategy": "auto", "xla": False, "deterministic": True, "keep_checkpoints": 2, "epochs": None}
    assert TrainingRequest.from_json(defaults) == TrainingRequest() == TrainingRequest.from_json({})
    assert TrainingRequest().to_json() == {}
    # Where the state is kept is each machine's own.
    assert TrainingRequest(options=Options(checkpointing=Checkpointing("here"))).to_json() == {}


def test_a_warm_start_is_the_model_that_was_submitted(natality: ProblemFile, tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text(json.dumps({"model_version": "0123456789abcdef"}))
    given = TrainingRequest(warm_start=str(tmp_path), warm_start_version="0123456789abcdef")
    assert given.facts() == {"warm_start": "0123456789abcdef"}
    with pytest.raises(UsageError) as caught:
        dataclasses.replace(given, warm_start_version="f" * 16).identity(natality, EXAMPLES)
    assert "Expected version ffffffffffffffff. Received: version 0123456789abcdef" in caught.value.paragraph


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"strategy": "all"}, "strategy is wrong. Expected auto or one_device or"),
        ({"strategy": ["auto"]}, "strategy is wrong"),
        ({"precision": "half"}, "precision is wrong"),
        ({"xla": "yes"}, "xla is wrong. Expected true or false. Received: 'yes'"),
        ({"deterministic": 1}, "deterministic is wrong. Expected true or false"),
        ({"max_hours": "two"}, "max_hours is wrong. Expected a number greater than 0. Received: 'two'"),
        ({"max_hours": -1}, "max_hours is wrong. Expected a number greater than 0. Received: -1.0"),
        ({"max_hours": 10**400}, "max_hours is wrong. Expected a number greater than 0. Received: 1000"),
        ({"max_hours": True}, "max_hours is wrong. Expected a number greater than 0. Received: True"),
        ({"max_cost": 5}, "a cost cannot be bounded without a price"),
        ({"target": "loss"}, "the target is wrong. Expected METRIC=VALUE with one of accuracy,"),
        ({"target": 3}, "the target is wrong"),
        ({"checkpoint_minutes": 0}, "checkpoint minutes is wrong"),
        ({"checkpoint_steps": 2.5}, "checkpoint steps is wrong. Expected a whole number, 1 or more"),
        ({"keep_checkpoints": "2"}, "kept checkpoints is wrong"),
        ({"epochs": 0}, "epochs is wrong"),
        ({"learning_rate": 2}, "learning_rate is wrong"),
        ({"warm_start": 3}, "warm_start is wrong. Expected text"),
        ({"max_hour": 2}, "training has no option 'max_hour'"),
        ({"hidden_units": [3]}, "training has no option 'hidden_units'"),
        ("max_hours", "the options of a training are wrong. Expected a JSON object"),
    ],
)
def test_options_that_mean_nothing(wrong: Any, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        TrainingRequest.from_json(wrong)
    assert said in caught.value.paragraph


def test_the_budget_of_a_search_is_not_its_trials(natality: ProblemFile) -> None:
    whole = TrainingRequest.from_json(
        {"max_hours": 5, "max_cost": 6, "price_per_hour": 2, "target": "r_squared=0.9", "seed": 1}
    )
    assert whole.options.budget.hours == 3.0
    assert whole.of_trials().to_json() == {"target": "r_squared=0.9", "seed": 1}
    assert TrainingRequest().options.budget.hours is None


def test_the_target_is_one_of_the_problems_task(natality: ProblemFile) -> None:
    TrainingRequest(options=Options(budget=Budget(target="r_squared=0.4"))).check(natality.problem)
    with pytest.raises(UsageError) as caught:
        TrainingRequest(options=Options(budget=Budget(target="auc=0.9"))).check(natality.problem)
    assert "the target is of another task. Expected for regression, one of root_mean_squared_error" in str(caught.value)


def version(file: ProblemFile, **asked: Any) -> str:
    return TrainingRequest(**asked).identity(file, EXAMPLES)


def test_the_version_follows_from_all_that_the_weights_depend_on(natality: ProblemFile, tmp_path: Path) -> None:
    plain = version(natality)
    assert plain == identity.train_identity(natality, EXAMPLES)
    (tmp_path / "training.json").write_text(json.dumps({"model_version": "1" * 16}))
    others = [
        version(natality, overrides={"seed": 2}),
        version(natality, warm_start=str(tmp_path)),
        version(natality, options=Options(distribution=Distribution(precision="mixed_bfloat16"))),
        version(natality, options=Options(input=Input(deterministic=False))),
        version(natality, options=Options(budget=Budget(max_hours=1))),
        version(natality, options=Options(budget=Budget(target="r_squared=0.9"))),
        version(natality, options=Options(budget=Budget(max_cost=1, price_per_hour=2))),
    ]
    assert len({plain, *others}) == 8
    same = [
        version(natality, overrides={"seed": None}),
        version(natality, options=Options(input=Input(cache="none"), checkpointing=Checkpointing(minutes=1, keep=9))),
        version(natality, options=Options(budget=Budget(price_per_hour=2))),
    ]
    assert set(same) == {plain}


def test_a_run_that_was_killed_goes_on_with_more_time_too(natality: ProblemFile, examples: str) -> None:
    hour, day = (
        TrainingRequest(options=Options(budget=Budget(max_hours=hours))).config(
            natality, examples=examples, output="o", checkpoints="c"
        )
        for hours in (1, 24)
    )
    assert hour.identity != day.identity
    assert hour.run_identity == day.run_identity == version(natality)
    assert hour.options.checkpointing.folder == "c"


def test_a_warm_start_that_is_no_model(natality: ProblemFile, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        version(natality, warm_start=str(tmp_path))
    assert "this folder holds no Model. Expected a folder with training.json" in caught.value.paragraph
