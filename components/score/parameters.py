"""Parameters of the component `score`, and the configuration that they make."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from headrace.components.score.config import ScoreConfig
from headrace.components.score.identity import constants_of, score_identity, version_of
from headrace.components.score.options import EndpointOptions, JobOptions, options_from
from headrace.core.beam.runners import runner_of
from headrace.core.errors import UsageError
from headrace.core.sources.csv_dialect import CsvDialect, options_of


@dataclass(frozen=True)
class Parameters:
    """The parameters of `component.score`, whose docstring describes them."""

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
    constants: str = ""
    batch: str = "rows"
    csv: str = ""
    batch_rows: int = 0
    endpoint: str = ""
    job: str = ""
    runner: str = ""
    rules: str = "enforce"

    def config(self, output: str, gcp_resources: str = "") -> ScoreConfig:
        """Converts them to a scoring configuration.

        Raises:
            UserError: a parameter is not valid, or the model does not exist.
        """
        endpoint: EndpointOptions | None = options_from(EndpointOptions, self.endpoint, "endpoint")
        job: JobOptions | None = options_from(JobOptions, self.job, "job")
        inputs, optional, csv = _json(self.inputs, "inputs"), _json(self.optional, "optional"), options_of(self.csv)
        constants = constants_of(self.constants)
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
            constants=constants,
            batch=self.batch,
            approach=self.approach,
            csv=csv,
            rules=self.rules,
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
            constants=constants,
            batch=self.batch,  # type: ignore[arg-type]
            data_version=self.data_version,
            batch_rows=self.batch_rows,
            runner=runner_of(self.runner, os.environ) if self.runner else None,
            csv=CsvDialect.parse(csv),
            gcp_resources=gcp_resources,
            approach=self.approach,  # type: ignore[arg-type]
            endpoint=endpoint,
            job=job,
            rules=self.rules,  # type: ignore[arg-type]
        )


def _json(text: str, where: str) -> Any:
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError("the text is not JSON", where=where, received=text) from error
