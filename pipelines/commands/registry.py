"""`headrace registry`: shows the versions of a model registry, and promotes or archives one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from headrace.components.registry.base import ModelRegistry
from headrace.components.registry.open import open_registry
from headrace.components.registry.state import CHALLENGER, CHAMPION, RegistryChange, RegistryState
from headrace.core.errors import UsageError
from headrace.pipelines.commands import announce_option
from headrace.pipelines.commands.json_output import as_json as json_option
from headrace.pipelines.commands.json_output import print_json
from headrace.pipelines.commands.text_table import aligned

_folder = click.argument("folder", metavar="REGISTRY")
_version = click.argument("version")
_why = click.option("--why", default="", metavar="TEXT", help="Reason, which the history shows.")


@click.group()
def registry() -> None:
    """Show the versions of a registry, promote one, or take one out of use.

    REGISTRY is its folder, ROOT/registry/NAME on a disk, gs:// or s3://, or an entry of Vertex AI's Model Registry,
    projects/PROJECT/locations/REGION/models/ID.
    """


@registry.command("list")
@_folder
@json_option
def list_(folder: str, as_json: bool) -> None:
    """List the versions, newest first: status, aliases, approval, and registration."""
    opened = open_registry(folder)
    state = opened.state()
    rows = [_listed(state, version) for version in _newest_first(state)]
    if as_json:
        print_json({"epoch": state.epoch, "aliases": state.aliases, "versions": rows})
    elif rows:
        headings = ("VERSION", "ALIASES", "STATUS", "APPROVAL", "REGISTERED", "BY")
        cells = [
            (
                row["version"],
                ", ".join(row["aliases"]),
                row["status"],
                row["approval"],
                row["registered_at"] or "",
                row["registered_by"] or "",
            )
            for row in rows
        ]
        click.echo(aligned([headings, *cells]))
    else:
        click.echo(f"no versions in {folder}")
    _warn(opened)


@registry.command()
@_folder
@click.argument("version", default=CHAMPION)
@click.option("--verify", is_flag=True, help="Read every file of the version, and compare it with its digest.")
@json_option
def show(folder: str, version: str, verify: bool, as_json: bool) -> None:
    """Show a version: Problem, metrics, data, parent, files and history. VERSION may be an alias (default: champion).

    Exit status 2 if the version does not exist or, with --verify, if a file is damaged.
    """
    opened = open_registry(folder)
    state = opened.state()
    version = _named(state, version)
    listed, uri, record = _listed(state, version), opened.path(version), opened.record(version)
    history = [change for change in state.history if version in change.version.split(", ")]
    if verify:
        opened.verify(version)
    if as_json:
        print_json({**record, **listed, "uri": uri, "history": history, "verified": verify})
        return
    click.echo(aligned(_lines(listed, uri, record, history, verify)))
    _warn(opened)


@registry.command()
@_folder
@_version
@click.option(
    "--alias",
    type=click.Choice([CHAMPION, CHALLENGER]),
    default=CHAMPION,
    show_default=True,
    help="Alias to set. The former champion becomes `previous`.",
)
@click.option("--approve", is_flag=True, help="Promote also a version that the gate refused.")
@_why
@announce_option.announce
@json_option
def promote(
    folder: str,
    version: str,
    alias: str,
    approve: bool,
    why: str,
    destinations: tuple[str, ...],
    as_json: bool,
) -> None:
    """Make VERSION the champion, or the challenger, after every file of it was verified.

    Exit status 3 if the version is marked as bad, or was refused by the gate.
    """
    announce_option.check(destinations)
    if destinations and alias != CHAMPION:
        raise UsageError("only a champion is announced", where="--announce", expected="--alias champion")
    opened = open_registry(folder)
    version = _named(opened.state(), version)
    if alias == CHAMPION:
        opened.promote(version, why=why, approve=approve)
    else:
        opened.verify(version)
        opened.set_aliases({alias: version}, why=why)
    told = announce_option.send_to(destinations, folder)
    _report(opened, version, f"version {version} is the {alias}", as_json)
    for line in told if not as_json else ():
        click.echo(line)


@registry.command()
@_folder
@_version
@click.option(
    "--bad",
    is_flag=True,
    help="Mark the version as bad: its aliases move to the previous version, and no rerun or schedule promotes it.",
)
@_why
@json_option
def archive(folder: str, version: str, bad: bool, why: str, as_json: bool) -> None:
    """Take VERSION out of use. Its files stay; `headrace registry restore` makes it usable again."""
    opened = open_registry(folder)
    version = _named(opened.state(), version)
    if bad:
        opened.mark_bad(version, why=why)
    else:
        opened.archive(version, why=why)
    _report(opened, version, f"version {version} is {'marked as bad' if bad else 'archived'}", as_json)


@registry.command()
@_folder
@_version
@_why
@json_option
def restore(folder: str, version: str, why: str, as_json: bool) -> None:
    """Make an archived or bad VERSION usable again; it gets no alias."""
    opened = open_registry(folder)
    opened.restore(version, why=why)
    _report(opened, version, f"version {version} is registered", as_json)


def _named(state: RegistryState, version: str) -> str:
    """The version that an alias names, or the version itself.

    Raises:
        UsageError: the registry has neither.
    """
    if version == CHAMPION and CHAMPION not in state.aliases:
        raise UsageError(
            "the registry has no champion",
            where=state.where,
            expected=f"a version: {', '.join(sorted(state.versions)) or 'nothing is registered yet'}",
        )
    named = state.aliases.get(version, version)
    state.get(named)
    return named


def _newest_first(state: RegistryState) -> list[str]:
    return sorted(state.versions, key=lambda name: (-state.versions[name].epoch, name))


def _listed(state: RegistryState, version: str) -> dict[str, Any]:
    found = state.get(version)
    change = state.last(version, "register")
    return {
        "version": version,
        "aliases": sorted(alias for alias, named in state.aliases.items() if named == version),
        "status": found.status,
        "approval": found.approval,
        "registered_at": None if change is None else change.at,
        "registered_by": None if change is None else change.who,
    }


def _lines(
    listed: Mapping[str, Any], uri: str, record: Mapping[str, Any], history: list[RegistryChange], verified: bool
) -> list[tuple[str, str]]:
    files = record["files"].values()
    size = sum(file["bytes"] for file in files)
    lines = [
        ("version", listed["version"]),
        ("aliases", ", ".join(listed["aliases"]) or "none"),
        ("status", listed["status"]),
        ("approval", listed["approval"]),
        ("problem", f"{record.get('problem') or 'unknown'}, {record.get('task') or 'unknown task'}"),
        ("data", record.get("data") or "unknown"),
        ("parent", record.get("parent") or "none"),
        ("model", uri),
        ("files", f"{len(files):,} files, {size:,} bytes{', all whole' if verified else ''}"),
    ]
    metrics = record.get("metrics") or {}
    lines += [("metrics", f"{name} {'undefined' if v is None else format(v, '.4g')}") for name, v in metrics.items()]
    return lines + [
        ("history", f"{c.epoch} {c.at} {c.action} by {c.who}{f': {c.why}' if c.why else ''}") for c in history
    ]


def _report(opened: ModelRegistry, version: str, done: str, as_json: bool) -> None:
    state = opened.state()
    if as_json:
        print_json({"epoch": state.epoch, "aliases": state.aliases, "version": _listed(state, version)})
        return
    aliases = ", ".join(f"{alias} {named}" for alias, named in sorted(state.aliases.items()))
    click.echo(f"{done}; aliases: {aliases or 'none'}")


def _warn(opened: ModelRegistry) -> None:
    for difference in opened.differences():
        click.echo(f"headrace: {difference}", err=True)
