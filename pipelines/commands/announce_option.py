"""Option --announce of commands that change a registry's champion, which sends the change as a model event."""

from __future__ import annotations

from collections.abc import Sequence

import click

from headrace.core.errors import UsageError

announce = click.option(
    "--announce",
    "destinations",
    multiple=True,
    metavar="DESTINATION",
    help="Announce the champion as a model event: to a folder, gs://..., pubsub://PROJECT/TOPIC, "
    "kafka://BROKER:PORT/TOPIC or https://... (repeatable).",
)


def check(destinations: Sequence[str]) -> None:
    """Refuses destinations before anything is changed.

    Raises:
        UsageError: one is not valid.
    """
    from headrace.components.announce.destinations import check_destination

    for destination in destinations:
        check_destination(destination)


def send_to(destinations: Sequence[str], registry: str) -> list[str]:
    """Announces the champion of a registry; sending it again is safe.

    Args:
        destinations: as of `check_destination`.
        registry: its name or folder.

    Returns:
        A line for each destination.

    Raises:
        UsageError: the registry is not known or has no champion, or access is denied.
        PlatformError: a destination did not accept it. The same command sends it again.
    """
    if not destinations:
        return []
    from headrace.components.announce.destinations import name_of, send
    from headrace.components.announce.events import event_of
    from headrace.components.registry.open import open_registry
    from headrace.components.registry.state import CHAMPION

    if not registry:
        raise UsageError("the endpoint knows no registry to announce", where="--announce", fix="Name it: --registry")
    opened = open_registry(registry)
    champion = opened.state().aliases.get(CHAMPION)
    app = str(opened.record(champion).get("problem") or "") if champion else ""
    event = event_of(opened, app) if champion else None
    if event is None:
        raise UsageError("the registry has no champion to announce", where=registry)
    for destination in destinations:
        send(event, destination)
    return [f"announced epoch {event.epoch}, {event.version}, to {name_of(one)}" for one in destinations]
