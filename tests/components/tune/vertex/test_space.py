"""The search space as Vertex AI takes it: written, read back from what a trial is told, and refused beforehand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.components.tune.tried import TrialResult, best_of, common_error
from headrace.components.tune.vertex.hypertune import MetricFile
from headrace.components.tune.vertex.space import (
    UNVERIFIED,
    broken_numbers,
    broken_parameters,
    check,
    parameter_specs,
    parameters_of,
    same,
)
from headrace.components.tune.vertex.trial import TrialFolders, flags
from headrace.core.errors import DataError, HeadraceError, ProblemError, UsageError
from headrace.core.problem import Choice, Range, Tuning


def spec(values: Range | Choice, name: str = "hyperparameters.x") -> dict[str, Any]:
    (found,) = parameter_specs(Tuning({name: values}))
    assert (found.pop("parameter_id"), found.pop("conditional_parameter_specs")) == (name, [])
    return found


LINEAR, LOG, NONE = "UNIT_LINEAR_SCALE", "UNIT_LOG_SCALE", "SCALE_TYPE_UNSPECIFIED"


@pytest.mark.parametrize(
    ("values", "kind", "expected", "scale"),
    [
        (Range(0.1, 0.5), "double", {"min_value": 0.1, "max_value": 0.5}, LINEAR),
        (Range(1, 2**62), "integer", {"min_value": "1", "max_value": str(2**62)}, LINEAR),
        (Range(1, 9, step=1), "integer", {"min_value": "1", "max_value": "9"}, LINEAR),
        (Range(1, 9, log=True), "integer", {"min_value": "1", "max_value": "9"}, LOG),
        (Range(0.0, 1.0, step=0.3), "discrete", {"values": [0.0, 0.3, 0.6, 0.9]}, LINEAR),
        (Range(8, 64, step=24), "discrete", {"values": [8.0, 32.0, 56.0]}, LINEAR),
        (Choice([[64, 32], "deep"]), "categorical", {"values": ["[64, 32]", "deep"]}, NONE),
        # What could be taken for another value, or is refused as empty, is written as JSON.
        (Choice(["1", 1]), "categorical", {"values": ['"1"', "1"]}, NONE),
        (Choice(["", None]), "categorical", {"values": ['""', "null"]}, NONE),
    ],
)
def test_each_kind_is_the_services_own(values: Range | Choice, kind: str, expected: Any, scale: str) -> None:
    assert spec(values) == {f"{kind}_value_spec": expected, "scale_type": scale}
    assert list(broken_parameters([{"parameter_id": "x", **spec(values)}])) == []


@given(
    low=st.integers(-(10**6), 10**6),
    width=st.integers(1, 10**6),
    step=st.none() | st.integers(1, 1000),
    share=st.floats(0, 1),
)
def test_whole_numbers_come_back(low: int, width: int, step: int | None, share: float) -> None:
    values = Range(low, low + width, step=None if step is None else min(step, width))
    every = range(low, low + width + 1, values.step or 1)  # type: ignore[arg-type]
    wanted = every[min(int(share * len(every)), len(every) - 1)]
    tuning = Tuning({"hyperparameters.x": values})
    if values.step is not None and len(every) > 1000 and values.step != 1:
        assert [one.rule for one in broken_parameters(parameter_specs(tuning))] == ["discrete"]
        return
    for told in (str(wanted), f"{wanted}.0", float(wanted)):
        read = parameters_of(tuning, {"hyperparameters.x": told})["hyperparameters.x"]
        assert (read, type(read)) == (wanted, int)


@given(st.floats(1e-6, 1e-2), st.floats(0.5, 0.999999), st.floats(0, 1))
def test_numbers_come_back_with_the_digits_that_the_service_keeps(low: float, high: float, share: float) -> None:
    tuning = Tuning({"learning_rate": Range(low, high, log=True)})
    wanted = min(max(low * (high / low) ** share, low), high)
    for told in (wanted, repr(wanted), f"{wanted:.9g}"):
        read = parameters_of(tuning, {"learning_rate": told})
        assert low <= read["learning_rate"] <= high
        assert same(read, {"learning_rate": wanted})


def test_a_trials_command_line_is_read() -> None:
    tuning = Tuning(
        {"hidden_units": Choice([[32], [64, 32]]), "learning_rate": Range(1e-4, 0.1), "hyperparameters.n": Range(1, 9)}
    )
    told = [
        "--executor_input",
        "{}",
        "--hidden_units=[64, 32]",
        "--learning_rate=0.01",
        "--hyperparameters.n=3",
        "--x=1",
    ]
    read = {"hidden_units": [64, 32], "learning_rate": 0.01, "hyperparameters.n": 3}
    assert parameters_of(tuning, flags(told)) == read


@pytest.mark.parametrize(
    ("values", "told", "said"),
    [
        (Range(1, 9), "0", "1 to 9"),
        (Range(1, 9), "2.5", "a whole number"),
        (Range(1, 9), "many", "a number"),
        (Range(1, 9), "nan", "a number"),
        (Range(1.0, 9.0), "inf", "a number"),
        (Range(1, 10**7), "10000001", "1 to 10000000"),
        (Range(0.0, 1.0, step=0.5), "0.4", "steps of 0.5"),
        (Choice(["a", "b"]), "c", "one of a, b"),
        (Range(1, 9), None, "a trial has no value"),
    ],
)
def test_a_value_that_is_not_searched_is_refused(values: Range | Choice, told: str | None, said: str) -> None:
    given: Mapping[str, Any] = {} if told is None else {"hyperparameters.x": told}
    with pytest.raises(DataError) as refused:
        parameters_of(Tuning({"hyperparameters.x": values}), given)
    assert said in refused.value.paragraph


@pytest.mark.parametrize(
    ("space", "algorithm", "said"),
    [
        ({"hyperparameters.my x": Range(1, 9)}, "", "no whitespace"),
        ({"hyperparameters.x": Range(0, 2**63)}, "", "64 bits"),
        ({"hyperparameters.x": Range(0, 10_000, step=2)}, "", "at most 1,000 values"),
        ({"hyperparameters.x": Range(0.0, 1e-9, step=1e-11)}, "", "1e-10"),
        ({"learning_rate": Range(1e-4, 1e-1)}, "GRID_SEARCH", "A grid search"),
    ],
)
def test_what_vertex_ai_would_refuse_is_refused_with_the_rule(
    space: dict[str, Range | Choice], algorithm: str, said: str
) -> None:
    with pytest.raises(ProblemError) as refused:
        check(Tuning(space), trials=20, parallel=2, algorithm=algorithm)
    assert said in refused.value.paragraph
    assert "Tuning.space" in refused.value.paragraph


def test_numbers_of_trials() -> None:
    tuning = Tuning({"learning_rate": Range(1e-4, 1e-1)})
    check(tuning, trials=2, parallel=2)
    for trials, parallel in ((0, 1), (0, 0), (3, 0)):
        with pytest.raises(UsageError, match="the numbers of trials are not valid"):
            check(tuning, trials=trials, parallel=parallel)


def test_a_rule_without_a_source_is_told_and_refuses_nothing() -> None:
    many = Tuning({f"hyperparameters.x{n}": Range(1, 9) for n in range(17)})
    check(many, trials=2, parallel=3)
    told = [*broken_numbers(2, 3), *broken_parameters(parameter_specs(many))]
    assert [(one.rule, one.received) for one in told] == [("parallel", "3 of 2 at a time"), ("many_parameters", "17")]
    assert {one.rule for one in told} == set(UNVERIFIED)


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (
            {"parameter_id": "x", "scale_type": 2, "double_value_spec": {"min_value": 0.0, "max_value": 1.0}},
            "logarithm",
        ),
        ({"parameter_id": "x", "scale_type": 1, "integer_value_spec": {"min_value": "9", "max_value": "1"}}, "bounds"),
        ({"parameter_id": "x", "double_value_spec": {"min_value": "low", "max_value": 1.0}}, "bounds"),
        ({"parameter_id": "x", "scale_type": 1, "categorical_value_spec": {"values": ["a"]}}, "categorical"),
        ({"parameter_id": "x", "categorical_value_spec": {"values": [1]}}, "categorical"),
        ({"parameter_id": "x", "discrete_value_spec": {"values": [2.0, 1.0]}}, "discrete"),
        ({"parameter_id": "", "categorical_value_spec": {"values": ["a"]}}, "parameter_id"),
    ],
)
def test_what_others_write_is_checked_too(broken: dict[str, Any], rule: str) -> None:
    assert [one.rule for one in broken_parameters([broken])] == [rule]


def test_the_file_of_metrics_is_that_of_cloudml_hypertune(tmp_path: Path) -> None:
    path = tmp_path / "hypertune" / "output.metrics"
    seconds = iter(range(200))
    file = MetricFile({"CLOUD_ML_HP_METRIC_FILE": str(path), "CLOUD_ML_TRIAL_ID": "7"}, lambda: next(seconds) + 0.5)
    file.report("eval_loss", 1, 3)
    assert path.read_text() == (
        '{"checkpoint_path": "", "eval_loss": "1.0", "global_step": "3", "timestamp": 0.5, "trial": "7"}\n'
    )
    for step in range(4, 120):
        file.report("eval_loss", 1 / step, step)
    told = [json.loads(line) for line in path.read_text().splitlines()]
    assert [int(one["global_step"]) for one in told] == list(range(20, 120)), "the service is told of the last 100"


def test_a_metric_that_cannot_be_written_is_in_the_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    blocked = tmp_path / "hypertune"
    # No user can make a file below a file, as 65532 cannot in a folder of root's.
    blocked.write_text("")
    file = MetricFile(
        {"CLOUD_ML_HP_METRIC_FILE": str(blocked / "output.metrics"), "CLOUD_ML_TRIAL_ID": "7"}, lambda: 0.5
    )
    file.report("eval_loss", 0.25, 1)
    (event,) = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line]
    assert event["severity"] == "WARNING"
    assert event["message"].startswith("eval_loss 0.25 at step 1, which Vertex AI does not accept: ")
    assert str(blocked) in event["message"]
    blocked.unlink()
    file.report("eval_loss", 0.125, 2)
    told = [json.loads(line) for line in (blocked / "output.metrics").read_text().splitlines()]
    assert [one["eval_loss"] for one in told] == ["0.25", "0.125"], "nothing is lost where it can be written later"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {
            "CLOUD_ML_TRIAL_ID": "3",
            "AIP_MODEL_DIR": "gs://b/s/4/model/",
            "AIP_CHECKPOINT_DIR": "gs://b/s/4/checkpoints/",
        },
        {"CLOUD_ML_TRIAL_ID": "3", "AIP_MODEL_DIR": "gs://b/s/model/", "AIP_CHECKPOINT_DIR": "gs://b/s/checkpoints/"},
    ],
)
def test_what_is_no_trial_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="not a trial of a hyperparameter tuning job"):
        TrialFolders.of(environment)
    told = {"CLOUD_ML_TRIAL_ID": "3", "AIP_MODEL_DIR": "gs://b/s/3/model/", "AIP_CHECKPOINT_DIR": "gs://b/s/3/c/"}
    assert TrialFolders.of(told) == TrialFolders(3, "gs://b/s", "gs://b/s/3/c")


def tried(number: int, state: str, loss: float | None = None, error: HeadraceError | None = None) -> TrialResult:
    return TrialResult(number, state, {}, loss, 1, 1.0, None if error is None else error.to_json())


def test_the_best_trial_is_complete_and_the_first_of_equals() -> None:
    trials = [tried(0, "pruned", 0.1), tried(1, "complete", 0.5), tried(2, "complete", 0.5), tried(3, "complete", 0.7)]
    assert best_of(trials) == trials[1]
    assert best_of(trials[:1]) is None


def test_what_all_trials_failed_with_is_the_users_mistake_if_one_is() -> None:
    mine, platforms = ProblemError("the loss is not finite"), HeadraceError.from_json({"kind": "PlatformError"})
    both = [tried(0, "failed", error=platforms), tried(1, "failed", error=mine)]
    assert isinstance(common_error(both), ProblemError)
    assert common_error([*both, tried(2, "pruned", 1.0)]) is None
    assert common_error([]) is None
