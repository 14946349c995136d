"""The KFP face of the folder registry."""

from typing import NamedTuple

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def register(registry: str, model: dsl.Input[dsl.Model], evaluation: dsl.Input[dsl.Artifact], root: str = "") -> str:
    """Keeps a blessed model under its version, and makes it the champion; the former champion becomes `previous`.

    Args:
        registry: the registry's folder.
        root: where the run's records are kept; "" keeps none.
        model: what training made.
        evaluation: what evaluation made.

    Returns:
        Where the registry keeps the model.
    """
    from headrace.components.registry.folder import step

    return step.run(registry, root, model, evaluation)


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def champion(
    registry: str, root: str = "", version: str = "", data: str = "", data_version: str = "", csv: str = ""
) -> NamedTuple(  # type: ignore[valid-type]
    "Champion", [("model", str), ("data_version", str)]
):
    """Finds the model that is in use: the champion of a registry, or a version that was asked for; and the data's.

    It is never taken from a cache, so what it says of the data is true now.

    Args:
        registry: the registry's folder.
        root: where the run's records are kept; "" keeps none.
        version: a registered version; "" for the champion.
        data, csv: as `score` takes them.
        data_version: fingerprint of the data; measured if "".

    Returns:
        Where the registry keeps the model, and the data's version.
    """
    from headrace.components.registry.folder import step

    return step.champion(registry, root, version, data, data_version, csv)
