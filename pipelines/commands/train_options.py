"""Training options of `headrace train`, under headings, and their conversion to a Request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

import click

from headrace.components.train.options import Cache, Precision, Sharding, StrategyName
from headrace.components.train.request import OPTIONS, TrainingRequest
from headrace.core import storage
from headrace.core.errors import UsageError
from headrace.pipelines.commands.option_groups import folded, group, option
from headrace.pipelines.commands.run_argument import MODEL

_training = group("Overrides of the Problem's training")
_devices = group("Devices (default: detected)")
_input = group("Input", rare=True)
_checkpoints = group("Checkpoints: the same command resumes where a killed one was")
_tracking = group("Tracking: MLflow too, where it is installed and MLFLOW_TRACKING_URI is set")
_budget = group("Budget: training ends at the first that is reached, and the best model so far is exported")


def _words(kind: Any) -> click.Choice[str]:
    return click.Choice(get_args(kind))


# All except the folder of checkpoints, which a pipeline and a search set themselves.
_OPTIONS = (
    option(
        "--warm-start",
        default="",
        type=MODEL,
        metavar="MODEL_OR_RUN",
        help="Model whose weights training starts from, or its run.",
    ),
    _training("--batch-size", type=int, metavar="N", help="Number of rows per step, over all replicas."),
    _training("--epochs", type=int, metavar="N", help="Maximum passes over the train split."),
    _training("--steps", type=int, metavar="N", help="Maximum steps, instead of epochs."),
    _training("--learning-rate", type=float, metavar="X", help="Learning rate, greater than 0 and at most 1."),
    _training("--seed", type=int, metavar="N", help="Seed: the same one gives the same weights on the same hardware."),
    _devices(
        "--strategy",
        type=_words(StrategyName),
        default="auto",
        show_default=True,
        help="Strategy of distribution; `headrace train --describe-devices` shows what auto chooses here, and why.",
    ),
    _devices(
        "--precision",
        type=_words(Precision),
        default="auto",
        show_default=True,
        rare=True,
        help="Precision of layers; auto is bfloat16 where the device is faster with it.",
    ),
    _devices(
        "--xla", is_flag=True, rare=True, help="Compile the step with XLA: slower to start, often faster per step."
    ),
    _input(
        "--cache",
        type=_words(Cache),
        default="auto",
        show_default=True,
        rare=False,
        help="Cache of parsed rows; auto is memory where they fit, then local disk, then none.",
    ),
    _input(
        "--sharding",
        type=_words(Sharding),
        default="auto",
        show_default=True,
        help="Distribution of the rows over several workers: whole files each, or records of every file.",
    ),
    _input(
        "--deterministic/--any-order",
        default=True,
        show_default=True,
        help="Read the rows in the same order in every run, or let late blocks wait.",
    ),
    _checkpoints("--checkpoint-steps", type=int, metavar="N", rare=True, help="Maximum steps between two checkpoints."),
    _checkpoints(
        "--checkpoint-minutes",
        type=float,
        metavar="X",
        default=5.0,
        show_default=True,
        rare=True,
        help="Maximum time between two checkpoints, in minutes.",
    ),
    _checkpoints(
        "--keep-checkpoints",
        type=int,
        metavar="N",
        default=2,
        show_default=True,
        rare=True,
        help="Number of newest checkpoints that are stored.",
    ),
    _budget(
        "--max-hours", type=float, metavar="X", help="Maximum time in hours, including earlier attempts of the run."
    ),
    _budget("--max-cost", type=float, metavar="X", help="Maximum cost, in the currency of the price."),
    _budget("--price-per-hour", type=float, metavar="X", help="Price of all machines together, per hour."),
    _budget(
        "--machine-type", default="", metavar="TYPE", rare=True, help="Machine type whose price is in the price table."
    ),
    _budget(
        "--price-table", default="", metavar="FILE", rare=True, help="JSON file of prices (default: a dated table)."
    ),
    _budget(
        "--target",
        default="",
        metavar="METRIC=VALUE",
        help="Target on the eval split, such as root_mean_squared_error=1.1.",
    ),
    _tracking("--tensorboard", is_flag=True, help="Write TensorBoard logs to OUTPUT.tensorboard."),
)
_PLACE = _checkpoints(
    "--checkpoints", metavar="DIR", help="Folder of checkpoints, or none (default: OUTPUT.checkpoints)."
)


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of a training to a command, which receives them as a Request in `training`."""
    return folded(_OPTIONS, "training", _checked)(command)


def local_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds them, and the folder of checkpoints; the command receives all as a mapping in `given`, for `request`."""
    return folded((*_OPTIONS, _PLACE), "given", dict)(command)


def request(given: Mapping[str, Any]) -> TrainingRequest:
    """The options as one object; the folder of checkpoints is `checkpoints_folder`.

    Raises:
        UsageError: a value is not valid, or two exclude each other.
        DataError: the price table is not valid.
    """
    values = {**given, "price_per_hour": _price(given)}
    return TrainingRequest.from_json({name: values[name] for name in OPTIONS if name in values})


def checkpoints_folder(given: Mapping[str, Any], output: str) -> str:
    """The folder of checkpoints: by default next to the output; "" for no checkpoints."""
    folder: str | None = given["checkpoints"]
    if folder is None:
        return storage.sibling(output, ".checkpoints")
    return "" if folder == "none" else folder


def _checked(given: Mapping[str, Any]) -> TrainingRequest:
    check_table(given)
    return request(given)


def check_table(given: Mapping[str, Any]) -> None:
    """Refuses a price table that nothing reads.

    Raises:
        UsageError: there is a price table without a machine type.
    """
    if given["price_table"] and not given["machine_type"]:
        raise UsageError(
            "nothing reads the price table",
            where="--price-table",
            expected="--machine-type TYPE with it, or --plan",
            received=given["price_table"],
        )


def _price(given: Mapping[str, Any]) -> float | None:
    """The price per hour: as set, or that of the machine's type."""
    price: float | None = given["price_per_hour"]
    if not given["machine_type"]:
        return price
    if price is not None:
        raise UsageError(
            "--price-per-hour and --machine-type exclude each other",
            where="--machine-type",
            expected="one of the two",
            received=f"--price-per-hour {price:g} and --machine-type {given['machine_type']}",
        )
    from headrace.pipelines.advisor import prices

    return prices.load(given["price_table"]).machine(given["machine_type"]).price_per_hour
