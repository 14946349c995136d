"""Engine's job: which run of an engine wrote a record, by names that the engine gives, since clocks differ.

Vertex AI stores the outputs of a run's tasks below a folder of the run's name, and Kubeflow names each pod after its
workflow. An exit task is told the same name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Environment variable with the name of a task's pod, which Kubeflow sets: WORKFLOW-TEMPLATE-NUMBER.
POD = "KFP_POD_NAME"


def names_of(environment: Mapping[str, str]) -> dict[str, str]:
    """What a record holds of its pod; empty on engines without pods."""
    return {"pod": environment[POD]} if environment.get(POD) else {}


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
