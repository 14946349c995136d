"""Creation or update of a model monitor and its schedule at Vertex AI, which are identified by their names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from google.api_core import exceptions as api

from headrace.components.monitor.vertex.model_monitor import ModelMonitorConfig, model_monitor, schedule
from headrace.core.cloud import errors
from headrace.core.errors import PlatformError
from headrace.core.problem import Problem
from headrace.core.progress import Progress, silent

_ROLE = "roles/aiplatform.user"
_TIMEOUT_S = 60.0
# The operation creates a table and a folder as well.
_CREATION_S = 900.0
_MONITOR = (
    "model_monitoring_target",
    "model_monitoring_schema",
    "tabular_objective",
    "training_dataset",
    "notification_spec",
    "output_spec",
)
_SCHEDULE = ("cron", "create_model_monitoring_job_request")


@dataclass(frozen=True)
class CreatedMonitor:
    """A model monitor and its schedule.

    Attributes:
        monitor, schedule: resource names.
        new: whether the monitor was created; False if it was updated.
    """

    monitor: str
    schedule: str
    new: bool


def put_model_monitor(problem: Problem, config: ModelMonitorConfig, report: Progress = silent) -> CreatedMonitor:
    """Creates the model monitor of a Problem and its schedule, or updates existing ones. Repeating changes nothing.

    Args:
        problem: declares the thresholds.
        config: options of the model monitor.
        report: receives progress.

    Raises:
        UsageError: access is denied, or the service rejects the model monitor.
        PlatformError: the service failed; the same call may succeed later.
    """
    from google.cloud.aiplatform import initializer, utils
    from google.cloud.aiplatform_v1beta1 import types

    identity = problem.name.replace("_", "-").lower()[:63].rstrip("-")
    location = config.parent.split("/")[3]

    def client(kind: Any) -> Any:
        made = initializer.global_config.create_client(client_class=kind, location_override=location)
        return made.select_version("v1beta1")

    with errors.translate_errors("Vertex AI", config.parent, _ROLE):
        monitors, schedules = client(utils.ModelMonitoringClientWithOverride), client(utils.ScheduleClientWithOverride)
        wanted = types.ModelMonitor.from_json(json.dumps(model_monitor(problem, config)))
        wanted.name = f"{config.parent}/modelMonitors/{identity}"
        try:
            monitors.get_model_monitor(name=wanted.name, timeout=_TIMEOUT_S)
            new = False
        except api.NotFound:
            new = True
        if new:
            report(f"creating {wanted.name}")
            operation = monitors.create_model_monitor(
                request={"parent": config.parent, "model_monitor": wanted, "model_monitor_id": identity},
                timeout=_TIMEOUT_S,
            )
        else:
            report(f"changing {wanted.name}")
            operation = monitors.update_model_monitor(
                model_monitor=wanted, update_mask={"paths": list(_MONITOR)}, timeout=_TIMEOUT_S
            )
        _wait(operation, wanted.name)
        planned = types.Schedule.from_json(json.dumps(schedule(problem, config, wanted.name)))
        listed = schedules.list_schedules(
            request={"parent": config.parent, "filter": f'display_name="{planned.display_name}"'}, timeout=_TIMEOUT_S
        )
        known = next(iter(listed), None)
        if known is None:
            made = schedules.create_schedule(parent=config.parent, schedule=planned, timeout=_TIMEOUT_S)
        else:
            planned.name = known.name
            made = schedules.update_schedule(
                schedule=planned, update_mask={"paths": list(_SCHEDULE)}, timeout=_TIMEOUT_S
            )
    return CreatedMonitor(wanted.name, made.name, new)


def _wait(operation: Any, where: str) -> None:
    try:
        operation.result(timeout=_CREATION_S)
    except (RuntimeError, TimeoutError) as error:
        raise PlatformError(
            "the model monitor was not created", where=where, received=errors.message_of(error)
        ) from error
