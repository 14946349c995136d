"""Preprocessing step of a pipeline."""

from __future__ import annotations

import os
from typing import Any

from headrace.core import storage
from headrace.core.artifacts.set_aside import outputs_of
from headrace.core.beam.runners import runner_of
from headrace.core.errors import DataError, NothingToDo
from headrace.core.problem.file import load_problem
from headrace.core.sources.csv_dialect import CsvDialect, options_of
from headrace.core.sources.data_version import version_of
from headrace.core.steps import gcp_resources as resources
from headrace.core.steps import identity as lineage
from headrace.core.steps.step import running


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
) -> bool:
    """Implements `component.preprocess`, whose docstring describes the arguments."""
    with running("preprocess", root=root) as step:
        file = load_problem(problem, digest=schema_digest, part="schema")
        options = options_of(csv)
        # The record is named by the request, so that an exit task finds it by the same parameters.
        step.identity = lineage.preprocess_identity(file, data_version, baseline_version, options)
        step.end_as_before(storage.place_of(examples))
        chosen = runner_of(runner, os.environ)
        if gcp_resources:
            resources.write_none(gcp_resources)
        with step.importing():
            from headrace.components.preprocess import pipeline
        version = version_of(data, data_version, csv)
        identity = lineage.preprocess_identity(file, version, baseline_version, options)

        def launched(job: Any) -> None:
            if gcp_resources:
                resources.write_beam_job(gcp_resources, chosen, job)

        config = pipeline.PreprocessConfig(
            data=data,
            output=storage.place_of(examples, shared=not chosen.local),
            identity=identity,
            data_version=version,
            baseline=baseline,
            csv=CsvDialect.parse(options),
            runner=chosen,
        )
        try:
            result = pipeline.preprocess(file, config, step.progress, launched=launched)
        except NothingToDo as end:
            none = {"rows_in": 0, "rows_out": 0, "rows_quarantined": 0, "splits": {}, "reasons": {}}
            step.finish(outputs={}, result={**none, "data_version": version, "nothing_to_do": end.paragraph})
            return False
        except DataError:
            step.finish(outputs=outputs_of(config.output), result={})
            raise
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
    return True
