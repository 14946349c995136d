"""What is asked of a training: as texts of a pipeline, as options of a shell, and in the Model's version."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from headrace.components.train.options import Budget, Checkpointing, Distribution, Input, Options
from headrace.components.train.request import Inputs, Request
from headrace.core.errors import UsageError
from headrace.core.problem.file import ProblemFile
from headrace.core.steps import identity

EXAMPLES = "fedcba9876543210"


@pytest.fixture
def examples(tmp_path: Path) -> str:
    (tmp_path / "manifest.json").write_text(json.dumps({"identity": EXAMPLES}))
    return str(tmp_path)


def test_texts_ask_for_the_same_as_options() -> None:
    assert Inputs().request() == Request()
    asked = Inputs(
        warm_start="m",
        strategy="mirrored",
        precision="float32",
        max_hours="2",
        max_cost="10.5",
        price_per_hour="3",
        target="r_squared=0.9",
        checkpoint_minutes="0.5",
    )
    assert asked.request() == Request(
        warm_start="m",
        options=Options(
            distribution=Distribution(strategy="mirrored", precision="float32"),
            checkpointing=Checkpointing(minutes=0.5),
            budget=Budget(max_hours=2, max_cost=10.5, price_per_hour=3, target="r_squared=0.9"),
        ),
    )


def test_a_warm_start_is_the_model_that_was_submitted(tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text(json.dumps({"model_version": "0123456789abcdef"}))
    given = Inputs(warm_start=str(tmp_path), warm_start_version="0123456789abcdef")
    assert given.request().warm_start == str(tmp_path)
    with pytest.raises(UsageError) as caught:
        dataclasses.replace(given, warm_start_version="f" * 16).request()
    assert "Expected version ffffffffffffffff. Received: version 0123456789abcdef" in caught.value.paragraph


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"strategy": "all"}, "strategy is wrong. Expected auto or one_device or"),
        ({"precision": "half"}, "precision is wrong"),
        ({"max_hours": "two"}, "max_hours is wrong. Expected a number. Received: 'two'"),
        ({"max_hours": "-1"}, "max_hours is wrong. Expected a number greater than 0. Received: -1.0"),
        ({"max_hours": "nan"}, "max_hours is wrong. Expected a number greater than 0"),
        ({"max_cost": "5"}, "a cost cannot be bounded without a price"),
        ({"target": "loss"}, "the target is wrong. Expected METRIC=VALUE with one of accuracy,"),
        ({"checkpoint_minutes": "0"}, "checkpoint minutes is wrong"),
    ],
)
def test_texts_that_mean_nothing(wrong: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        Inputs(**wrong).request()
    assert said in caught.value.paragraph


def test_the_target_is_one_of_the_problems_task(natality: ProblemFile) -> None:
    Request(options=Options(budget=Budget(target="r_squared=0.4"))).check(natality.problem)
    with pytest.raises(UsageError) as caught:
        Request(options=Options(budget=Budget(target="auc=0.9"))).check(natality.problem)
    assert "the target is of another task. Expected for regression, one of root_mean_squared_error" in str(caught.value)


def version(file: ProblemFile, **asked: Any) -> str:
    return Request(**asked).identity(file, EXAMPLES)


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
        Request(options=Options(budget=Budget(max_hours=hours))).config(
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
    assert "the warm start is not a Model. Expected a folder with training.json" in caught.value.paragraph


def test_options_travel_to_another_process() -> None:
    options = Options(
        Distribution("mirrored", "float32", True),
        Input("disk", "file", False),
        Checkpointing("c", 5, 1.0, 3),
        Budget(1.0, 2.0, 3.0, "auc=0.9"),
    )
    assert Options.from_json(json.loads(json.dumps(options.to_json()))) == options
    assert dataclasses.asdict(options) == options.to_json()
