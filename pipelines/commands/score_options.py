"""The options of `headrace score` and `headrace run batch-scoring`: where predictions go, and how they are made."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from headrace.core.errors import UsageError

_SINKS = ("parquet", "csv", "jsonl", "table", "bigquery")
# Each option, the field that it sets, its type, what it is shown as, and what it is for.
_ENDPOINT: tuple[tuple[str, str, type[Any], str, str], ...] = (
    ("endpoint", "url", str, "URL", "A model behind HTTP: https://HOST/v1/models/NAME:predict, or Vertex' address."),
    ("endpoint-form", "form", str, "FORM", "instances (an object a row, as Vertex takes it) or inputs (columns)."),
    ("endpoint-token-variable", "token_variable", str, "NAME", "The environment variable that holds a bearer token."),
    ("endpoint-concurrency", "concurrency", int, "N", "Requests that are under way at once."),
    ("endpoint-requests-per-second", "requests_per_second", float, "N", "At most, over all; 0 for no bound."),
    ("endpoint-rows-per-request", "rows_per_request", int, "N", "At most."),
    ("endpoint-request-seconds", "request_seconds", float, "S", "That one try may take."),
    ("endpoint-tries", "tries", int, "N", "Of a request."),
    ("endpoint-deadline-seconds", "deadline_seconds", float, "S", "For all requests together; 0 for none."),
)
_JOB: tuple[tuple[str, str, type[Any], str, str], ...] = (
    ("vertex-model", "model", str, "MODEL", "For a job: projects/P/locations/L/models/M, perhaps with @VERSION."),
    ("vertex-project", "project", str, "PROJECT", "The project that pays."),
    ("vertex-region", "region", str, "REGION", "Where it runs."),
    ("vertex-staging", "staging", str, "gs://...", "A folder in a bucket for instances and results."),
    ("vertex-machine-type", "machine_type", str, "TYPE", "Of the workers; those of the series g2, a2, a3 have GPUs."),
    ("vertex-replicas", "replicas", int, "N", "Workers, at most."),
    ("vertex-batch-size", "batch_size", int, "N", "Instances that a container is given at once."),
    ("vertex-service-account", "service_account", str, "EMAIL", "What the workers run as."),
    ("vertex-poll-seconds", "poll_seconds", float, "S", "Between two looks at the job."),
    ("vertex-deadline-seconds", "deadline_seconds", float, "S", "To wait for it; 0 for as long as it takes."),
    ("vertex-api-endpoint", "api_endpoint", str, "URL", "A server in place of Vertex' own, for tests."),
)

sink = click.option(
    "--sink", type=click.Choice(_SINKS), default="parquet", show_default=True, help="What predictions are written as."
)
table = click.option(
    "--table", default="", metavar="bigquery://PROJECT.DATASET.TABLE", help="For --sink bigquery; it is replaced."
)
partition_by = click.option(
    "--partition-by", default="", metavar="COLUMN", help="Folders COLUMN=VALUE of files, of the rows or predictions."
)
approach = click.option(
    "--approach",
    type=click.Choice(["auto", "direct", "endpoint", "job"]),
    default="auto",
    show_default=True,
    help="direct: the model in this process or in Beam's workers; job: a Vertex batch prediction job; endpoint: "
    "requests to --endpoint, the slow way; auto: chosen by rules, and the reason is printed.",
)
batch_rows = click.option(
    "--batch-rows", default=0, metavar="N", help="Rows that the model is given at once; found by measuring if 0."
)


def elsewhere(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of endpoints and jobs, given as one mapping under `elsewhere`, which functions below read."""
    names = [option.replace("-", "_") for option, *_ in (*_ENDPOINT, *_JOB)]

    def taking(**given: Any) -> Any:
        values = {name: given.pop(name) for name in names}
        return command(**given, elsewhere=values)

    taking.__doc__ = command.__doc__
    taking.__name__ = command.__name__
    # What the decorators below this one added.
    taking.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    wrapped: Callable[..., Any] = taking
    for option, _, kind, metavar, text in reversed((*_ENDPOINT, *_JOB)):
        wrapped = click.option(f"--{option}", type=kind, default=None, metavar=metavar, help=text)(wrapped)
    return wrapped


def endpoint_of(values: Mapping[str, Any]) -> Any:
    """The EndpointOptions that the options say, or None.

    Raises:
        UsageError: a value is wrong, or there is no address.
    """
    given = _fields(values, _ENDPOINT)
    if given and "url" not in given:
        raise UsageError("options of an endpoint need its address", where="--endpoint", expected="https://HOST/...")
    from headrace.components.score.options import EndpointOptions

    return EndpointOptions(**given) if given else None


def job_of(values: Mapping[str, Any]) -> Any:
    """The JobOptions that the options say, or None.

    Raises:
        UsageError: a value is wrong, or one is missing.
    """
    given = _fields(values, _JOB)
    if not given:
        return None
    missing = [f"--vertex-{name}" for name in ("model", "project", "region", "staging") if name not in given]
    if missing:
        raise UsageError("a job needs more", where=missing[0], expected=", ".join(missing))
    from headrace.components.score.options import JobOptions

    return JobOptions(**given)


def as_json(options: Any) -> str:
    """Options as a pipeline's parameter holds them; "" for none."""
    return "" if options is None else json.dumps(dataclasses.asdict(options), sort_keys=True)


def inputs_of(texts: Sequence[str]) -> dict[str, str | list[str]] | list[str] | None:
    """What feeds each input: INPUT=COLUMN or INPUT=COLUMN,COLUMN; columns alone are the only dense input's.

    Raises:
        UsageError: both forms are mixed, or an input is named twice.
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
                "the option is wrong",
                where="--input",
                expected="INPUT=COLUMN,COLUMN,... once for each input, or COLUMN,COLUMN,... for the only dense one",
                received=repr(text),
            )
        named[name] = columns.split(",") if "," in columns else columns
    return named


def _fields(values: Mapping[str, Any], options: Sequence[tuple[str, str, type[Any], str, str]]) -> dict[str, Any]:
    given = {field: values[option.replace("-", "_")] for option, field, *_ in options}
    return {field: value for field, value in given.items() if value is not None}
