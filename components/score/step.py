"""Batch scoring step of a pipeline."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from headrace.components.score.parameters import Parameters
from headrace.core import storage
from headrace.core.artifacts.set_aside import outputs_of
from headrace.core.errors import DataError
from headrace.core.sources import data_version
from headrace.core.steps import gcp_resources as resources
from headrace.core.steps.step import running


def run(parameters: Parameters, predictions: Any, gcp_resources: str) -> None:
    """Implements `component.score`."""
    with running("score", root=parameters.root) as step:
        # An engine reads it in any case; a job that is started replaces it.
        resources.write_none(gcp_resources)
        measured = data_version.version_of(parameters.data, parameters.data_version, parameters.csv)
        parameters = dataclasses.replace(parameters, data_version=measured)
        config = parameters.config(storage.place_of(predictions), gcp_resources)
        if config.runner is not None and not config.runner.local:
            config = dataclasses.replace(config, output=storage.place_of(predictions, shared=True))
        step.identity = config.identity
        step.end_as_before(storage.place_of(predictions))
        with step.importing():
            from headrace.components.score.score import approach_of, score
        choice = approach_of(config)
        try:
            result = score(config, step.progress, choice=choice)
        except DataError:
            step.finish(outputs=outputs_of(config.output), result={})
            raise
        counts = {"rows_in": result.rows_in, "rows_out": result.rows_out, "rows_quarantined": result.rows_quarantined}
        predictions.metadata.update(
            identity=result.identity,
            model_version=result.model_version,
            approach=choice.approach,
            rules=config.rules,
            **counts,
            **_by_column("refused", result.rules.refused),
            **_by_column("predicted", result.rules.predicted),
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
                "rules": {"mode": config.rules, **result.rules.to_json()},
            },
        )


def _by_column(what: str, counts: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Metadata such as `predicted_out_of_range_mother_age`."""
    return {f"{what}_{reason}_{column}": rows for reason, of in counts.items() for column, rows in of.items()}
