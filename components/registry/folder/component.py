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
    registry: str,
    root: str = "",
    version: str = "",
    data: str = "",
    data_version: str = "",
    csv: str = "",
    cache: bool = True,
) -> NamedTuple(  # type: ignore[valid-type]
    "Champion", [("model", str), ("data_version", str), ("attempt", str)]
):
    """Finds the model that is in use: the champion of a registry, or a version that was asked for; and the data's.

    It is never taken from a cache, so what it says of the data is true now.

    Args:
        registry: the registry's folder.
        root: where the run's records are kept; "" keeps none.
        version: a registered version; "" for the champion.
        data, csv: as `score` takes them.
        data_version: fingerprint of the data; measured if "".
        cache: False makes every later task run again.

    Returns:
        Where the registry keeps the model, the data's version, and the input `attempt` of later tasks, by which the
        engine's cache knows them.
    """
    from headrace.components.registry.folder import step

    return step.champion(registry, root, version, data, data_version, csv, cache)


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def resolve(
    registry: str,
    root: str = "",
    champion: str = "",
    training: dict = {},  # type: ignore[type-arg]  # noqa: B006 - an engine reads the default
    data: str = "",
    data_version: str = "",
    csv: str = "",
    cache: bool = True,
) -> NamedTuple(  # type: ignore[valid-type]
    "Resolved", [("data_version", str), ("attempt", str)]
):
    """Finds what a training's inputs mean now: the version of the data.

    It is never taken from a cache, so what it returns is true now.

    Args:
        registry: the registry's folder.
        root: where the run's records are kept; "" keeps none.
        champion: a Model; a folder has no names for models, so it is left as it is.
        training: the options of the training, whose `warm_start` is the same.
        data, csv: as `preprocess` takes them.
        data_version: fingerprint of the data; measured if "".
        cache: False makes every later task run again.

    Returns:
        The data's version, and the input `attempt` of later tasks, by which the engine's cache knows them.
    """
    from headrace.components.registry.folder import step

    return step.resolve(registry, root, champion, training, data, data_version, csv, cache)
