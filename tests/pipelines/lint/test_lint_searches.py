"""The lint of hyperparameter tuning jobs, in specs that google-cloud-pipeline-components made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp import compiler, dsl

from headrace.pipelines.lint.check import lint

IMAGE = f"europe-docker.pkg.dev/p/r/i@sha256:{'1' * 64}"
POOL = {
    "machine_spec": {"machine_type": "n1-standard-4"},
    "replica_count": 1,
    "container_spec": {"image_uri": IMAGE},
}
RATE = {"parameter_id": "rate", "double_value_spec": {"min_value": 0.001, "max_value": 0.1}, "scale_type": 2}


@pytest.fixture
def found(tmp_path: Path) -> Callable[..., list[tuple[str, str, str]]]:
    """Compiles a pipeline with a job, and gives what is found in it but tags."""
    from google_cloud_pipeline_components.v1.hyperparameter_tuning_job import HyperparameterTuningJobRunOp

    def look(*, of_the_run: bool = False, **changes: Any) -> list[tuple[str, str, str]]:
        given: dict[str, Any] = {
            "display_name": "search",
            "base_output_directory": "gs://bucket/search",
            "worker_pool_specs": [POOL],
            "study_spec_metrics": [{"metric_id": "loss", "goal": "MINIMIZE"}],
            "study_spec_parameters": [RATE],
            "max_trial_count": 4,
            "parallel_trial_count": 2,
            **changes,
        }

        @dsl.pipeline(name="search")
        def pipeline(trials: int = 4) -> None:
            HyperparameterTuningJobRunOp(**{**given, **({"max_trial_count": trials} if of_the_run else {})})

        path = tmp_path / "search.yaml"
        compiler.Compiler().compile(pipeline, str(path))
        findings = [one for one in lint(str(path), "vertex") if one.rule != "A001"]
        return [(one.rule, one.where, one.received.partition(" (")[0]) for one in findings]

    return look


def test_a_job_as_the_helpers_make_it_is_right(found: Callable[..., list[Any]]) -> None:
    assert found() == []
    # What only the run will say is left to the run.
    assert found(of_the_run=True, parallel_trial_count=9) == []


@pytest.mark.parametrize(
    ("changes", "rule", "where", "received"),
    [
        ({"parallel_trial_count": 5}, "V017", "trials, parallel", "5 of 4 at a time"),
        ({"max_trial_count": 0}, "V016", "trials, parallel", "2 of 0 at a time"),
        ({"study_spec_parameters": []}, "V016", "parameters", "0"),
        (
            {"study_spec_parameters": [{**RATE, "parameter_id": f"rate{number}"} for number in range(17)]},
            "V017",
            "parameters",
            "17",
        ),
        ({"study_spec_algorithm": "GRID_SEARCH"}, "V016", "rate", "DOUBLE"),
        ({"study_spec_parameters": [RATE, RATE]}, "V016", "rate", "'rate'"),
        ({"study_spec_parameters": [{**RATE, "parameter_id": "my rate"}]}, "V016", "my rate", "'my rate'"),
        (
            {"study_spec_parameters": [{"parameter_id": "x", "discrete_value_spec": {"values": [1.0, 1.0]}}]},
            "V016",
            "x",
            "2 values",
        ),
    ],
)
def test_what_the_service_would_refuse(
    found: Callable[..., list[Any]], changes: dict[str, Any], rule: str, where: str, received: str
) -> None:
    assert found(**changes) == [(rule, f"hyperparameter-tuning-job, {where}", received)]
