"""What the test server refuses of a hyperparameter tuning job, as the service's own messages say what they take."""

from __future__ import annotations

import itertools
from typing import Any

from google.cloud import aiplatform_v1 as vertex

_LOGARITHMIC = ("UNIT_LOG_SCALE", "UNIT_REVERSE_LOG_SCALE")


def refusal_of(job: Any) -> str:
    """Why a job is refused; "" for one that is taken."""
    study = job.study_spec
    if not study.metrics or not study.parameters:
        return "study_spec needs metrics and parameters"
    if job.max_trial_count < 1 or job.parallel_trial_count < 1:
        return "max_trial_count and parallel_trial_count must be positive"
    if job.max_failed_trial_count < 0:
        return "max_failed_trial_count must not be negative"
    if not job.trial_job_spec.base_output_directory.output_uri_prefix.startswith("gs://"):
        return "trial_job_spec.base_output_directory is not a Cloud Storage URI"
    ids = [one.metric_id for one in study.metrics] + [one.parameter_id for one in study.parameters]
    for one in ids:
        if not one or any(letter.isspace() for letter in one) or ids.count(one) > 1:
            return f"Invalid id: {one!r}"
    if any(one.goal.name == "GOAL_TYPE_UNSPECIFIED" for one in study.metrics):
        return "study_spec.metrics needs goals"
    return next((said for one in study.parameters if (said := _parameter(one, study.algorithm))), "")


def _parameter(spec: Any, algorithm: Any) -> str:
    where = f"study_spec.parameters[{spec.parameter_id}]"
    kind = vertex.StudySpec.ParameterSpec.pb(spec).WhichOneof("parameter_value_spec")
    if kind is None:
        return f"{where} has no values"
    if kind == "categorical_value_spec":
        values = list(spec.categorical_value_spec.values)
        wrong = not values or bool(spec.scale_type)
        return f"{where} must have values and no scale_type" if wrong else ""
    if kind == "discrete_value_spec":
        numbers = list(spec.discrete_value_spec.values)
        close = any(after - before < 1e-10 for before, after in itertools.pairwise(numbers))
        if not 1 <= len(numbers) <= 1000 or close:
            return f"{where}.values must be 1 to 1,000, in increasing order and at least 1e-10 apart"
    else:
        held = getattr(spec, kind)
        numbers = [held.min_value, held.max_value]
        if numbers[0] > numbers[1]:
            return f"{where}: min_value is greater than max_value"
        if kind == "double_value_spec" and algorithm.name == "GRID_SEARCH":
            return f"{where}: a grid search takes no DOUBLE"
    if spec.scale_type.name in _LOGARITHMIC and min(numbers) <= 0:
        return f"{where}: a logarithmic scale needs values greater than 0"
    return ""
