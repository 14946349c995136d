"""Hyperparameter tuning jobs of the test server: what the service's own client gets of them, and what is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from peers.vertex import state
from peers.vertex.resources import Refusal
from peers.vertex.service import PARENT, Vertex
from peers.vertex.tuning_jobs import Outcome, TuningJobs

KIND = "hyperparameterTuningJobs"
RATE = {"parameterId": "rate", "scaleType": "UNIT_LOG_SCALE", "doubleValueSpec": {"minValue": 0.001, "maxValue": 0.1}}
UNITS = {
    "parameterId": "units",
    "scaleType": "UNIT_LINEAR_SCALE",
    "integerValueSpec": {"minValue": "4", "maxValue": "9"},
}
JOB: dict[str, Any] = {
    "displayName": "search",
    "labels": {"headrace-search": "a"},
    "studySpec": {"metrics": [{"metricId": "loss", "goal": "MINIMIZE"}], "parameters": [RATE, UNITS]},
    "maxTrialCount": 3,
    "parallelTrialCount": 2,
    "trialJobSpec": {
        "baseOutputDirectory": {"outputUriPrefix": "gs://bucket/search"},
        "workerPoolSpecs": [
            {
                "replicaCount": "1",
                "machineSpec": {"machineType": "n1-standard-4"},
                "containerSpec": {"imageUri": "gcr.io/project/trainer:1"},
            }
        ],
    },
}


def job_with(*changes: tuple[str, Any]) -> dict[str, Any]:
    """The job with other values at paths, such as studySpec.parameters."""
    job = copy.deepcopy(JOB)
    for path, value in changes:
        *keys, last = path.split(".")
        inner = job
        for key in keys:
            inner = inner[key]
        inner[last] = value
    return job


@pytest.fixture
def service() -> Vertex:
    measured = TuningJobs(lambda _, number, __: Outcome(((1, 1.0), (2, 1.0 / number), (3, 2.0))))
    return Vertex(running={KIND: measured})


def create(service: Vertex, job: dict[str, Any]) -> str:
    name: str = service.handle("POST", f"{PARENT}/{KIND}", {}, json.dumps(job).encode())["name"]
    return name


def poll(service: Vertex, name: str) -> dict[str, Any]:
    return service.handle("GET", name, {}, b"")


def test_trials_take_time_some_of_them_at_a_time(service: Vertex) -> None:
    name = create(service, JOB)
    seen = []
    while True:
        told = poll(service, name)
        seen.append([trial["state"] for trial in told.get("trials", ())])
        if told["state"] == "JOB_STATE_SUCCEEDED":
            break
    assert max(states.count("ACTIVE") for states in seen) == 2
    assert seen[-1] == ["SUCCEEDED"] * 3
    trial = told["trials"][1]
    # What is least for a goal to minimize, though a later measurement is another.
    assert trial["finalMeasurement"] == {
        "stepCount": "2", "elapsedDuration": "2s", "metrics": [{"metricId": "loss", "value": 0.5}]
    }  # fmt: skip
    rate, units = trial["parameters"]
    assert (rate["parameterId"], 0.001 <= rate["value"] <= 0.1) == ("rate", True)
    assert (units["parameterId"], units["value"] in range(4, 10)) == ("units", True)


def test_a_server_that_is_started_again_goes_on(service: Vertex, tmp_path: Path) -> None:
    name = create(service, JOB)
    for _ in range(4):
        before = poll(service, name)
    state.save(service, tmp_path / "state.json")
    again = Vertex(running=service.running)
    state.load(again, tmp_path / "state.json")
    told = poll(again, name)
    assert [trial["parameters"] for trial in told["trials"][: len(before["trials"])]] == [
        trial["parameters"] for trial in before["trials"]
    ]
    while told["state"] == "JOB_STATE_RUNNING":
        told = poll(again, name)
    assert told["state"] == "JOB_STATE_SUCCEEDED"


def test_it_is_listed_by_its_label_and_cancelled(service: Vertex) -> None:
    name = create(service, JOB)
    create(service, job_with(("labels", {})))
    listed = service.handle("GET", f"{PARENT}/{KIND}", {"filter": 'labels.headrace-search="a"'}, b"")
    assert [job["name"] for job in listed[KIND]] == [name]
    service.handle("POST", f"{name}:cancel", {}, b"{}")
    told = poll(service, name)
    assert (told["state"], told["error"]) == ("JOB_STATE_CANCELLED", {"code": 1, "message": "CANCELLED"})


def test_too_many_failed_trials_fail_the_job(service: Vertex) -> None:
    service.running[KIND] = TuningJobs(lambda *_: Outcome(ended="failed", reason="out of memory"))
    name = create(service, job_with(("maxFailedTrialCount", 1)))
    told = poll(service, name)
    while told["state"] in ("JOB_STATE_QUEUED", "JOB_STATE_PENDING", "JOB_STATE_RUNNING"):
        told = poll(service, name)
    assert (told["state"], told["error"]["message"]) == ("JOB_STATE_FAILED", "2 trials have failed.")
    assert {trial["infeasibleReason"] for trial in told["trials"]} == {"out of memory"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("maxTrialCount", 0),
        ("parallelTrialCount", 0),
        ("maxFailedTrialCount", -1),
        ("studySpec.parameters", []),
        ("studySpec.parameters", [{**UNITS, "parameterId": "my units"}]),
        ("studySpec.parameters", [UNITS, UNITS]),
        ("studySpec.parameters", [{"parameterId": "x"}]),
        ("studySpec.parameters", [{**RATE, "doubleValueSpec": {"minValue": 0.0, "maxValue": 1.0}}]),
        ("studySpec.parameters", [{**UNITS, "integerValueSpec": {"minValue": "9", "maxValue": "4"}}]),
        ("studySpec.parameters", [{**UNITS, "integerValueSpec": {"minValue": "4", "maxValue": str(2**63)}}]),
        ("studySpec.parameters", [{"parameterId": "x", "discreteValueSpec": {"values": [2, 1]}}]),
        ("studySpec.parameters", [{"parameterId": "x", "discreteValueSpec": {"values": list(range(1001))}}]),
        ("studySpec.parameters", [{"parameterId": "x", "categoricalValueSpec": {"values": [1]}}]),
        ("studySpec.parameters", [{"parameterId": "x", "categoricalValueSpec": {"values": []}}]),
        ("studySpec.algorithm", "GRID_SEARCH"),
        ("studySpec.metrics", [{"metricId": "loss"}]),
        ("trialJobSpec.baseOutputDirectory", {}),
        ("trialJobSpec.workerPoolSpecs", []),
        ("labels", {"Team": "growth"}),
    ],
)
def test_what_the_service_does_not_take_is_refused(service: Vertex, path: str, value: Any) -> None:
    with pytest.raises(Refusal) as refused:
        create(service, job_with((path, value)))
    assert refused.value.code == 400
    assert service.resources == {}
