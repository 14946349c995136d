"""`headrace endpoint`: shows an endpoint and its history, promotes a version, starts the endpoint and stops it."""

from __future__ import annotations

import sys
from typing import Any

import click

from headrace.components.deploy.local import operate
from headrace.components.deploy.local.endpoint import EndpointFolder
from headrace.components.deploy.local.status import EndpointStatus, endpoints_of
from headrace.components.deploy.local.status import status as status_of
from headrace.components.deploy.local.unit import unit as unit_of
from headrace.components.deploy.open import is_remote, open_endpoint
from headrace.components.deploy.state import TrafficChange
from headrace.core import storage
from headrace.core.errors import UsageError
from headrace.pipelines.commands.endpoint_canary import canary
from headrace.pipelines.commands.endpoint_monitor import monitor
from headrace.pipelines.commands.json_output import as_json as json_option
from headrace.pipelines.commands.json_output import print_json
from headrace.pipelines.commands.progress_output import showing
from headrace.pipelines.commands.rollback import rollback
from headrace.pipelines.commands.text_table import aligned

_folder = click.argument("folder", metavar="ENDPOINT")
_version = click.argument("version")
_why = click.option("--why", default="", metavar="TEXT", help="Reason, for the history.")
# The exit status of an endpoint that is down, for a cron job or a probe.
_DOWN = 1
# Changes that the status shows; `history` has all.
_SHOWN = 10


@click.group()
def endpoint() -> None:
    """Show an endpoint, promote a version, start it or stop it.

    ENDPOINT is a folder of this machine, ROOT/endpoints/NAME. `status`, `history`, `promote` and `undeploy` also take,
    and `canary` takes alone, projects/PROJECT/locations/REGION/endpoints/ID of Vertex AI, and kserve://NAMESPACE/NAME.
    """


endpoint.add_command(rollback)


@endpoint.command()
@_folder
@json_option
def status(folder: str, as_json: bool) -> None:
    """Show versions, traffic, address, and whether it answers as it should. Exit status 1 if it does not."""
    if is_remote(folder):
        _remote_status(folder, as_json)
        return
    found = status_of(folder)
    if as_json:
        print_json({**vars(found), "half_finished": found.half_finished})
    else:
        click.echo(aligned(_lines(found)))
    if not found.healthy:
        sys.exit(_DOWN)


@endpoint.command("list")
@click.argument("root")
@json_option
def list_(root: str, as_json: bool) -> None:
    """List the endpoints of ROOT: live version, address, and whether they answer."""
    if not storage.is_remote(root) and not storage.local_path(root).is_dir():
        raise UsageError("the root does not exist", where=root)
    from headrace.pipelines.runs.local_root import work_of

    found = endpoints_of(work_of(root))
    if as_json:
        print_json(found)
        return
    rows = [("ENDPOINT", "LIVE", "ADDRESS", "STATUS")]
    for one in found:
        if one.status is None:
            rows.append((one.folder, "", "", one.error))
        else:
            shown = one.status
            why = "healthy" if shown.healthy else shown.why_unhealthy
            half = shown.half_finished
            rows.append((one.folder, shown.live or "none", shown.url or "none", f"{why}{f'; {half}' if half else ''}"))
    click.echo(aligned(rows) if found else f"no endpoints in {root}")


@endpoint.command()
@_folder
@json_option
def history(folder: str, as_json: bool) -> None:
    """List the changes of the traffic: epoch, time, action, version, who and why; the latest last."""
    state = open_endpoint(folder).state() if is_remote(folder) else EndpointFolder(folder).existing()
    if as_json:
        print_json({"epoch": state.epoch, "history": state.history, "bad": state.bad})
        return
    rows = [(str(c.epoch or "-"), c.at, c.action, _shares(c), c.who, c.why) for c in state.history]
    click.echo(aligned([("EPOCH", "AT", "ACTION", "TRAFFIC", "BY", "WHY"), *rows]))


@endpoint.command()
@_folder
@_version
@click.option("--restore", is_flag=True, help="Promote also a version that is marked as bad, which is usable again.")
@click.option(
    "--registry", default="", metavar="DIR", help="Registry of the versions (default: that of the deployment)."
)
@_why
@json_option
def promote(folder: str, version: str, restore: bool, registry: str, why: str, as_json: bool) -> None:
    """Give all traffic to VERSION, which is stored in the endpoint, and make it the champion of the registry.

    Its process is started and checked before the switch. Exit status 3 if it is marked as bad.
    """
    if is_remote(folder):
        _remote_promote(folder, version, restore, registry, why)
        return
    # Before a log is written beside it.
    EndpointFolder(folder).existing()
    with showing("promote", folder) as (console, report):
        result, aliases = operate.promote(folder, version, report, why=why, restore=restore, registry=registry)
        if as_json:
            print_json({**vars(result), "registry": aliases}, console.file)
            return
        console.print(f"version {result.version} answers at {result.url}")
        if aliases:
            console.print(aliases)


@endpoint.command()
@_folder
@_version
def undeploy(folder: str, version: str) -> None:
    """Remove VERSION, which has no traffic, from the endpoint. The registry is not changed."""
    open_endpoint(folder).undeploy(version)
    click.echo(f"version {version} is not in {folder}")


@endpoint.command()
@_folder
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="Move the endpoint to this port.")
@json_option
def start(folder: str, port: int, as_json: bool) -> None:
    """Start the endpoint at its address, and wait until it answers. What runs already is left as it is."""
    EndpointFolder(folder).existing()
    with showing("start", folder) as (console, report):
        url = operate.start(folder, report, port=port)
        if as_json:
            print_json({"url": url}, console.file)
        else:
            console.print(f"answers at {url}")


@endpoint.command()
@_folder
def stop(folder: str) -> None:
    """Stop the endpoint. Its versions and its address stay; `headrace endpoint start` starts it again."""
    operate.stop(folder)
    click.echo("stopped")


@endpoint.command()
@_folder
def unit(folder: str) -> None:
    """Print a unit of systemd that starts the endpoint after a restart of the machine.

    \b
    Example:
      headrace endpoint unit out/endpoints/natality > ~/.config/systemd/user/natality.service
      systemctl --user enable natality && loginctl enable-linger
    """
    click.echo(unit_of(folder), nl=False)


endpoint.add_command(canary)
endpoint.add_command(monitor)


def _remote_status(name: str, as_json: bool) -> None:
    """Shows an endpoint of a service: what the service says, and what we wrote."""
    opened = open_endpoint(name)
    found, state = opened.status(), opened.state()
    if as_json:
        print_json({**vars(found), "state": state.to_json()})
    else:
        half = "" if state.pending is None else f"{state.pending.action} to {state.pending.version}, {state.pending.at}"
        lines = [
            ("endpoint", name),
            ("live", state.live + (", healthy" if found.ready else f", does not answer: {found.why}")),
            ("traffic", ", ".join(f"{version} {percent} %" for version, percent in found.traffic.items()) or "none"),
            ("previous", state.previous or "none"),
            ("answers at", found.url or "nothing"),
            ("half-finished", half),
            *(
                ("bad", f"{version}, {m.at}, by {m.who}{f': {m.why}' if m.why else ''}")
                for version, m in state.bad.items()
            ),
            *(("history", f"{c.at} {c.action} {_shares(c)} by {c.who}: {c.why}") for c in state.history[-_SHOWN:]),
        ]
        click.echo(aligned([line for line in lines if line[1]]))
    if not found.ready:
        sys.exit(_DOWN)


def _remote_promote(name: str, version: str, restore: bool, registry: str, why: str) -> None:
    """Promotes a version at a service, and in its registry."""
    from headrace.components.registry.origin import origin
    from headrace.components.rollback.promote import promote as promote_everywhere

    opened = open_endpoint(name, registry=registry)
    with showing("promote") as (console, report):
        for step in promote_everywhere(opened, version, origin(why), report, restore=restore, registry=registry):
            console.print(f"{step.name:<12}{step.done}")


def _shares(change: TrafficChange) -> str:
    return ", ".join(f"{version} {percent} %" for version, percent in change.traffic.items()) or change.version


def _lines(found: EndpointStatus) -> list[tuple[str, str]]:
    live = found.live or "none"
    health = ", healthy" if found.healthy else f", does not answer: {found.why_unhealthy}"
    lines: list[tuple[str, Any]] = [
        ("name", found.name or "none"),
        ("live", live + health),
        ("traffic", ", ".join(f"{version} {percent} %" for version, percent in found.traffic.items()) or "none"),
        ("previous", found.previous or "none"),
        ("answers at", "nothing" if found.url is None else found.url),
        ("half-finished", found.half_finished),
        ("registry", found.registry),
        ("versions", ", ".join(found.versions) or "none"),
    ]
    for version, one in found.serving.items():
        served = (
            f"{one['state']}, process {one['pid'] or 'none'}, {one['requests']:,} requests, {one['errors']:,} errors"
        )
        lines.append((f"version {version}", f"{served}, {one['restarts']:,} restarts"))
    lines += [
        ("bad", f"{version}, {m.at}, by {m.who}{f': {m.why}' if m.why else ''}") for version, m in found.bad.items()
    ]
    lines += [
        ("history", f"{c.at} {c.action} {_shares(c)}{f' by {c.who}' if c.who else ''}{f': {c.why}' if c.why else ''}")
        for c in found.history[-_SHOWN:]
    ]
    return [line for line in lines if line[1]]
