"""Summarize component, the exit task: its interface for KFP."""

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def summarize(
    pipeline: str,
    run_id: str,
    started: float,
    problem: str,
    problem_digest: str,
    data: str,
    data_version: str,
    champion: str,
    root: str,
    registry: str,
    endpoint: str,
    final_status: dsl.PipelineTaskFinalStatus,
    training: dict = {},  # type: ignore[type-arg]  # noqa: B006 - an engine reads the default
    searched: bool = False,
    trials: int = 0,
    baseline: str = "",
    baseline_version: str = "",
    csv: str = "",
    resolved: bool = False,
    execution: str = "",
) -> None:
    """Writes the run's summary, whether it succeeded, was refused or failed.

    Args:
        pipeline: the pipeline's name.
        run_id: the run's name; its summary is runs/RUN_ID/summary.json under root.
        started: start time of the run, in seconds since 1970; older records are those of cached steps.
        problem: URI of the Problem file.
        problem_digest: SHA-256 of the Problem file and of the user's modules that it imports.
        data: the rows.
        data_version: fingerprint of the data.
        champion: the Model compared with, or "".
        root: pipeline root, where the run's records are stored.
        registry: the registry's folder.
        endpoint: the endpoint's folder.
        final_status: status of the run from the pipeline engine.
        training: the options of the training, as of `train` or `tune`.
        searched: whether the model is the result of a search.
        trials: number of trials of a search; 0 for the Problem's number.
        baseline: statistics with which drift was measured, or "".
        baseline_version: fingerprint of the baseline, or "".
        csv: dialect of CSV, as a JSON list of NAME=VALUE, or "".
        resolved: whether the pipeline has the task `resolve`.
        execution: id of the engine's run, `dsl.PIPELINE_JOB_ID_PLACEHOLDER`, by which the summary is known to be of it.
    """
    facts = dict(locals())
    status = facts.pop("final_status")

    from headrace.components.summarize import step

    inputs = step.RunFacts(job=status.pipeline_job_resource_name or "", **facts)
    step.run(inputs, engine_succeeded=status.state in ("SUCCEEDED", "COMPLETE"))
