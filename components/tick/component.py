"""Tick component: its interface for KFP."""

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def tick(ledger: str, request: bool = False) -> None:
    """Starts the run of a dynamic training that is due, or checks the state of the current run.

    The task is never cached. However often it runs, each data version has at most one run at a time.

    Args:
        ledger: URI of the dynamic training: ROOT/dynamic/NAME.
        request: whether to request a training too, with the data that is available.
    """
    from headrace.components.tick import step

    step.run(ledger, request)
