"""Conclude component, the exit task of dynamic training: its interface for KFP."""

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def conclude(
    pipeline: str,
    ledger: str,
    run_id: str,
    holder: str,
    started: float,
    problem: str,
    problem_digest: str,
    root: str,
    registry: str,
    endpoint: str,
    final_status: dsl.PipelineTaskFinalStatus,
    last_spans: int = 0,
    last_days: int = 0,
    half_life: float = 0.0,
    csv: str = "",
    tick: bool = False,
) -> None:
    """Writes the outcome of the run's data versions into the ledger, and the run's summary; then starts the next run.

    A failed run remains in the ledger: the next tick counts it, and retries its data versions.

    Args:
        pipeline: the pipeline's name.
        ledger: URI of the ledger.
        run_id: id of the run; its summary is runs/RUN_ID/summary.json under root.
        holder: id of the platform's execution.
        started: start time of the run, in seconds since 1970; older records are those of cached steps.
        problem: URI of the Problem file.
        problem_digest: SHA-256 of the Problem file and of the user's modules that it imports.
        root: pipeline root, where the run's records are stored.
        registry, endpoint: of the models.
        final_status: status of the run from the pipeline engine.
        last_spans, last_days, half_life, csv: as of `ingest`.
        tick: whether to start the next run that is due; otherwise a schedule starts it.
    """
    facts = dict(locals())
    status = facts.pop("final_status")

    from headrace.components.summarize.dynamic import step

    inputs = step.DynamicFacts(job=status.pipeline_job_resource_name or "", **facts)
    step.run(inputs, engine_succeeded=status.state in ("SUCCEEDED", "COMPLETE"))
