"""Choice of the approach for scoring a batch, by fixed rules; a pure function of the given facts.

The rules, of which the first that applies decides:

1. The model cannot be loaded here: the endpoint. A job needs the model at hand too, to know what it takes.
2. A Beam runner was asked for: direct, in its workers.
3. The rows must be copied for a job, or the predictions be brought elsewhere: direct.
4. Only a job's machines have an accelerator: a job.
5. There are JOB_ROWS rows or more: a job, whose many machines then make up for the minutes that it takes to start.
6. Else direct. An endpoint is never chosen where the model can be loaded: it costs a request for some hundred rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from headrace.core.errors import UsageError

Approach = Literal["direct", "endpoint", "job"]
APPROACHES: tuple[Approach, ...] = get_args(Approach)
# A job takes some minutes to start, in which a machine of two cores scores some 50 million rows of a small model.
JOB_ROWS = 50_000_000
# Machines of Compute Engine that come with accelerators.
_ACCELERATED = ("a2-", "a3-", "a4-", "a4x-", "g2-", "g4-", "ct")


@dataclass(frozen=True)
class Situation:
    """What the choice depends on.

    Attributes:
        model_here: the model can be loaded where this runs.
        endpoint: an endpoint is known that answers for it.
        job: a batch prediction job may be started for it.
        data_in_cloud: the rows lie in Cloud Storage or BigQuery.
        copied: why they would have to be copied for a job; "" where they lie there as it reads them, or nobody looked.
        files_wanted: the predictions are to be files of the artifact.
        runner: a Beam runner was requested.
        rows: about how many there are; None where nobody looked.
        accelerators: of this machine.
        job_machine: the type of a job's machines.
    """

    model_here: bool
    endpoint: bool = False
    job: bool = False
    data_in_cloud: bool = False
    copied: str = ""
    files_wanted: bool = True
    runner: bool = False
    rows: int | None = None
    accelerators: int = 0
    job_machine: str = ""

    @property
    def job_accelerated(self) -> bool:
        """A job's machines have accelerators."""
        return self.job_machine.startswith(_ACCELERATED)


@dataclass(frozen=True)
class ApproachChoice:
    """An approach, and why it is the one."""

    approach: Approach
    reason: str


def choose(situation: Situation) -> ApproachChoice:
    """The approach for a situation, by the rules above.

    Raises:
        UsageError: a model to score with is missing.
    """
    if not situation.model_here:
        if situation.endpoint:
            return ApproachChoice(
                "endpoint", "the model is reachable only there; requests are the slow way for a batch"
            )
        raise UsageError(
            "a model to score with is missing",
            where="--model",
            expected="a Model or a SavedModel, or an endpoint (--endpoint)",
        )
    if situation.runner:
        return ApproachChoice("direct", "a Beam runner was requested, and its workers load the model")
    if not situation.job:
        return ApproachChoice(
            "direct", "the model can be loaded here, which is faster than any request for predictions"
        )
    if not situation.data_in_cloud:
        return ApproachChoice("direct", "the rows are not where a job reads them, and direct needs no copy of them")
    if situation.copied:
        return ApproachChoice("direct", f"a job would need a copy of the rows: {situation.copied}")
    if not situation.files_wanted:
        return ApproachChoice(
            "direct", "the predictions go elsewhere than into files, which a job would only write to a bucket"
        )
    if situation.job_accelerated and not situation.accelerators:
        machines = f"its machines ({situation.job_machine}) have accelerators, and this one has none"
        return ApproachChoice("job", f"{machines}; it reads the rows where they are")
    if situation.rows is not None and situation.rows >= JOB_ROWS:
        return ApproachChoice("job", f"there are about {situation.rows:,} rows, which a job reads where they are")
    return ApproachChoice("direct", f"there are fewer than {JOB_ROWS:,} rows, scored before a job would have started")
