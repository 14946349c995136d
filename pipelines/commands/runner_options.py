"""Beam runner options of `headrace preprocess` and `headrace score`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headrace.core.errors import UsageError
from headrace.pipelines.commands.option_groups import folded, group

# Each option: its name, metavar and help.
_TEXTS = (
    ("project", "PROJECT", "DataflowRunner: ID of the project."),
    ("region", "REGION", "DataflowRunner: region of the job, such as europe-west1."),
    ("temp-location", "gs://...", "DataflowRunner: folder in a bucket for the job's own files."),
    (
        "staging-location",
        "gs://...",
        "DataflowRunner: folder of staged files (default: --temp-location).",
    ),
    ("sdk-container-image", "IMAGE", "DataflowRunner: image of the workers, which is beam-worker."),
    ("job-name", "NAME", "DataflowRunner: name of the job (default: derived from the data and the Problem)."),
    ("service-account", "EMAIL", "DataflowRunner: service account of the workers."),
    ("network", "NAME", "DataflowRunner: network of the workers."),
    ("subnetwork", "NAME", "DataflowRunner: subnetwork of the workers, as regions/REGION/subnetworks/NAME."),
    ("worker-machine-type", "TYPE", "DataflowRunner: machine type of the workers, such as n2-standard-4."),
    ("job-endpoint", "HOST:PORT", "FlinkRunner, SparkRunner, PortableRunner: address of a running Beam job server."),
    ("environment-type", "TYPE", "The same: how workers start: DOCKER (default), EXTERNAL, PROCESS or LOOPBACK."),
    ("environment-config", "CONFIG", "The same: image, HOST:PORT of the worker pool, or JSON with the command."),
)
_COUNTS = (
    ("direct-workers", "workers", "DirectRunner: number of processes (default: 1, without start-up time)."),
    ("workers", "workers", "DataflowRunner: number of workers at the start."),
    ("max-workers", "max_workers", "DataflowRunner: maximum number of workers."),
    ("disk-gigabytes", "disk_gigabytes", "DataflowRunner: disk of each worker, in gigabytes."),
)
# Options whose name differs from the field's.
_FIELDS = {"worker-machine-type": "machine_type"}
_runner = group("Beam runner")
_rare = group("Beam runner", rare=True)


def runner(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options to a command, which receives them as one mapping in `runner`, for `chosen`."""
    return _added(command, "DirectRunner", "DirectRunner (here)")


def optional_runner(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options to a command that does not use Beam by default."""
    return _added(command, "", "none by default, DirectRunner (here, in Beam)")


def _added(command: Callable[..., Any], default: str, here: str) -> Callable[..., Any]:
    return folded(
        (
            _runner(
                "--runner",
                default=default,
                show_default=bool(default),
                metavar="NAME",
                help=f"Beam runner: {here}, DataflowRunner, FlinkRunner, SparkRunner or PortableRunner.",
            ),
            *(_rare(f"--{name}", default=None, metavar=metavar, help=text) for name, metavar, text in _TEXTS),
            *(_rare(f"--{name}", type=int, default=None, metavar="N", help=text) for name, _, text in _COUNTS),
            _rare(
                "--job-label",
                multiple=True,
                metavar="KEY=VALUE",
                help="DataflowRunner: label of the job, for billing (repeatable).",
            ),
            _rare("--no-public-addresses", is_flag=True, help="DataflowRunner: give workers no public IP addresses."),
            _rare(
                "--beam-option",
                multiple=True,
                metavar="KEY=VALUE",
                help="Option of Beam itself, which its parser checks (repeatable).",
            ),
        ),
        "runner",
        dict,
    )(command)


def chosen(values: Mapping[str, Any]) -> Any:
    """Creates RunnerOptions from the options; None if the runner is optional and not set.

    Raises:
        UsageError: the runner does not exist, an option is not the runner's, or a value is not valid.
    """
    name = str(values["runner"])
    if not name:
        _check_alone(values)
        return None
    from headrace.core.beam.runners import runner_options

    options = _given(values)
    options["labels"] = _pairs("--job-label", values["job_label"]) or None
    options["beam_options"] = _pairs("--beam-option", values["beam_option"]) or None
    options["public_addresses"] = False if values["no_public_addresses"] else None
    return runner_options(name, options)


def as_json(values: Mapping[str, Any]) -> str:
    """The runner and its options as JSON for a pipeline's parameter; "" for none.

    Raises:
        UsageError: as `chosen` does.
    """
    runner = chosen(values)
    if runner is None:
        return ""
    plain = {"name": str(values["runner"]), **dataclasses.asdict(runner)}
    return json.dumps({name: value for name, value in plain.items() if value not in ("", 0, {})}, sort_keys=True)


def _check_alone(values: Mapping[str, Any]) -> None:
    options = sorted(f"--{name.replace('_', '-')}" for name, value in values.items() if value)
    if options:
        raise UsageError(f"{options[0]} needs a runner", where="--runner", expected="such as DataflowRunner")


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    name = str(values["runner"])
    options = {
        _FIELDS.get(option, option.replace("-", "_")): values[option.replace("-", "_")] for option, _, _ in _TEXTS
    }
    direct = name == "DirectRunner"
    for option, field, _ in _COUNTS:
        value = values[option.replace("-", "_")]
        if value is None:
            continue
        if field == "workers" and direct != (option == "direct-workers"):
            raise UsageError(
                f"{name} does not accept --{option}",
                where="--runner",
                expected="--direct-workers" if direct else "--workers",
            )
        options[field] = value
    return options


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not key or (option == "--job-label" and not separator):
            raise UsageError(
                "the value is not a KEY=VALUE pair", where=option, expected="KEY=VALUE", received=repr(text)
            )
        if key in pairs:
            raise UsageError("the key is repeated", where=option, expected="each key once", received=key)
        pairs[key] = value
    return pairs
