"""The options that say which Beam runner does the work of `headrace preprocess` or `headrace score`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headrace.core.errors import UsageError
from headrace.pipelines.commands.option_groups import folded, group

# Each option, the field of the runner's options that it sets, and whether the field holds KEY=VALUE pairs.
_TEXTS = (
    ("project", "PROJECT", "DataflowRunner: ID of the project."),
    ("region", "REGION", "DataflowRunner: region of the job, such as europe-west1."),
    ("temp-location", "gs://...", "DataflowRunner: folder in a bucket for the job's own files."),
    (
        "staging-location",
        "gs://...",
        "DataflowRunner: folder of what the job is started with (default: --temp-location).",
    ),
    ("sdk-container-image", "IMAGE", "DataflowRunner: image of the workers, which is beam-worker."),
    ("job-name", "NAME", "DataflowRunner: name of the job (default: follows from the data and the Problem)."),
    ("service-account", "EMAIL", "DataflowRunner: service account of the workers."),
    ("network", "NAME", "DataflowRunner: network of the workers."),
    ("subnetwork", "NAME", "DataflowRunner: subnetwork of the workers, as regions/REGION/subnetworks/NAME."),
    ("worker-machine-type", "TYPE", "DataflowRunner: machine type of the workers, such as n2-standard-4."),
    ("job-endpoint", "HOST:PORT", "FlinkRunner, SparkRunner, PortableRunner: address of a running Beam job server."),
    ("environment-type", "TYPE", "The same: how workers start: DOCKER (default), EXTERNAL, PROCESS or LOOPBACK."),
    ("environment-config", "CONFIG", "The same: image, HOST:PORT of the worker pool, or JSON with the command."),
)
_COUNTS = (
    ("direct-workers", "workers", "DirectRunner: number of processes (default: 1, which needs no start)."),
    ("workers", "workers", "DataflowRunner: number of workers at the start."),
    ("max-workers", "max_workers", "DataflowRunner: maximum number of workers."),
    ("disk-gigabytes", "disk_gigabytes", "DataflowRunner: disk of each worker, in gigabytes."),
)
# Options whose name is not that of the field.
_FIELDS = {"worker-machine-type": "machine_type"}
_runner = group("Beam runner")
_rare = group("Beam runner", rare=True)


def runner(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options to a command, which is given them all as one mapping under `runner`, to be read by `chosen`."""
    return _added(command, "DirectRunner", "DirectRunner (here)")


def optional_runner(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options to a command that does without Beam where none is given."""
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
                help="DataflowRunner: label of the job, for the bill (repeatable).",
            ),
            _rare("--no-public-addresses", is_flag=True, help="DataflowRunner: keep workers inside the network."),
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
    given["labels"] = _pairs("--job-label", values["job_label"]) or None
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
    given = {_FIELDS.get(option, option.replace("-", "_")): values[option.replace("-", "_")] for option, _, _ in _TEXTS}
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
        if not key or (option == "--job-label" and not separator):
            raise UsageError("it is not a pair", where=option, expected="KEY=VALUE", received=repr(text))
        if key in pairs:
            raise UsageError("it is given twice", where=option, expected="each key once", received=key)
        pairs[key] = value
    return pairs
