"""The options that say which Beam runner does the work of `headrace preprocess` or `headrace score`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from headrace.core.errors import UsageError

# Each option, the field of the runner's options that it sets, and whether the field holds KEY=VALUE pairs.
_TEXTS = (
    ("project", "PROJECT", "DataflowRunner: the project's ID."),
    ("region", "REGION", "DataflowRunner: such as europe-west1."),
    ("temp-location", "gs://...", "DataflowRunner: a folder in a bucket for the job's own files."),
    ("staging-location", "gs://...", "DataflowRunner: for what the job is started with; --temp-location by default."),
    ("sdk-container-image", "IMAGE", "DataflowRunner: what workers start from: the image beam-worker."),
    ("job-name", "NAME", "DataflowRunner: it follows from the data and the Problem by default."),
    ("service-account", "EMAIL", "DataflowRunner: what workers run as."),
    ("network", "NAME", "DataflowRunner: the workers' network."),
    ("subnetwork", "NAME", "DataflowRunner: as regions/REGION/subnetworks/NAME."),
    ("machine-type", "TYPE", "DataflowRunner: such as n2-standard-4."),
    ("job-endpoint", "HOST:PORT", "FlinkRunner, SparkRunner, PortableRunner: a Beam job server that runs."),
    ("environment-type", "TYPE", "The same: how workers start, DOCKER (the default), EXTERNAL, PROCESS or LOOPBACK."),
    ("environment-config", "CONFIG", "The same: the image, HOST:PORT of the worker pool, or JSON with the command."),
)
_COUNTS = (
    ("direct-workers", "workers", "DirectRunner: processes; 1, which needs no start, by default."),
    ("workers", "workers", "DataflowRunner: at the start."),
    ("max-workers", "max_workers", "DataflowRunner: at most."),
    ("disk-gigabytes", "disk_gigabytes", "DataflowRunner: of each worker."),
)


def runner(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options to a command, which is given them all as one mapping under `runner`, to be read by `chosen`."""
    return _added(command, "DirectRunner", "DirectRunner (here)")


def optional_runner(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options to a command that does without Beam where none is given."""
    return _added(command, "", "none by default, DirectRunner (here, in Beam)")


def _added(command: Callable[..., Any], default: str, here: str) -> Callable[..., Any]:
    def taking(**given: Any) -> Any:
        values = {name: given.pop(name) for name in names}
        return command(**given, runner=values)

    names = ["runner", "label", "no_public_addresses", "beam_option"]
    taking.__doc__ = command.__doc__
    taking.__name__ = command.__name__
    # What the decorators below this one added.
    taking.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    wrapped: Callable[..., Any] = click.option(
        "--beam-option",
        multiple=True,
        metavar="KEY=VALUE",
        help="An option of Beam's own, which its parser checks; again for more.",
    )(taking)
    wrapped = click.option(
        "--no-public-addresses", is_flag=True, help="DataflowRunner: workers inside the network only."
    )(wrapped)
    wrapped = click.option(
        "--label", multiple=True, metavar="KEY=VALUE", help="DataflowRunner: for the bill; again for more."
    )(wrapped)
    for name, _, text in reversed(_COUNTS):
        wrapped = click.option(f"--{name}", type=int, default=None, metavar="N", help=text)(wrapped)
        names.append(name.replace("-", "_"))
    for name, metavar, text in reversed(_TEXTS):
        wrapped = click.option(f"--{name}", default=None, metavar=metavar, help=text)(wrapped)
        names.append(name.replace("-", "_"))
    return click.option(
        "--runner",
        default=default,
        show_default=bool(default),
        metavar="NAME",
        help=f"The Beam runner: {here}, DataflowRunner, FlinkRunner, SparkRunner or PortableRunner.",
    )(wrapped)


def chosen(values: Mapping[str, Any]) -> Any:
    """The RunnerOptions that the options say; None where the runner is optional and not given.

    Raises:
        UsageError: there is no such runner, an option that is not its own, or a value that it would refuse.
    """
    name = str(values["runner"])
    if not name:
        _check_alone(values)
        return None
    from headrace.core.beam.runners import runner_options

    given = _given(values)
    given["labels"] = _pairs("--label", values["label"]) or None
    given["beam_options"] = _pairs("--beam-option", values["beam_option"]) or None
    given["public_addresses"] = False if values["no_public_addresses"] else None
    return runner_options(name, given)


def as_json(values: Mapping[str, Any]) -> str:
    """The runner and its options as a pipeline's parameter holds them; "" for none.

    Raises:
        UsageError: as `chosen` does.
    """
    runner = chosen(values)
    if runner is None:
        return ""
    plain = {"name": str(values["runner"]), **dataclasses.asdict(runner)}
    return json.dumps({name: value for name, value in plain.items() if value not in ("", 0, {})}, sort_keys=True)


def _check_alone(values: Mapping[str, Any]) -> None:
    given = sorted(f"--{name.replace('_', '-')}" for name, value in values.items() if value)
    if given:
        raise UsageError(f"{given[0]} needs a runner", where="--runner", expected="such as DataflowRunner")


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    name = str(values["runner"])
    given = {option.replace("-", "_"): values[option.replace("-", "_")] for option, _, _ in _TEXTS}
    direct = name == "DirectRunner"
    for option, field, _ in _COUNTS:
        value = values[option.replace("-", "_")]
        if value is None:
            continue
        if field == "workers" and direct != (option == "direct-workers"):
            raise UsageError(
                f"{name} does not take --{option}",
                where="--runner",
                expected="--direct-workers" if direct else "--workers",
            )
        given[field] = value
    return given


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not key or (option == "--label" and not separator):
            raise UsageError("it is not a pair", where=option, expected="KEY=VALUE", received=repr(text))
        if key in pairs:
            raise UsageError("it is given twice", where=option, expected="each key once", received=key)
        pairs[key] = value
    return pairs
