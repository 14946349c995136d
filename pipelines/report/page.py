"""Report page: writes the report of a run as one self-contained HTML page."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib import resources
from typing import Any

from headrace.core import storage


def write_report(summary: Mapping[str, Any], output: str) -> None:
    """Writes the report of a run; equal summaries and artifacts give equal bytes.

    Args:
        summary: the run's summary, as its exit task writes it; artifacts are found through its steps' outputs. Any
            part may be missing: the page shows the rest.
        output: the file to write.

    Raises:
        UsageError: the file cannot be written.
        PlatformError: the disk is full or failed.
    """
    storage.write_bytes(output, render(summary).encode())


def render(summary: Mapping[str, Any]) -> str:
    """The page as HTML."""
    from headrace.pipelines.report import (
        artifacts,
        data_view,
        evaluation_view,
        formats,
        prediction_view,
        run_view,
        scoring_view,
        verdict_view,
    )
    from headrace.pipelines.report.values import mapping, number, text

    found = artifacts.read(summary)
    started, finished = number(summary.get("started")), number(summary.get("finished"))
    label = next(
        (str(c.get("name")) for c in map(mapping, found.schema.get("columns") or []) if c.get("role") == "label"),
        "value",
    )
    scored = scoring_view.scoring(found)
    numeric, categorical = (scored.numeric, scored.categorical) if scored else data_view.features(found)
    boxes, residual_ticks, zero = prediction_view.residuals(found)
    page = template("template.html").render(
        script=_source("copy.js"),
        problem=text(summary.get("problem")) or "A run",
        pipeline=text(summary.get("pipeline")) or "pipeline",
        run_id=text(summary.get("run_id")) or "",
        started=formats.moment(started),
        took=formats.seconds(finished - started if started is not None and finished is not None else None),
        verdict=verdict_view.verdict(summary, found),
        picture=run_view.pipeline_picture(found),
        steps=run_view.step_rows(found),
        stages=len(found.steps) if found.counted == "score" else len(run_view.STEPS),
        scoring=scored,
        rows=data_view.rows(found),
        evaluation=evaluation_view.evaluation(found),
        label=label,
        learning=prediction_view.learning(found),
        training_facts=prediction_view.training_facts(found),
        curves=prediction_view.curve_pictures(found, label),
        residuals=boxes,
        residual_ticks=residual_ticks,
        residual_zero=zero,
        confusion=prediction_view.confusion(found),
        numeric=numeric,
        categorical=categorical,
        endpoint=run_view.endpoint(found),
        provenance=run_view.provenance(summary, found),
        unreadable=found.unreadable,
    )
    return str(page).rstrip() + "\n"


def template(name: str) -> Any:
    """Loads a Jinja2 template of this package, with the variable `style`."""
    # Jinja2 is imported here so that commands which write no page do not need its import time.
    import jinja2

    from headrace.pipelines.report import formats

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_source),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["csp_hash"] = _csp_hash
    environment.filters["words"] = formats.name
    environment.globals |= {"style": _source("style.css")}
    return environment.get_template(name)


def _source(name: str) -> str:
    return resources.files(__package__ or "").joinpath(name).read_text(encoding="utf-8")


def _csp_hash(script: str) -> str:
    """The hash of an allowed script in a Content-Security-Policy."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
