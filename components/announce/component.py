"""Announce component: its interface for KFP."""

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def announce(
    registry: str,
    app: str,
    destinations: list,  # type: ignore[type-arg]
    record: str,
    root: str = "",
    claim: dict = {},  # type: ignore[type-arg]  # noqa: B006 - an engine reads the default
) -> None:
    """Sends the champion of a registry, as a model event, to every destination that has not accepted it yet.

    A destination that does not respond does not fail the run: the next run or tick retries it.

    Args:
        registry: registry of the models: a folder, or projects/PROJECT/locations/REGION/models/ID.
        app: name of the application.
        destinations: folders, gs://..., pubsub://PROJECT/TOPIC, kafka://BROKER:PORT/TOPIC or https://...
        record: URI of the file that records the events that each destination accepted.
        root: pipeline root, where the run's records are stored; "" for no records.
        claim: output of `claim`, for a run of dynamic training; {} for other runs. A superseded run sends nothing.
    """
    from headrace.components.announce import step

    step.run(registry, app, destinations, record, root, claim)
