"""Preprocessing as a step of a pipeline."""

from __future__ import annotations

from typing import Any

from headrace.components import gcp_resources as resources
from headrace.components import lineage, storage
from headrace.components.preprocess.csv_dialect import CsvDialect, options_of
from headrace.components.preprocess.measuring import version_of
from headrace.components.preprocess.runner import runner_of
from headrace.components.problem_file import load_problem
from headrace.components.steps import running


def run(
    problem: str,
    schema_digest: str,
    data: str,
    data_version: str,
    root: str,
    examples: Any,
    baseline: str = "",
    baseline_version: str = "",
    csv: str = "",
    runner: str = "",
    gcp_resources: str = "",
) -> None:
    """Does the work of `component.preprocess`, whose docstring says what the arguments are."""
    with running("preprocess", root=root) as step:
        file = load_problem(problem, schema_digest=schema_digest)
        options = options_of(csv)
        # The record is known by what was asked for, so that an exit task finds it by the same facts.
        step.identity = lineage.preprocess_identity(file, data_version, baseline_version, options)
        chosen = runner_of(runner)
        if gcp_resources:
            resources.write_none(gcp_resources)
        with step.importing():
            from headrace.components.preprocess import beam_job
        version = version_of(data, data_version, csv)
        identity = lineage.preprocess_identity(file, version, baseline_version, options)

        def launched(job: Any) -> None:
            if gcp_resources:
                resources.write_beam_job(gcp_resources, chosen, job)

        result = beam_job.preprocess(
            file,
            beam_job.PreprocessConfig(
                data=data,
                output=storage.place_of(examples),
                identity=identity,
                data_version=version,
                baseline=baseline,
                csv=CsvDialect.parse(options),
                runner=chosen,
            ),
            step.progress,
            launched=launched,
        )
        examples.metadata.update(
            identity=identity,
            rows_in=result.rows_in,
            rows_out=result.rows_out,
            rows_quarantined=result.rows_quarantined,
        )
        step.finish(
            outputs={"examples": examples.path},
            result={
                "rows_in": result.rows_in,
                "rows_out": result.rows_out,
                "rows_quarantined": result.rows_quarantined,
                "splits": dict(result.splits),
                "reasons": dict(result.reasons),
                "data_version": version,
            },
        )
