"""Claim component, the first task of dynamic training: its interface for KFP."""

from typing import NamedTuple

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def claim(
    ledger: str,
    run_id: str,
    holder: str,
    registry: str,
    root: str = "",
    deadline_hours: float = 0.0,
    training_share: float = 0.6666666666666666,
    canary: dict = {},  # type: ignore[type-arg]  # noqa: B006 - an engine reads the default
    name: str = "",
    withdrawn: list = [],  # type: ignore[type-arg]  # noqa: B006
) -> NamedTuple(  # type: ignore[valid-type]
    "Claimed",
    [
        ("Output", bool),
        ("claim", dict),
        ("arrivals", list),
        ("champion", str),
        ("base", dict),
        ("withdrawn", list),
        ("attempt", str),
    ],
):
    """Claims the current run in the ledger: a copy of it, a clone or an overtaken run ends here, without an error.

    The task is never cached.

    Args:
        ledger: URI of the ledger.
        run_id: id of the run, as the ledger names it.
        holder: id of the platform's execution; a copy of the run has another id.
        registry: of the models: a folder, or projects/PROJECT/locations/REGION/models/ID.
        root: pipeline root, where the run's records are stored; "" for no records.
        deadline_hours: maximum duration of the run, in hours from this task, after which none of its tasks trains,
            registers or deploys; 0 for no limit.
        training_share: fraction of the deadline that training uses.
        canary: settings of the canary, or {}.
        name: of the Problem, whose spans are below root.
        withdrawn: names of spans, or versions of arrivals, that are excluded from training.

    Returns:
        Whether the run continues; the claim with its deadline, which tasks with effects check; the arrivals of spans;
        URI of the champion to compare with, or ""; its version, the epoch of the registry and whether to train from
        scratch; the withdrawn spans among those that arrived so far; and the input `attempt` of later tasks, which is
        part of the engine's cache key.
    """
    from headrace.components.claim import step

    return step.run(
        ledger,
        run_id,
        holder,
        registry,
        root,
        deadline_hours,
        training_share,
        canary,
        name,
        withdrawn,
    )
