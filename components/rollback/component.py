"""Rollback component: its interface for KFP."""

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def rollback(
    endpoint: str,
    rolled_back: dsl.Output[dsl.Artifact],
    root: str = "",
    to: str = "",
    registry: str = "",
    predictions: str = "",
    why: str = "",
) -> str:
    """Returns an endpoint to the version before: traffic, then the registry's aliases, then published predictions.

    The version that is left is marked as bad, so that no rerun and no schedule brings it back. A task that is tried
    again finishes what it began; on an endpoint that is rolled back it changes nothing.

    Args:
        endpoint: projects/PROJECT/locations/REGION/endpoints/ID, kserve://NAMESPACE/NAME, or a folder.
        root: pipeline root, where the run's records are stored; "" for no records.
        to: the version to return to; "" for the one before.
        registry: of the versions; "" for the one that the endpoint knows.
        predictions: the folder of published predictions to set back too; "" for none.
        why: for the histories.
        rolled_back: what was done, step by step.

    Returns:
        The version that has all traffic now.
    """
    from headrace.components.rollback import step

    return step.run(endpoint, root, to, registry, predictions, why, rolled_back)
