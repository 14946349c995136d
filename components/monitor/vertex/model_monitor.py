"""Model monitor of Vertex AI: its schema, thresholds and schedule, from a Problem, in the service's JSON.

The service compares the requests that an endpoint logs with the training data, by the Jensen-Shannon divergence, and
raises an alert above a threshold: skew of features and of predictions. It does not subtract the sampling error. It has
neither late labels nor the other thresholds of a Problem's `monitor`, which `not_there` returns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.core.errors import UsageError
from headrace.core.problem import Categorical, Monitor, Numeric, Problem

_DISTANCE = "jensen_shannon_divergence"
_MODEL = re.compile(r"(projects/[^/]+/locations/[^/]+/models/[^/@]+)@([0-9]+)\Z")
_ENDPOINT = re.compile(r"projects/[^/]+/locations/[^/]+/endpoints/[^/]+\Z")
_WINDOW = re.compile(r"[1-9][0-9]{0,3}[hdw]\Z")
_FORMATS = {".csv": "CSV", ".jsonl": "JSONL"}


@dataclass(frozen=True)
class ModelMonitorConfig:
    """Options of a model monitor.

    Args:
        endpoint: projects/PROJECT/locations/REGION/endpoints/ID, which logs requests and responses.
        model: the deployed version, projects/PROJECT/locations/REGION/models/ID@NUMBER.
        training_data: raw rows of the training: gs://... of CSV or JSON lines, or bigquery://PROJECT.DATASET.TABLE.
        output: gs:// prefix of the service's metrics.
        cron: schedule of the measurements, a cron expression in UTC.
        window: window of the measured requests: a number and h, d or w.
        emails: addresses that get alerts.

    Raises:
        UsageError: a value is not valid.
    """

    endpoint: str
    model: str
    training_data: str
    output: str
    cron: str = "0 6 * * *"
    window: str = "1d"
    emails: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, pattern, expected in (
            ("endpoint", _ENDPOINT, "projects/PROJECT/locations/REGION/endpoints/ID"),
            ("model", _MODEL, "projects/PROJECT/locations/REGION/models/ID@NUMBER"),
            ("window", _WINDOW, "a number and h, d or w, such as 1d"),
        ):
            if not pattern.match(getattr(self, name)):
                raise UsageError(
                    f"the {name} is not valid", where="model monitor", expected=expected, received=getattr(self, name)
                )
        if not self.output.startswith("gs://"):
            raise UsageError("the output is not valid", where="model monitor", expected="gs://", received=self.output)
        if len(self.cron.split()) != 5:
            raise UsageError(
                "the cron expression is not valid",
                where="model monitor",
                expected="minute, hour, day of the month, month, day of the week",
                received=self.cron,
            )
        if self.endpoint.split("/")[:4] != self.model.split("/")[:4]:
            raise UsageError(
                "the model is of another project or region", where=self.model, expected=self.parent,
                received="/".join(self.model.split("/")[:4]),
            )  # fmt: skip
        self.dataset()

    @property
    def parent(self) -> str:
        """projects/PROJECT/locations/REGION."""
        return "/".join(self.endpoint.split("/")[:4])

    def dataset(self) -> dict[str, Any]:
        """The training data as a `ModelMonitoringInput`.

        Raises:
            UsageError: the service cannot read the training data.
        """
        data = self.training_data
        if data.startswith("bigquery://"):
            return {"columnizedDataset": {"bigquerySource": {"tableUri": f"bq://{data.removeprefix('bigquery://')}"}}}
        suffix = next((suffix for suffix in _FORMATS if data.endswith(suffix)), "")
        if not data.startswith("gs://") or not suffix:
            raise UsageError(
                "the service cannot read the training data",
                where="--training-data",
                expected="gs://... that ends in .csv or .jsonl, or bigquery://PROJECT.DATASET.TABLE",
                received=data,
            )
        return {"columnizedDataset": {"gcsSource": {"gcsUri": data, "format": _FORMATS[suffix]}}}


def model_monitor(problem: Problem, config: ModelMonitorConfig) -> dict[str, Any]:
    """A `ModelMonitor` with the thresholds of the Problem's `monitor`.

    Args:
        problem: declares the features, the label and the thresholds.
        config: options of the model monitor.
    """
    found = _MODEL.match(config.model)
    assert found is not None
    return {
        "displayName": f"headrace {problem.name}"[:128],
        "modelMonitoringTarget": {"vertexModel": {"model": found[1], "modelVersionId": found[2]}},
        "modelMonitoringSchema": {
            "featureFields": [_field(column) for column in problem.columns],
            "predictionFields": [{**_field(problem.label), "name": "prediction"}],
            "groundTruthFields": [_field(problem.label)],
        },
        "tabularObjective": objective(problem),
        "trainingDataset": config.dataset(),
        "notificationSpec": {
            "enableCloudLogging": True,
            **({"emailConfig": {"userEmails": list(config.emails)}} if config.emails else {}),
        },
        "outputSpec": {"gcsBaseDirectory": {"outputUriPrefix": config.output}},
    }


def objective(problem: Problem) -> dict[str, Any]:
    """A `TabularObjective`: the maximum divergence of each feature, and of the predictions."""
    monitor = problem.monitor or Monitor()
    own = {name: {"threshold": most} for name, most in monitor.columns.items()}
    return {
        "featureDriftSpec": {
            **_drift(monitor.drift),
            "features": [column.name for column in problem.columns],
            **({"featureAlertConditions": own} if own else {}),
        },
        "predictionOutputDriftSpec": {**_drift(monitor.drift_of_predictions), "features": ["prediction"]},
    }


def schedule(problem: Problem, config: ModelMonitorConfig, monitor: str) -> dict[str, Any]:
    """A `Schedule` that measures the requests of the last window.

    Args:
        problem: as of `model_monitor`.
        config: as of `model_monitor`.
        monitor: resource name of the model monitor.
    """
    whole = model_monitor(problem, config)
    job = {
        "displayName": whole["displayName"],
        "modelMonitoringSpec": {
            "objectiveSpec": {
                "tabularObjective": whole["tabularObjective"],
                "baselineDataset": whole["trainingDataset"],
                "targetDataset": {
                    "vertexEndpointLogs": {"endpoints": [config.endpoint]},
                    "timeOffset": {"offset": "0h", "window": config.window},
                },
            },
            "notificationSpec": whole["notificationSpec"],
            "outputSpec": whole["outputSpec"],
        },
    }
    return {
        "displayName": whole["displayName"],
        "cron": f"TZ=UTC {config.cron}",
        "maxConcurrentRunCount": 1,
        "createModelMonitoringJobRequest": {"parent": monitor, "modelMonitoringJob": job},
    }


def not_there(problem: Problem) -> Mapping[str, Any]:
    """The thresholds of the Problem that the service does not support, by name; `headrace monitor` applies them."""
    monitor = problem.monitor or Monitor()
    names = ("missing", "unknown", "invalid", "metric_loss", "data_age_hours", "model_age_days")
    return {name: value for name in names if (value := getattr(monitor, name)) is not None}


def _field(column: Numeric | Categorical) -> dict[str, Any]:
    return {"name": column.name, "dataType": "float" if isinstance(column, Numeric) else "categorical"}


def _drift(most: float) -> dict[str, Any]:
    return {
        "categoricalMetricType": _DISTANCE,
        "numericMetricType": _DISTANCE,
        "defaultCategoricalAlertCondition": {"threshold": most},
        "defaultNumericAlertCondition": {"threshold": most},
    }
