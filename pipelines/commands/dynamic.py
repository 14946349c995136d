"""`headrace dynamic`: sets up a dynamic training, adds data and requests, withdraws spans, and shows its state."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from headrace.core.errors import UsageError
from headrace.core.steps.workspace import run_uri
from headrace.core.text import counted
from headrace.pipelines.commands import canary_options, options, platform_options
from headrace.pipelines.commands.durations import Duration
from headrace.pipelines.commands.json_output import as_json as json_option
from headrace.pipelines.commands.json_output import print_json
from headrace.pipelines.commands.option_groups import GroupedCommand, group
from headrace.pipelines.commands.platform_options import PlatformLocation
from headrace.pipelines.commands.text_table import aligned

if TYPE_CHECKING:
    from headrace.components.deploy.canary.settings import CanarySettings
    from headrace.core.ledger.state import LedgerState
    from headrace.pipelines.dynamic.settings import DynamicSettings

_CANARY = "Canary"
_window = group("Window of spans that training reads")
_rule = group("When a new model replaces the champion")
_canary = group(_CANARY)
_time = group("Time and failures")
_root = click.argument("root", metavar="ROOT")


@click.group()
def dynamic() -> None:
    """Train again as data arrives: set up, add data, and show what became of it.

    \b
    Example:
      headrace dynamic init --problem flights.py --root out --last-days 30
      headrace dynamic add out --span 2026-11-20 --data flights/2026-11-20.parquet
      headrace run dynamic --root out
    """


@dynamic.command(cls=GroupedCommand)
@options.problem
@options.root
@options.csv
@platform_options.optional_place
@click.option("--allow-tags", is_flag=True, help="Accept images with a tag instead of a digest.")
@_window("--last-spans", default=0, type=click.IntRange(0), metavar="N", help="Number of newest spans (default: all).")
@_window(
    "--last-days",
    default=0,
    type=click.IntRange(0),
    metavar="N",
    help="Number of days, if names of spans begin with their day (default: all).",
)
@_window(
    "--half-life",
    default=0.0,
    type=click.FloatRange(0),
    metavar="N",
    help="Number of spans after which a row counts half in training (default: all rows count the same).",
)
@_window(
    "--from-scratch-every",
    default=0,
    type=click.IntRange(0),
    metavar="K",
    help="Train every K-th version from scratch, 1 for each (default: only where a warm start is not possible).",
)
@_window("--training", multiple=True, metavar="NAME=VALUE", help="Option of `headrace train`, such as epochs=3.")
@_rule(
    "--margin",
    default=0.0,
    type=click.FloatRange(0),
    metavar="X",
    help="Minimum improvement over the champion, in units of the gate's metric.",
)
@_rule(
    "--tolerance",
    default=0.0,
    type=click.FloatRange(0),
    metavar="X",
    help="Maximum loss compared with a stale champion, and on a slice, in units of the gate's metric.",
)
@_rule(
    "--stale-after",
    default=7,
    show_default=True,
    type=click.IntRange(0),
    metavar="N",
    help="Number of newer spans after which the champion is stale; 0 for never.",
)
@functools.partial(canary_options.options, heading=_CANARY)
@_canary(
    "--watch-by-ticks",
    is_flag=True,
    help="Let each `headrace tick` make a step of the canary, so that no process waits for it: for a long watch.",
)
@_canary(
    "--request-log-share",
    "log_share",
    type=click.FloatRange(0, 1),
    metavar="FRACTION",
    help="Fraction of the predicted rows that a new endpoint logs.",
)
@_time("--deadline", type=Duration(), metavar="DURATION", help="Maximum duration of a run, such as 24h.")
@_time(
    "--training-share",
    default=2 / 3,
    type=click.FloatRange(0, 1),
    metavar="FRACTION",
    help="Fraction of the deadline that training may use (default: two thirds).",
)
@_time(
    "--attempts",
    default=5,
    show_default=True,
    type=click.IntRange(1),
    help="Maximum number of failed runs of a data version.",
)
@click.option(
    "--announce",
    multiple=True,
    metavar="DESTINATION",
    help="Where promotions and rollbacks are announced: a folder, gs://..., pubsub://PROJECT/TOPIC, "
    "kafka://BROKER:PORT/TOPIC or https://... (repeatable).",
)
@click.option("--replace", is_flag=True, help="Change the settings of a dynamic training that exists.")
@json_option
def init(
    problem: str,
    root: str,
    csv: tuple[str, ...],
    place: PlatformLocation,
    allow_tags: bool,
    training: tuple[str, ...],
    margin: float,
    tolerance: float,
    stale_after: int,
    canary: CanarySettings | None,
    deadline: float | None,
    replace: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Set up a dynamic training: check the Problem, and store its settings and a copy of it below the root.

    An edited Problem file counts from the next `headrace dynamic init --replace`. With --platform, the pipeline is
    compiled too, and each run is submitted there.
    """
    from headrace.components.evaluate.contest.challenge import Challenge
    from headrace.pipelines.dynamic.initialize import initialize

    settings = initialize(
        problem,
        root,
        platform=place.platform or "local",  # type: ignore[arg-type]
        place=place if place.platform else None,
        allow_tags=allow_tags,
        replace_settings=replace,
        csv=csv,
        training=_training(training),
        challenge=Challenge(margin, tolerance, stale_after),
        canary=canary,
        deadline_hours=0.0 if deadline is None else deadline / 3600,
        **given,
    )
    if as_json:
        print_json({"uri": settings.uri, "settings": settings.to_json()})
        return
    click.echo(f"{settings.uri}: dynamic training of {settings.name}, {settings.platform}")
    click.echo(f"Add data: headrace dynamic add {root} --span NAME --data PATH")


@dynamic.command()
@_root
@click.option("--span", required=True, metavar="SPAN", help="Name of the span, such as a day: 2026-11-20.")
@click.option("--data", required=True, metavar="PATH", help="Rows of the span: a file, a folder, a glob or a URI.")
@json_option
def add(root: str, span: str, data: str, as_json: bool) -> None:
    """Add a span of data. The same data twice is one; the same span with other data replaces it.

    The next run, `headrace run dynamic` or `headrace tick`, trains with it.
    """
    from headrace.pipelines.dynamic.arrivals import arrive
    from headrace.pipelines.dynamic.drive import utc_now

    arrival = arrive(_read(root), data=data, span=span, reason="command", event="", now=utc_now())
    if as_json:
        print_json(arrival)
        return
    click.echo(f"span {arrival.span}, data version {arrival.version}, announced at {arrival.at}")


@dynamic.command()
@_root
@click.option("--from-scratch", is_flag=True, help="Do not start from the weights of an earlier version.")
@click.option("--event", default="", metavar="ID", help="Id of the request: equal ids are one request.")
@json_option
def request(root: str, from_scratch: bool, event: str, as_json: bool) -> None:
    """Request a training with the data that is there, such as after a span was withdrawn."""
    from headrace.pipelines.dynamic.arrivals import FROM_SCRATCH
    from headrace.pipelines.dynamic.arrivals import request as add_request
    from headrace.pipelines.dynamic.drive import utc_now

    reason = FROM_SCRATCH if from_scratch else "request"
    arrival = add_request(_read(root), reason=reason, event=event, now=utc_now())
    if as_json:
        print_json(arrival)
        return
    click.echo(f"request {arrival.version}, {arrival.reason}, of {arrival.at}")


@dynamic.command()
@_root
@click.argument("spans", nargs=-1, required=True, metavar="SPAN...")
@click.option("--undo", is_flag=True, help="Use withdrawn spans again.")
@json_option
def withdraw(root: str, spans: tuple[str, ...], undo: bool, as_json: bool) -> None:
    """Withdraw spans: the next version does not train on them, nor start from a version that did."""
    from headrace.pipelines.dynamic.settings import change

    settings = _read(root)
    if not undo:
        _check_arrived(settings, spans)

    def withdrawn(now: DynamicSettings) -> Mapping[str, Any]:
        left = tuple(span for span in now.withdrawn if span not in spans)
        return {"withdrawn": left if undo else tuple(sorted((*left, *set(spans))))}

    after = change(settings, withdrawn)
    if as_json:
        print_json({"withdrawn": after.withdrawn})
        return
    click.echo(f"withdrawn: {', '.join(after.withdrawn) or 'none'}")
    click.echo(f"The next run counts it; to train at once: headrace dynamic request {root}")


@dynamic.command()
@_root
@click.argument("versions", nargs=-1, required=True, metavar="VERSION...")
def retry(root: str, versions: tuple[str, ...]) -> None:
    """Try data versions again that were given up or quarantined."""
    _read(root).ledger.change(lambda state: state.restored(versions))
    click.echo(f"{counted(len(versions), 'data version')} will be tried again by the next run")


@dynamic.command()
@_root
@json_option
def status(root: str, as_json: bool) -> None:
    """Show the run under way, what waits, and what became of the data."""
    settings = _read(root)
    state = settings.ledger.state()
    inbox = settings.ledger.inbox
    versions = inbox.versions()
    waiting = [version for version in versions if version not in state.done]
    if as_json:
        print_json({"settings": settings.to_json(), "ledger": state.to_json(), "waiting": waiting})
        return
    lines = [("root", settings.root), ("platform", settings.platform), ("epoch", str(state.epoch))]
    lines += _lines(settings, state, root)
    lines += [("waiting", f"{one.span or one.reason} {one.version}") for one in inbox.read(waiting)]
    lines += [("ended", f"{e.epoch} {e.outcome} {e.model or '-'} {e.why}".rstrip()) for e in state.history[-20:]]
    if state.given_up:
        lines.append(("given up", counted(len(state.given_up), "data version")))
        lines.append(("try again", f"headrace dynamic retry {root} {' '.join(state.given_up)}"))
    click.echo(aligned(lines))


def _lines(settings: DynamicSettings, state: LedgerState, root: str) -> list[tuple[str, str]]:
    """The run under way, and the last failure."""
    lines = []
    if state.run is not None:
        run = state.run
        if run.watch is not None:
            stage = f"its canary {run.watch.model} is under way: each `headrace tick {root}` takes a step"
        else:
            stage = "claimed" if run.holder else "started"
        lines.append(("run", f"{run.id}, attempt {run.attempt}, {counted(len(run.versions), 'data version')}, {stage}"))
        lines.append(("see", run_uri(settings.root, run.id)))
    if state.failure is not None:
        failed = max(state.failure.attempts.values())
        lines.append(("failed", f"{failed} of {settings.attempts} attempts: {state.failure.reason}"))
        lines.append(("next", f"the first tick after {state.failure.not_before} tries again"))
    return lines


def _check_arrived(settings: DynamicSettings, spans: tuple[str, ...]) -> None:
    inbox = settings.ledger.inbox
    known = {text for one in inbox.read(inbox.versions()) for text in (one.span, one.version)}
    for span in spans:
        if span not in known:
            raise UsageError(
                "the span did not arrive", where=settings.folder, expected="a span or a data version", received=span
            )


def _read(root: str) -> DynamicSettings:
    from headrace.pipelines.dynamic.settings import read

    return read(root)


def _training(texts: tuple[str, ...]) -> Any:
    """Options of the training, each as NAME=VALUE with the name of `headrace train --help`."""
    from headrace.components.train.request import TrainingRequest

    given: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError("the option is not valid", where="--training", expected="NAME=VALUE", received=text)
        given[name.replace("-", "_")] = _value(value)
    return TrainingRequest.from_json(given)


def _value(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text)
    except ValueError:
        return text
