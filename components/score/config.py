"""Scoring options and results, as validated values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from headrace.components.score.approach import APPROACHES, Approach
from headrace.components.score.options import EndpointOptions, JobOptions
from headrace.core.artifacts.kinds import PREDICTIONS
from headrace.core.beam.runners import RunnerOptions
from headrace.core.errors import UsageError
from headrace.core.rules.counts import RuleCounts
from headrace.core.rules.mode import Mode, check_mode
from headrace.core.sources.csv_dialect import RFC_4180, CsvDialect
from headrace.core.storage.output_check import check_output

SinkName = Literal["parquet", "csv", "jsonl", "bigquery", "table"]
SINKS: tuple[SinkName, ...] = get_args(SinkName)
# Sinks whose files are the predictions, so that they can be partitioned into folders.
FILE_SINKS: tuple[SinkName, ...] = ("parquet", "csv", "jsonl")
# Whether rows are independent and scored in batches of any size, or all of them are one call of the model.
BatchMode = Literal["rows", "whole"]
BATCH_MODES: tuple[BatchMode, ...] = get_args(BatchMode)
# Maximum rows of an input that is scored in one call of the model.
WHOLE_ROWS = 1 << 17
# Rows of a file of predictions, at most: what a reader takes in one go.
FILE_ROWS = 1 << 20
# Maximum fraction of quarantined rows, if the model has no Problem with a budget.
QUARANTINE_BUDGET = 0.05

_COLUMN = re.compile(r"[^\x00-\x1f/=%]{1,200}")


@dataclass(frozen=True)
class ScoreConfig:
    """Options of scoring.

    Attributes:
        model: a Model artifact, or any SavedModel; "" for a model that is only available at an endpoint.
        data: a file, a folder or a glob of any format that `preprocess.sources` reads, or a BigQuery table or query.
        output: the folder of the Predictions artifact; an existing one is replaced.
        identity: cache key of the artifact, 16 hexadecimal digits.
        sink: output format: one of SINKS.
        table: for the sink bigquery, bigquery://PROJECT.DATASET.TABLE, which is replaced.
        partition_by: a column of the rows or of the predictions whose values become folders, COLUMN=VALUE; for files.
        signature: signature of the SavedModel.
        key: the column that identifies a row; the Problem's if None.
        inputs: columns of inputs with other names, by input; or the columns of the only dense input.
        optional: inputs whose values may be missing; a Model declares them itself.
        constants: a value for each input of shape [], the same for all rows.
        batch: "rows" for independent rows; "whole" passes all rows to the model in one call of at most WHOLE_ROWS.
        data_version: fingerprint of the data; measured if empty.
        batch_rows: rows per call of the model, 1 to 1,048,576; 0 measures the fastest size.
        scoring_threads: number of a part's batches scored in parallel; 0 depends on the machine.
        intra_op_threads: TensorFlow's threads per operation; 0 depends on the machine.
        quarantine_budget: maximum fraction of quarantined rows; None for the Problem's, or 0.05.
        runner: the Beam runner and its options; without one, scoring runs in this process, without Beam.
        csv: dialect of CSV files.
        gcp_resources: a file that receives the job on Google Cloud, in the format of Vertex Pipelines.
        approach: execution mode, one of APPROACHES; "auto" for the choice of `approach.choose`.
        endpoint: endpoint options, for that approach.
        job: options of a batch prediction job, for that approach.
        rules: "enforce" quarantines rows that break the rules of the Model's Problem, "warn" predicts and counts those
            whose values are out of bounds or unknown.

    Raises:
        UsageError: a value is outside its range, or two values contradict each other.
    """

    model: str
    data: str
    output: str
    identity: str
    sink: SinkName = "parquet"
    table: str = ""
    partition_by: str = ""
    signature: str = "serving_default"
    key: str | None = None
    inputs: Mapping[str, str | Sequence[str]] | Sequence[str] | None = None
    optional: tuple[str, ...] = ()
    constants: Mapping[str, Any] = field(default_factory=dict)
    batch: BatchMode = "rows"
    data_version: str = ""
    batch_rows: int = 0
    scoring_threads: int = 0
    intra_op_threads: int = 0
    quarantine_budget: float | None = None
    runner: RunnerOptions | None = None
    csv: CsvDialect = RFC_4180
    gcp_resources: str = ""
    approach: Approach | Literal["auto"] = "auto"
    endpoint: EndpointOptions | None = None
    job: JobOptions | None = None
    rules: Mode = "enforce"

    def __post_init__(self) -> None:
        for name in ("data", "output", "identity", "signature"):
            if not getattr(self, name):
                raise UsageError(f"{name} is empty", where=f"--{name}")
        for name, greatest in (("batch_rows", 1 << 20), ("scoring_threads", 1024), ("intra_op_threads", 1024)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= greatest:
                raise UsageError(f"{name} is wrong", expected=f"a whole number, 0 to {greatest}", received=repr(value))
        budget = self.quarantine_budget
        if budget is not None and not 0 <= budget <= 1:
            raise UsageError("quarantine_budget is wrong", expected="a fraction, 0 to 1", received=repr(budget))
        check_mode(self.rules)
        self._check_sink()
        self._check_approach()
        self._check_batch()
        if self.runner is not None:
            self.runner.check_places(self.data, self.output)

    def check_output(self) -> None:
        """Checks that `output` is unused or holds Predictions, and does not hold an input.

        Raises:
            UsageError: it holds something else, or an input.
        """
        check_output(self.output, PREDICTIONS, inputs={"--data": self.data, "--model": self.model})

    def _check_approach(self) -> None:
        if self.approach not in ("auto", *APPROACHES):
            raise UsageError(
                "the approach does not exist",
                where="--approach",
                expected=f"auto, {', '.join(APPROACHES)}",
                received=repr(self.approach),
            )
        if not self.model and (self.endpoint is None or self.approach in ("direct", "job")):
            raise UsageError("model is empty", where="--model", expected="a Model or a SavedModel")
        for approach, given, option in (
            ("endpoint", self.endpoint, "--endpoint-url"),
            ("job", self.job, "--vertex-model"),
        ):
            if self.approach != approach:
                continue
            if given is None:
                raise UsageError(f"the approach {approach} needs more", where="--approach", expected=option)
            if self.runner is not None:
                # Each worker would have its own request limit; a job has Vertex AI's workers.
                raise UsageError(
                    f"the approach {approach} accepts no Beam runner", where="--runner", expected="--approach direct"
                )

    def _check_batch(self) -> None:
        if self.constants and self.approach in ("endpoint", "job"):
            raise UsageError(
                f"the approach {self.approach} is sent rows, and no inputs of shape []",
                where="--constant",
                expected="--approach direct for a model with such inputs",
                received=", ".join(self.constants),
            )
        if self.batch not in BATCH_MODES:
            raise UsageError(
                "batch is wrong",
                where="--batch",
                expected=f"one of {', '.join(BATCH_MODES)}",
                received=repr(self.batch),
            )
        others = {
            "--batch-rows": self.batch_rows,
            "--runner": self.runner,
            "--approach": self.approach if self.approach in ("endpoint", "job") else "",
        }
        for option, value in others.items():
            if self.batch == "whole" and value:
                raise UsageError(
                    f"--batch whole and {option} exclude each other",
                    where="--batch",
                    expected="all rows in one call of the model, in this process",
                    received=f"{option} {value}" if isinstance(value, str | int) else option,
                )

    def _check_sink(self) -> None:
        if self.sink not in SINKS:
            raise UsageError("the sink does not exist", expected=f"one of {', '.join(SINKS)}", received=repr(self.sink))
        if (self.sink == "bigquery") != bool(self.table):
            raise UsageError(
                "the sink bigquery and its table go together",
                where="--table",
                expected="bigquery://PROJECT.DATASET.TABLE" if self.sink == "bigquery" else "nothing",
                received=repr(self.table),
            )
        if not self.partition_by:
            return
        if self.sink not in FILE_SINKS:
            raise UsageError(
                "only files can be partitioned",
                where="--partition-by",
                expected=f"a sink of {', '.join(FILE_SINKS)}",
                received=self.sink,
            )
        if not _COLUMN.fullmatch(self.partition_by):
            raise UsageError(
                "the column's name cannot be a folder's",
                where="--partition-by",
                expected="at most 200 characters, none of them /, = or %",
                received=repr(self.partition_by),
            )


@dataclass(frozen=True)
class ScoreResult:
    """Result of scoring.

    Attributes:
        identity: cache key of the artifact.
        model_version: version of the model.
        rows_in: rows read.
        rows_out: predictions written.
        rows_quarantined: rows without a prediction.
        reasons: rows without a prediction, by reason.
        files: files of predictions; empty if they are elsewhere.
        destination: where the predictions are, if not in files of the artifact.
        metrics: counters: rows, batches, predictions, bytes, quarantined, and quarantined_REASON.
        approach: execution mode.
        rules: rows that broke a rule of the Model.
    """

    identity: str
    model_version: str
    rows_in: int
    rows_out: int
    rows_quarantined: int
    reasons: Mapping[str, int]
    files: int
    destination: str | None = None
    metrics: Mapping[str, int] = field(default_factory=dict, compare=False)
    approach: str = "direct"
    rules: RuleCounts = field(default_factory=RuleCounts)
