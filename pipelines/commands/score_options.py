"""Scoring options of `headrace score` and `headrace run batch-scoring`: output format and execution mode."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from headrace.core.errors import UsageError
from headrace.pipelines.commands.option_groups import folded, group, option

_SINKS = ("parquet", "csv", "jsonl", "table", "bigquery")
# Each option: its name, field, type, metavar and help.
_ENDPOINT: tuple[tuple[str, str, type[Any], str, str], ...] = (
    (
        "endpoint-url",
        "url",
        str,
        "URL",
        "URL of a model: https://HOST/v1/models/NAME:predict, or Vertex AI's.",
    ),
    ("endpoint-form", "form", str, "FORM", "Form of requests: instances (an object per row) or inputs (columns)."),
    ("endpoint-token-variable", "token_variable", str, "NAME", "Environment variable that holds a bearer token."),
    ("endpoint-concurrency", "concurrency", int, "N", "Number of requests at once (default: 4)."),
    (
        "endpoint-requests-per-second",
        "requests_per_second",
        float,
        "N",
        "Maximum requests per second (default: 0, any).",
    ),
    ("endpoint-rows-per-request", "rows_per_request", int, "N", "Maximum rows per request (default: 960)."),
    ("endpoint-request-seconds", "request_seconds", float, "S", "Timeout per attempt, in seconds (default: 30)."),
    ("endpoint-tries", "tries", int, "N", "Maximum attempts per request (default: 6)."),
    (
        "endpoint-deadline-seconds",
        "deadline_seconds",
        float,
        "S",
        "Timeout of all requests, in seconds (default: 0, none).",
    ),
)
_JOB: tuple[tuple[str, str, type[Any], str, str], ...] = (
    (
        "vertex-model",
        "model",
        str,
        "MODEL",
        "Model in the registry: projects/P/locations/L/models/M, or with @VERSION.",
    ),
    ("vertex-project", "project", str, "PROJECT", "ID of the project that pays for the job."),
    ("vertex-region", "region", str, "REGION", "Region of the job, such as europe-west1."),
    ("vertex-staging", "staging", str, "gs://...", "Folder in a bucket for instances and results."),
    ("vertex-machine-type", "machine_type", str, "TYPE", "Machine type of the workers (default: n2-standard-4)."),
    ("vertex-replicas", "replicas", int, "N", "Maximum number of workers (default: 10)."),
    ("vertex-batch-size", "batch_size", int, "N", "Number of instances per call of the model (default: 64)."),
    ("vertex-service-account", "service_account", str, "EMAIL", "Service account of the workers."),
    (
        "vertex-poll-seconds",
        "poll_seconds",
        float,
        "S",
        "Time between two requests for the job's state, in seconds (default: 30).",
    ),
    ("vertex-deadline-seconds", "deadline_seconds", float, "S", "Timeout of the job, in seconds (default: 0, none)."),
    ("vertex-api-endpoint", "api_endpoint", str, "URL", "URL of another server than Vertex AI, for tests."),
)
# Options for a first use; --help-all shows the others.
_SHOWN = frozenset({"endpoint-url", "endpoint-token-variable", "vertex-model"})
_FORMER_NAMES = {"endpoint-url": ("--endpoint",)}

sink = click.option(
    "--sink", type=click.Choice(_SINKS), default="parquet", show_default=True, help="Output format of predictions."
)
table = click.option(
    "--table", default="", metavar="bigquery://PROJECT.DATASET.TABLE", help="Table of --sink bigquery; it is replaced."
)
partition_by = option(
    "--partition-by",
    default="",
    metavar="COLUMN",
    rare=True,
    help="Column of the rows or predictions whose values become folders COLUMN=VALUE.",
)
approach = click.option(
    "--approach",
    type=click.Choice(["auto", "direct", "endpoint", "job"]),
    default="auto",
    show_default=True,
    help="Execution mode: direct loads the model in this process or in Beam's workers, job runs a Vertex AI batch "
    "prediction job, endpoint sends requests to --endpoint-url, which is slow, auto chooses by rules and prints why.",
)
constant = option(
    "--constant",
    "constants",
    multiple=True,
    metavar="INPUT=VALUE",
    rare=True,
    help="Value of an input of shape [], which is one for all rows (repeatable).",
)
batch = option(
    "--batch",
    type=click.Choice(["rows", "whole"]),
    default="rows",
    show_default=True,
    rare=True,
    help="Rows per call of the model: rows for batches of any size, as predictions do not depend on other rows; whole "
    "for all rows in one call.",
)
batch_rows = option(
    "--batch-rows",
    default=0,
    metavar="N",
    rare=True,
    help="Number of rows per call of the model (default: 0, found by measuring).",
)


def elsewhere(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of endpoints and jobs, as one mapping in `elsewhere`, for the functions below."""
    declared = [
        group(heading)(
            f"--{name}",
            aliases=_FORMER_NAMES.get(name, ()),
            type=kind,
            default=None,
            metavar=metavar,
            help=text,
            rare=name not in _SHOWN,
        )
        for heading, options in (("A model behind an endpoint", _ENDPOINT), ("A Vertex AI batch prediction job", _JOB))
        for name, _, kind, metavar, text in options
    ]
    return folded(declared, "elsewhere", dict)(command)


def endpoint_of(values: Mapping[str, Any]) -> Any:
    """Creates EndpointOptions from the options, or None.

    Raises:
        UsageError: a value is not valid, or the URL is missing.
    """
    fields = _fields(values, _ENDPOINT)
    if fields and "url" not in fields:
        raise UsageError("options of an endpoint require its URL", where="--endpoint-url", expected="https://HOST/...")
    from headrace.components.score.options import EndpointOptions

    return EndpointOptions(**fields) if fields else None


def job_of(values: Mapping[str, Any]) -> Any:
    """Creates JobOptions from the options, or None.

    Raises:
        UsageError: a value is not valid or missing.
    """
    fields = _fields(values, _JOB)
    if not fields:
        return None
    missing = [f"--vertex-{name}" for name in ("model", "project", "region", "staging") if name not in fields]
    if missing:
        raise UsageError("options of the job are missing", where=missing[0], expected=", ".join(missing))
    from headrace.components.score.options import JobOptions

    return JobOptions(**fields)


def as_json(options: Any) -> str:
    """Options as JSON for a pipeline's parameter; "" for none."""
    return "" if options is None else json.dumps(dataclasses.asdict(options), sort_keys=True)


def inputs_of(texts: Sequence[str]) -> dict[str, str | list[str]] | list[str] | None:
    """Parses the columns of each input: INPUT=COLUMN or INPUT=COLUMN,COLUMN; columns alone are the only dense input's.

    Raises:
        UsageError: both forms are mixed, or an input is repeated.
    """
    if not texts:
        return None
    if not any("=" in text for text in texts):
        return [column.strip() for text in texts for column in text.split(",")]
    named: dict[str, str | list[str]] = {}
    for text in texts:
        name, separator, columns = text.partition("=")
        if not separator or not name or not columns or name in named:
            raise UsageError(
                "the option is not valid",
                where="--input",
                expected="INPUT=COLUMN,COLUMN,... per input (repeatable), or COLUMN,COLUMN,... for the only dense one",
                received=repr(text),
            )
        named[name] = columns.split(",") if "," in columns else columns
    return named


def _fields(values: Mapping[str, Any], options: Sequence[tuple[str, str, type[Any], str, str]]) -> dict[str, Any]:
    fields = {field: values[option.replace("-", "_")] for option, field, *_ in options}
    return {field: value for field, value in fields.items() if value is not None}
