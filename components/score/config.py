"""How predictions are made, and what came of it: plain values that check themselves."""

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
# Those whose files are the predictions, so that there can be folders of them.
FILE_SINKS: tuple[SinkName, ...] = ("parquet", "csv", "jsonl")
# Whether rows are independent and scored in batches of any size, or all of them are one call of the model.
BatchMode = Literal["rows", "whole"]
BATCH_MODES: tuple[BatchMode, ...] = get_args(BatchMode)
# Rows of an input that is one call of the model, at most.
WHOLE_ROWS = 1 << 17
# Rows of a file of predictions, at most: what a reader takes in one go.
FILE_ROWS = 1 << 20
# The share of the rows that may go to quarantine, where the Model has no Problem that says it.
QUARANTINE_BUDGET = 0.05

_COLUMN = re.compile(r"[^\x00-\x1f/=%]{1,200}")


@dataclass(frozen=True)
class ScoreConfig:
    """How rows are scored.

    Attributes:
        model: a Model artifact, or any SavedModel; "" for one that is only reachable at an endpoint.
        data: a file, a folder or a glob of any format that `preprocess.sources` reads, or a BigQuery table or query.
        output: the folder that becomes the Predictions artifact; one that is there is replaced.
        identity: what the artifact is known by, 16 hexadecimal digits.
        sink: what the predictions are written as: one of SINKS.
        table: for the sink bigquery, bigquery://PROJECT.DATASET.TABLE, which is replaced.
        partition_by: a column of the rows or of the predictions whose values become folders, COLUMN=VALUE; for files.
        signature: of the SavedModel.
        key: the column that identifies a row; the Problem's if None.
        inputs: columns for inputs that are not named like theirs, by input; or the columns of the only dense one.
        optional: inputs of which values may be missing; a Model says it itself.
        constants: a value for each input of shape [], which is one for all rows.
        batch: "rows", where each row's prediction is its own; "whole" gives the model all rows in one call, of at most
            WHOLE_ROWS.
        data_version: fingerprint of the data; measured if empty.
        batch_rows: rows that the model is given at once, 1 to 1,048,576; 0 finds it by measuring.
        scoring_threads: batches of a part that are scored at once; 0 follows from the machine.
        intra_op_threads: TensorFlow's threads within an operation; 0 follows from the machine.
        quarantine_budget: the share of rows that may go to quarantine; the Problem's, or 0.05, if None.
        runner: the Beam runner and its options; without one the work is done here, without Beam.
        csv: how CSV files are written.
        gcp_resources: a file that is told which job of Google Cloud does the work, as Vertex Pipelines reads it.
        approach: how predictions are made, one of APPROACHES; "auto" for the one that `approach.choose` gives.
        endpoint: how a model behind an endpoint is asked, if one is.
        job: how a batch prediction job runs, if one does.
        rules: "enforce" quarantines rows that break the rules of the Model's Problem, "warn" predicts and counts those
            whose values are out of bounds or unknown.

    Raises:
        UsageError: a value outside its range, or two that contradict each other.
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
            raise UsageError("quarantine_budget is wrong", expected="a share, 0 to 1", received=repr(budget))
        check_mode(self.rules)
        self._check_sink()
        self._check_approach()
        self._check_batch()
        if self.runner is not None:
            self.runner.check_places(self.data, self.output)

    def check_output(self) -> None:
        """Checks that there is nothing at `output` but Predictions, and that it holds nothing of what is read.

        Raises:
            UsageError: it does.
        """
        check_output(self.output, PREDICTIONS, inputs={"--data": self.data, "--model": self.model})

    def _check_approach(self) -> None:
        if self.approach not in ("auto", *APPROACHES):
            raise UsageError(
                "there is no such approach",
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
                # Workers would each keep a budget of requests of their own; a job has workers of Vertex's.
                raise UsageError(
                    f"the approach {approach} takes no Beam runner", where="--runner", expected="--approach direct"
                )

    def _check_batch(self) -> None:
        if self.constants and self.approach in ("endpoint", "job"):
            raise UsageError(
                f"the approach {self.approach} is sent rows, and no inputs of shape []",
                where="--constant",
                expected="--approach direct for a model that takes such inputs",
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
            raise UsageError("there is no such sink", expected=f"one of {', '.join(SINKS)}", received=repr(self.sink))
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
    """What came of scoring.

    Attributes:
        identity: what the artifact is known by.
        model_version: what made the predictions.
        rows_in: rows read.
        rows_out: predictions written.
        rows_quarantined: rows without one.
        reasons: rows without one, by reason.
        files: of predictions; none where they are elsewhere.
        destination: where they are, if not in files of the artifact.
        metrics: what was counted: rows, batches, predictions, bytes, quarantined, and quarantined_REASON.
        approach: how they were made.
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
