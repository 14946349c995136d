"""Workspace layout: the URIs of records, runs, registries and endpoints under a pipeline root."""

from __future__ import annotations

from headrace.core.storage import join


def record_uri(root: str, step: str, step_identity: str) -> str:
    """URI of a step's record."""
    return join(root, "records", f"{step}-{step_identity}.json")


def run_uri(root: str, run_id: str) -> str:
    """The folder of a run: summary.json, report.html, pipeline.yaml and logs/."""
    return join(root, "runs", run_id)


def summary_uri(root: str, run_id: str) -> str:
    """URI of a run's summary.json."""
    return join(run_uri(root, run_id), "summary.json")


def spans_uri(root: str, problem: str) -> str:
    """The folder of a problem's spans, each preprocessed once."""
    return join(root, "spans", problem)


def dynamic_uri(root: str, problem: str) -> str:
    """The folder of a problem's dynamic training: settings.json, ledger.json and inbox/."""
    return join(root, "dynamic", problem)


def registry_uri(root: str, problem: str) -> str:
    """The folder of a problem's registry."""
    return join(root, "registry", problem)


def endpoint_uri(root: str, problem: str) -> str:
    """The folder of a problem's endpoint."""
    return join(root, "endpoints", problem)


def root_of(root: str, output: str) -> str:
    """The root of a step's own files: the run's, or else a folder beside the step's output.

    Args:
        root: the run's, or "".
        output: where the step writes its artifact; a task that is tried again has the same.
    """
    return root or f"{output.rstrip('/')}-work"


def checkpoints_uri(root: str, step: str) -> str:
    """The folder of a step's checkpoints, each run's in a folder of its own."""
    return join(root, "checkpoints", step)


def searches_uri(root: str) -> str:
    """The folder of searches for parameters: what each knows, and the Model of its best trial so far."""
    return join(root, "searches")


def measurement_uri(root: str, measurement: str) -> str:
    """URI of a stored measurement of a Model; "" without a root."""
    return join(root, "measurements", f"{measurement}.bin") if root else ""


def predictions_uri(root: str, problem: str) -> str:
    """The folder of a problem's published Predictions."""
    return join(root, "predictions", problem)
