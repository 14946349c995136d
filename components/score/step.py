"""Batch scoring as a step of a pipeline."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.components.score.config import ScoreConfig
from headrace.components.score.identity import score_identity, version_of
from headrace.components.score.options import EndpointOptions, JobOptions, options_from
from headrace.core import storage
from headrace.core.beam.runners import RunnerOptions, runner_options
from headrace.core.errors import UsageError
from headrace.core.sources import data_version
from headrace.core.sources.csv_dialect import CsvDialect, options_of
from headrace.core.steps import gcp_resources as resources
from headrace.core.steps.step import running


@dataclass(frozen=True)
class Parameters:
    """What `component.score` is given; its docstring says what each one is."""

    model: str
    data: str
    data_version: str
    root: str
    sink: str = "parquet"
    table: str = ""
    partition_by: str = ""
    approach: str = "auto"
    signature: str = "serving_default"
    key: str = ""
    inputs: str = ""
    optional: str = ""
    csv: str = ""
    batch_rows: int = 0
    endpoint: str = ""
    job: str = ""
    runner: str = ""

    def config(self, output: str, gcp_resources: str = "") -> ScoreConfig:
        """As scoring takes them.

        Raises:
            UserError: one of them is wrong, or there is no such model.
        """
        endpoint: EndpointOptions | None = options_from(EndpointOptions, self.endpoint, "endpoint")
        job: JobOptions | None = options_from(JobOptions, self.job, "job")
        inputs, optional, csv = _json(self.inputs, "inputs"), _json(self.optional, "optional"), options_of(self.csv)
        identity = score_identity(
            version_of(self.model, endpoint),
            self.data_version,
            sink=self.sink,
            table=self.table,
            partition_by=self.partition_by,
            signature=self.signature,
            key=self.key or None,
            inputs=inputs,
            optional=optional or (),
            approach=self.approach,
            csv=csv,
        )
        return ScoreConfig(
            model=self.model,
            data=self.data,
            output=output,
            identity=identity,
            sink=self.sink,  # type: ignore[arg-type]
            table=self.table,
            partition_by=self.partition_by,
            signature=self.signature,
            key=self.key or None,
            inputs=inputs,
            optional=tuple(optional or ()),
            data_version=self.data_version,
            batch_rows=self.batch_rows,
            runner=_runner(self.runner),
            csv=CsvDialect.parse(csv),
            gcp_resources=gcp_resources,
            approach=self.approach,  # type: ignore[arg-type]
            endpoint=endpoint,
            job=job,
        )


def run(parameters: Parameters, predictions: Any, gcp_resources: str) -> None:
    """Does the work of `component.score`."""
    with running("score", root=parameters.root) as step:
        # An engine reads it in any case; a job that is started replaces it.
        resources.write_none(gcp_resources)
        measured = data_version.version_of(parameters.data, parameters.data_version, parameters.csv)
        parameters = dataclasses.replace(parameters, data_version=measured)
        config = parameters.config(storage.place_of(predictions), gcp_resources)
        step.identity = config.identity
        with step.importing():
            from headrace.components.score.score import approach_of, score
        choice = approach_of(config)
        result = score(config, step.progress, choice=choice)
        counts = {"rows_in": result.rows_in, "rows_out": result.rows_out, "rows_quarantined": result.rows_quarantined}
        predictions.metadata.update(
            identity=result.identity, model_version=result.model_version, approach=choice.approach, **counts
        )
        step.finish(
            outputs={"predictions": predictions.path},
            result={
                **counts,
                "reasons": dict(result.reasons),
                "model_version": result.model_version,
                "approach": choice.approach,
                "approach_reason": choice.reason,
                "files": result.files,
                "destination": result.destination,
                "metrics": dict(result.metrics),
            },
        )


def _json(text: str, where: str) -> Any:
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError("that is not JSON", where=where, received=text) from error


def _runner(text: str) -> RunnerOptions | None:
    plain = _json(text, "runner")
    if plain is None:
        return None
    if not isinstance(plain, Mapping) or "name" not in plain:
        raise UsageError("it is no Beam runner", where="runner", expected='{"name": "DataflowRunner", ...}')
    return runner_options(str(plain["name"]), {name: value for name, value in plain.items() if name != "name"})
