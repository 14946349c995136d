"""Engine's job: which run of an engine wrote a record, by names that the engine gives, since clocks differ.

Vertex AI stores the outputs of a run's tasks below a folder of the run's name, which each task reads on its command
line, and Kubeflow names each pod after its workflow. An exit task receives the same name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from headrace.core.steps.repeated import job_of

# Environment variable with the name of a task's pod, which Kubeflow sets: WORKFLOW-TEMPLATE-NUMBER.
POD = "KFP_POD_NAME"
# Option of KFP's executor with the task's inputs and outputs as JSON.
EXECUTOR_INPUT = "--executor_input"
_MOUNT = "/gcs/"


def names_of(environment: Mapping[str, str], arguments: Sequence[str]) -> dict[str, str]:
    """The names of the engine's run in a record: "pod" on Kubeflow, "job" on Vertex AI; empty on other engines.

    Args:
        environment: variables of the process.
        arguments: its command line.
    """
    pod, job = environment.get(POD), _job_in(arguments)
    return ({"pod": pod} if pod else {}) | ({"job": job} if job else {})


def _job_in(arguments: Sequence[str]) -> str:
    """The folder of the pipeline job of Vertex AI, by the place of the task's results; "" for other engines.

    Tasks without an artifact have these results too, such as a registration.
    """
    if EXECUTOR_INPUT not in arguments[:-1]:
        return ""
    try:
        place = json.loads(arguments[arguments.index(EXECUTOR_INPUT) + 1])["outputs"]["outputFile"]
    except (ValueError, KeyError, TypeError):
        return ""
    return job_of(f"gs://{place.removeprefix(_MOUNT)}") if isinstance(place, str) and place.startswith(_MOUNT) else ""


def is_of_job(record: Mapping[str, Any], job: str) -> bool | None:
    """Whether a run of an engine wrote a record; None where neither says it.

    Args:
        record: of a step.
        job: the engine's own name of the run, as its exit task has it; "" if it is not known.
    """
    name = job.rstrip("/").rpartition("/")[2]
    if not name:
        return None
    if record.get("pod"):
        return is_pod_of(str(record["pod"]), name)
    folder = str(record.get("job", ""))
    return folder.rpartition("/")[2] == name if folder else None


def is_pod_of(pod: str, workflow: str) -> bool:
    """Whether a pod, or a node of Argo, is of a workflow."""
    return pod.startswith(f"{workflow}-") or pod == workflow
