"""The options of `headrace train`, under headings, and what they ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import click

from headrace.components.train.options import Cache, Precision, Sharding, StrategyName
from headrace.components.train.request import OPTIONS, Request
from headrace.core import storage
from headrace.core.errors import UsageError
from headrace.pipelines.commands.option_groups import group
from headrace.pipelines.commands.run_argument import MODEL

_training = group("Instead of what the Problem's training says")
_devices = group("Devices: chosen from what the machine reports, unless you say")
_input = group("Input")
_checkpoints = group("Checkpoints: the same command goes on where a killed one was")
_tracking = group("Tracking: MLflow too, where it is installed and MLFLOW_TRACKING_URI is set")
_budget = group("Budget: training ends at the first that is reached, and the best model so far is exported")


def _words(kind: Any) -> click.Choice[str]:
    return click.Choice(get_args(kind))


_warm_start = click.option(
    "--warm-start",
    default="",
    type=MODEL,
    metavar="MODEL_OR_RUN",
    help="A Model whose weights training starts from, or the run that made it.",
)
# All but the place of checkpoints, which a pipeline and a search have of their own.
_OPTIONS = (
    _warm_start,
    _training("--batch-size", type=int, help="Rows a step, over all replicas."),
    _training("--epochs", type=int, help="Passes over the train split at most."),
    _training("--steps", type=int, help="Steps at most, instead of epochs."),
    _training("--learning-rate", type=float, help="In (0, 1]."),
    _training("--seed", type=int, help="The same seed gives the same weights on the same hardware."),
    _devices(
        "--strategy",
        type=_words(StrategyName),
        default="auto",
        show_default=True,
        help="`headrace train --describe` says what would be chosen here, and why.",
    ),
    _devices(
        "--precision",
        type=_words(Precision),
        default="auto",
        show_default=True,
        help="What layers compute in; auto is bfloat16 where the device gains from it.",
    ),
    _devices("--xla", is_flag=True, help="Compile the step with XLA: a slower start, often faster steps."),
    _input(
        "--cache",
        type=_words(Cache),
        default="auto",
        show_default=True,
        help="Where parsed rows are kept: auto takes memory where they fit, then local disk.",
    ),
    _input(
        "--sharding",
        type=_words(Sharding),
        default="auto",
        show_default=True,
        help="How several workers share the rows: whole files each, or records of every file.",
    ),
    _input(
        "--deterministic/--any-order",
        default=True,
        show_default=True,
        help="The same rows in the same order in every run; any order lets a late block wait.",
    ),
    _checkpoints("--checkpoint-steps", type=int, help="Steps between two at most."),
    _checkpoints(
        "--checkpoint-minutes", type=float, default=5.0, show_default=True, help="Minutes between two at most."
    ),
    _checkpoints("--keep-checkpoints", type=int, default=2, show_default=True, help="How many of the newest are kept."),
    _budget("--max-hours", type=float, help="Hours, those of earlier attempts of the same run included."),
    _budget("--max-cost", type=float, help="In the price's currency."),
    _budget("--price-per-hour", type=float, help="Of all machines together."),
    _budget("--machine-type", default="", metavar="TYPE", help="Takes the price from the price table."),
    _budget("--price-table", default="", metavar="FILE", help="Your own prices, as JSON; a dated table comes along."),
    _budget(
        "--target", default="", metavar="METRIC=VALUE", help="On the eval split, such as root_mean_squared_error=1.1."
    ),
    _tracking("--tensorboard", is_flag=True, help="Write TensorBoard logs to OUTPUT.tensorboard."),
)
_PLACE = _checkpoints(
    "--checkpoints", metavar="DIR", help="Where; OUTPUT.checkpoints by default, none for no checkpoints."
)


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of a training to a command, which gets them under `training`, as a Request."""
    return _gathering(_OPTIONS, command, "training", _checked)


def local_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds them, and the place of checkpoints; the command gets all as one mapping under `given`, for `request`."""
    return _gathering((*_OPTIONS, _PLACE), command, "given", dict)


def _gathering(
    declared: Sequence[Any], command: Callable[..., Any], name: str, gather: Callable[[dict[str, Any]], Any]
) -> Callable[..., Any]:
    """`command` with the options, of which it gets one argument called `name`."""
    below = list(getattr(command, "__click_params__", []))

    def taking(**values: Any) -> Any:
        given = {parameter: values.pop(parameter) for parameter in own}
        return command(**values, **{name: gather(given)})

    taking.__doc__ = command.__doc__
    taking.__name__ = command.__name__
    taking.__click_params__ = []  # type: ignore[attr-defined]
    wrapped: Callable[..., Any] = taking
    for option in reversed(declared):
        wrapped = option(wrapped)
    own = [parameter.name for parameter in wrapped.__click_params__]  # type: ignore[attr-defined]
    wrapped.__click_params__[:0] = below  # type: ignore[attr-defined]
    return wrapped


def request(given: Mapping[str, Any]) -> Request:
    """The options as one object; the folder of checkpoints is `checkpoints_folder`.

    Raises:
        UsageError: a value that means nothing, or two that exclude each other.
        DataError: the price table is none.
    """
    values = {**given, "price_per_hour": _price(given)}
    return Request.from_json({name: values[name] for name in OPTIONS if name in values})


def checkpoints_folder(given: Mapping[str, Any], output: str) -> str:
    """Where the state is kept: beside the output, unless said otherwise; "" keeps none."""
    folder: str | None = given["checkpoints"]
    if folder is None:
        return storage.sibling(output, ".checkpoints")
    return "" if folder == "none" else folder


def _checked(given: Mapping[str, Any]) -> Request:
    check_table(given)
    return request(given)


def check_table(given: Mapping[str, Any]) -> None:
    """Refuses a price table where nothing reads it.

    Raises:
        UsageError: there is one, and no machine type.
    """
    if given["price_table"] and not given["machine_type"]:
        raise UsageError(
            "nothing reads the price table",
            where="--price-table",
            expected="--machine-type TYPE with it, or --plan",
            received=given["price_table"],
        )


def _price(given: Mapping[str, Any]) -> float | None:
    """The price an hour: given, or that of the machine's type."""
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
