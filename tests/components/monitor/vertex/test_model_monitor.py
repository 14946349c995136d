"""Vertex AI's model monitor: what a Problem's thresholds become, in the service's own messages, and its creation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.cloud.aiplatform_v1beta1 import types
from peers.vertex.server import VertexServer
from peers.vertex.service import PARENT
from support.command import headrace

from headrace.components.monitor.vertex.create import put_model_monitor
from headrace.components.monitor.vertex.model_monitor import ModelMonitorConfig, model_monitor, not_there, schedule
from headrace.core.errors import UsageError
from headrace.core.problem import Categorical, Monitor, Numeric, Problem

NAME = f"{PARENT}/modelMonitors/birth-weights"
GIVEN: dict[str, Any] = {
    "endpoint": f"{PARENT}/endpoints/natality",
    "model": f"{PARENT}/models/natality@3",
    "training_data": "gs://bucket/births-*.csv",
    "output": "gs://bucket/monitoring",
}


def problem(**given: Any) -> Problem:
    return Problem(
        name="birth_weights",
        key="id",
        label=Numeric("weight"),
        features=[Numeric("age"), Categorical("plurality")],
        monitor=Monitor(drift=0.05, prediction_drift=0.2, columns={"age": 0.3}, **given),
    )


def test_the_thresholds_are_those_of_the_problem() -> None:
    config = ModelMonitorConfig(**GIVEN, emails=("sre@example.com",))
    plain = model_monitor(problem(), config)
    # Every name is one of the service's.
    made = types.ModelMonitor.from_json(json.dumps(plain), ignore_unknown_fields=False)
    features = made.tabular_objective.feature_drift_spec
    assert list(features.features) == ["age", "plurality"]
    assert (features.categorical_metric_type, features.numeric_metric_type) == ("jensen_shannon_divergence",) * 2
    assert features.default_categorical_alert_condition.threshold == 0.05
    assert features.default_numeric_alert_condition.threshold == 0.05
    assert {name: one.threshold for name, one in features.feature_alert_conditions.items()} == {"age": 0.3}
    predictions = made.tabular_objective.prediction_output_drift_spec
    assert (list(predictions.features), predictions.default_numeric_alert_condition.threshold) == (["prediction"], 0.2)
    schema = made.model_monitoring_schema
    assert [(f.name, f.data_type) for f in schema.feature_fields] == [("age", "float"), ("plurality", "categorical")]
    assert [(f.name, f.data_type) for f in schema.prediction_fields] == [("prediction", "float")]
    assert [(f.name, f.data_type) for f in schema.ground_truth_fields] == [("weight", "float")]
    target = made.model_monitoring_target.vertex_model
    assert (target.model, target.model_version_id) == (f"{PARENT}/models/natality", "3")
    source = made.training_dataset.columnized_dataset.gcs_source
    assert (source.gcs_uri, source.format_.name) == ("gs://bucket/births-*.csv", "CSV")
    assert list(made.notification_spec.email_config.user_emails) == ["sre@example.com"]
    assert not_there(problem(metric_loss=None)) == {"missing": 0.05, "unknown": 0.05, "invalid": 0.01}


def test_without_thresholds_they_are_the_defaults() -> None:
    plain = Problem(name="p", key="id", label=Categorical("kind", vocabulary=["no", "yes"]), features=[Numeric("age")])
    made = model_monitor(plain, ModelMonitorConfig(**{**GIVEN, "training_data": "bigquery://p.d.t"}))
    assert made["tabularObjective"]["featureDriftSpec"]["defaultNumericAlertCondition"] == {"threshold": 0.1}
    assert made["modelMonitoringSchema"]["predictionFields"] == [{"name": "prediction", "dataType": "categorical"}]
    assert made["trainingDataset"]["columnizedDataset"] == {"bigquerySource": {"tableUri": "bq://p.d.t"}}


def test_the_schedule_measures_the_logged_requests() -> None:
    plain = schedule(problem(), ModelMonitorConfig(**GIVEN, window="6h", cron="0 */6 * * *"), NAME)
    made = types.Schedule.from_json(json.dumps(plain), ignore_unknown_fields=False)
    request = made.create_model_monitoring_job_request
    objective = request.model_monitoring_job.model_monitoring_spec.objective_spec
    assert (made.cron, request.parent) == ("TZ=UTC 0 */6 * * *", NAME)
    assert list(objective.target_dataset.vertex_endpoint_logs.endpoints) == [GIVEN["endpoint"]]
    assert objective.target_dataset.time_offset.window == "6h"
    assert objective.baseline_dataset.columnized_dataset.gcs_source.gcs_uri == GIVEN["training_data"]


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"endpoint": "out/endpoints/natality"}, "the endpoint is not valid"),
        ({"model": f"{PARENT}/models/natality"}, "the model is not valid"),
        ({"model": "projects/p/locations/other/models/natality@3"}, "another project or region"),
        ({"training_data": "births.csv"}, "the service cannot read the training data"),
        ({"training_data": "gs://bucket/births.parquet"}, "the service cannot read the training data"),
        ({"output": "monitoring"}, "the output is not valid"),
        ({"cron": "daily"}, "the cron expression is not valid"),
        ({"window": "90m"}, "the window is not valid"),
    ],
)
def test_what_is_refused(given: dict[str, str], what: str) -> None:
    with pytest.raises(UsageError, match=what):
        ModelMonitorConfig(**{**GIVEN, **given})


def test_it_is_created_once_and_then_changed(vertex_server: VertexServer) -> None:
    vertex_server.be_asked_from_here()
    resources = vertex_server.vertex.resources
    first = put_model_monitor(problem(), ModelMonitorConfig(**GIVEN))
    assert (first.monitor, first.new) == (NAME, True)
    assert set(resources) == {NAME, first.schedule}
    again = put_model_monitor(problem(), ModelMonitorConfig(**{**GIVEN, "model": f"{PARENT}/models/natality@4"}))
    assert (again.monitor, again.schedule, again.new) == (NAME, first.schedule, False)
    assert set(resources) == {NAME, first.schedule}
    assert resources[NAME].model_monitoring_target.vertex_model.model_version_id == "4"


def test_what_the_service_refuses_is_a_mistake(vertex_server: VertexServer) -> None:
    vertex_server.be_asked_from_here()
    other = {
        "endpoint": GIVEN["endpoint"].replace("demo-project", "other"),
        "model": GIVEN["model"].replace("demo-project", "other"),
    }
    with pytest.raises(UsageError):
        put_model_monitor(problem(), ModelMonitorConfig(**{**GIVEN, **other}))


def test_the_command_prints_it_or_creates_it(vertex_server: VertexServer, tmp_path: Path) -> None:
    vertex_server.be_asked_from_here()
    file = tmp_path / "births.py"
    file.write_text(
        "from headrace import Monitor, Numeric, Problem\n"
        'problem = Problem(name="birth_weights", key="id", label=Numeric("weight"), features=[Numeric("age")],\n'
        "    monitor=Monitor(drift=0.07))\n"
    )
    words = ["endpoint", "monitor", GIVEN["endpoint"], "--problem", str(file), "--vertex-model", GIVEN["model"]]
    words += ["--training-data", GIVEN["training_data"], "--metrics", GIVEN["output"]]
    printed = headrace(*words)
    assert printed.returncode == 0, printed.stderr
    plain = json.loads(printed.stdout)
    drift = plain["modelMonitor"]["tabularObjective"]["featureDriftSpec"]
    assert drift["defaultNumericAlertCondition"] == {"threshold": 0.07}
    assert "missing 0.05, unknown 0.05, invalid 0.01" in printed.stderr
    assert vertex_server.vertex.resources == {}
    created = headrace(*words, "--create")
    assert created.returncode == 0, created.stderr
    assert f"created {NAME}" in created.stdout
    changed = json.loads(headrace(*words, "--create", "--json").stdout)
    assert (changed["monitor"], changed["new"]) == (NAME, False)
    refused = headrace(*words[:-1], "monitoring")
    assert (refused.returncode, "the output is not valid" in refused.stderr) == (2, True)
