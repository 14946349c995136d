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
    """Rolls an endpoint back to the previous version: traffic, then the registry's aliases, then published predictions.

    The replaced version is marked as bad, so that no rerun and no schedule deploys it again. A retried task completes
    an interrupted rollback; on an endpoint that is already rolled back it changes nothing.

    Args:
        endpoint: projects/PROJECT/locations/REGION/endpoints/ID, kserve://NAMESPACE/NAME, or a folder.
        root: pipeline root, where the run's records are stored; "" for no records.
        to: the version to roll back to; "" for the previous one.
        registry: the versions' registry; "" for the registry that the endpoint records.
        predictions: the folder of published predictions to roll back too; "" for no predictions.
        why: the reason, for the histories.
        rolled_back: the changes, step by step.

    Returns:
        The version that receives all traffic now.
    """
    from headrace.components.rollback import step

    return step.run(endpoint, root, to, registry, predictions, why, rolled_back)
