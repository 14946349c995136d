"""Thresholds of monitoring: what Monitor accepts, and that an edited one changes no identity."""

from typing import Any

import pytest

from headrace.core.errors import ProblemError
from headrace.core.problem import Categorical, Monitor, Numeric, Problem


def make(monitor: Any) -> Problem:
    features = [Numeric("age"), Categorical("plurality")]
    return Problem(name="natality", key="id", label=Numeric("weight"), features=features, monitor=monitor)


def test_the_thresholds_of_columns_replace_those_of_all() -> None:
    monitor = Monitor(0.2, columns={"age": 0.5})
    assert (monitor.drift_of("age"), monitor.drift_of("plurality")) == (0.5, 0.2)
    assert monitor.drift_of_predictions == 0.2
    assert Monitor(0.2, prediction_drift=0.0).drift_of_predictions == 0.0


@pytest.mark.parametrize(
    ("fields", "what", "received"),
    [
        ({"drift": 1.5}, "drift", "1.5"),
        ({"missing": None}, "missing", "None"),
        ({"unknown": -0.1}, "unknown", "-0.1"),
        ({"prediction_drift": "0.1"}, "prediction_drift", "'0.1'"),
        ({"metric_loss": 0}, "metric_loss", "0"),
        ({"data_age_hours": -1}, "data_age_hours", "-1"),
        ({"minimum_rows": 0}, "minimum_rows", "0"),
        ({"columns": ["age"]}, "columns", "['age']"),
        ({"columns": {"age": 2}}, 'the threshold of "age"', "2"),
    ],
)
def test_a_threshold_outside_its_range_is_refused(fields: dict[str, Any], what: str, received: str) -> None:
    with pytest.raises(ProblemError) as caught:
        Monitor(**fields)
    assert what in caught.value.what
    assert caught.value.received == received


def test_a_threshold_of_an_unknown_column_is_refused() -> None:
    with pytest.raises(ProblemError, match='the feature "weight" to monitor does not exist') as caught:
        make(Monitor(columns={"weight": 0.1}))
    assert caught.value.expected == "names among age, plurality"
    with pytest.raises(ProblemError, match="monitor is wrong"):
        make(0.1)


def test_an_edited_monitor_changes_no_digest_and_no_model() -> None:
    plain, edited = make(None), make(Monitor(0.3, metric_loss=None))
    for digest in ("schema_digest", "training_digest", "evaluation_digest"):
        assert getattr(plain, digest) == getattr(edited, digest)
    assert plain.trained.to_json() == edited.trained.to_json()
    assert "monitor" not in plain.to_json()
    assert edited.to_json()["monitor"]["drift"] == 0.3
    assert plain != edited
