"""Notify component, the exit task of batch scoring: its interface for KFP."""

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def notify(
    pipeline: str,
    run_id: str,
    started: float,
    problem: str,
    data: str,
    data_version: str,
    root: str,
    registry: str,
    destination: str,
    final_status: dsl.PipelineTaskFinalStatus,
    version: str = "",
    sink: str = "parquet",
    table: str = "",
    partition_by: str = "",
    approach: str = "auto",
    csv: str = "",
    rules: str = "enforce",
    constants: str = "",
    batch: str = "rows",
    max_divergence: float = 0.0,
    webhook: str = "",
    execution: str = "",
) -> None:
    """Writes the run's summary, whether it succeeded or failed, and notifies a webhook.

    Args:
        pipeline: the pipeline's name.
        run_id: the run's name; its summary is runs/RUN_ID/summary.json under root.
        started: start time of the run, in seconds since 1970; older records are those of cached steps.
        problem: the problem's name.
        data: the rows.
        data_version: fingerprint of the data.
        root: pipeline root, where the run's records are stored.
        registry: the registry's folder, or its entry in the Model Registry.
        destination: the folder of the problem's published Predictions.
        final_status: status of the run from the pipeline engine.
        version: of the model, or "" for the champion.
        sink: output format of the predictions.
        table: of BigQuery, or "".
        partition_by: the column whose values are folders, or "".
        approach: execution mode, as requested.
        csv: dialect of CSV, as a JSON list of NAME=VALUE, or "".
        rules: of the Model's Problem, enforce or warn.
        constants: values of the model's inputs of shape [], as JSON, or "".
        batch: rows or whole.
        max_divergence: of the predictions from the label in training, or 0.
        webhook: URL that JSON is posted to, with the outcome of the run in "text"; it is visible in the run's
            parameters, so it must contain no secret.
        execution: id of the engine's run, `dsl.PIPELINE_JOB_ID_PLACEHOLDER`, by which the summary is known to be of it.
    """
    facts = dict(locals())
    status = facts.pop("final_status")

    from headrace.components.summarize.batch import step

    inputs = step.BatchFacts(job=status.pipeline_job_resource_name or "", **facts)
    step.run(inputs, engine_succeeded=status.state in ("SUCCEEDED", "COMPLETE"))
