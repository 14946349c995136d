"""Ingest step of a pipeline."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from headrace.core import storage
from headrace.core.beam.runners import runner_of
from headrace.core.errors import UsageError
from headrace.core.ledger.inbox import Arrival
from headrace.core.problem.file import load_problem
from headrace.core.sources.csv_dialect import options_of
from headrace.core.steps import gcp_resources as resources
from headrace.core.steps import identity as lineage
from headrace.core.steps.step import running


def run(
    problem: str,
    schema_digest: str,
    arrivals: Sequence[Mapping[str, Any]],
    root: str,
    examples: Any,
    others: str,
    gcp_resources: str,
    *,
    last_spans: int = 0,
    last_days: int = 0,
    withdrawn: Sequence[str] = (),
    half_life: float = 0.0,
    baseline: str = "",
    csv: str = "",
    runner: str = "",
) -> bool:
    """Implements `component.ingest`, whose docstring describes the arguments."""
    with running("ingest", root=root) as step:
        file = load_problem(problem, digest=schema_digest, part="schema")
        arrived = tuple(_arrival(plain) for plain in arrivals)
        options = options_of(csv)
        limits = {
            "last_spans": last_spans,
            "last_days": last_days,
            "withdrawn": list(withdrawn),
            "half_life": half_life,
        }
        versions = [arrival.version for arrival in arrived]
        # The record's name depends on the parameters, so that an exit task with the same parameters finds it.
        step.identity = lineage.ingest_identity(file, versions, baseline, options, **limits)
        step.end_as_before(storage.place_of(examples))
        chosen = runner_of(runner, os.environ)
        resources.write_none(gcp_resources)
        with step.importing():
            from headrace.components.ingest import ingest
            from headrace.components.ingest.config import IngestConfig
            from headrace.components.ingest.window import Window

        config = IngestConfig(
            arrivals=arrived,
            root=root,
            output=storage.place_of(examples),
            window=Window(last_spans, last_days),
            withdrawn=tuple(withdrawn),
            half_life=half_life,
            baseline=baseline,
            csv=tuple(options),
            runner=chosen,
        )

        def launched(job: Any) -> None:
            resources.write_beam_job(gcp_resources, chosen, job)

        result = ingest.ingest(file, config, step.progress, launched=launched)
        storage.write_json(others, dict(result.others))
        plain = dataclasses.asdict(result)
        if result.identity:
            examples.metadata.update(
                identity=result.identity,
                rows_in=result.rows_in,
                rows_out=result.rows_out,
                rows_quarantined=result.rows_quarantined,
            )
        outputs = {"examples": examples.path} if result.identity else {}
        step.finish(outputs=outputs, result=plain)
    return result.trainable


def _arrival(plain: Mapping[str, Any]) -> Arrival:
    try:
        return Arrival(**plain)
    except TypeError as error:
        raise UsageError(
            "an arrival is not valid",
            where="arrivals",
            expected="an object with version, span, data, data_version, reason, event and at",
            received=repr(plain)[:200],
        ) from error
