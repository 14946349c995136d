"""Folder registry components: their interfaces for KFP."""

from typing import NamedTuple

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def register(
    registry: str,
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    root: str = "",
    claim: dict = {},  # type: ignore[type-arg]  # noqa: B006 - an engine reads the default
    promote: bool = True,
) -> str:
    """Registers a blessed model under its version, and makes it the champion; the former champion becomes `previous`.

    Args:
        registry: the registry's folder.
        root: pipeline root, where the run's records are stored; "" for no records.
        model: the Model.
        evaluation: its Evaluation.
        claim: output of `claim`, for a run of dynamic training; {} for other runs. A superseded run changes nothing.
        promote: whether it becomes the champion; otherwise a later task decides. Without a claim, it becomes the
            champion anyway if the registry has no champion.

    Returns:
        URI of the model in the registry.
    """
    from headrace.components.registry.folder import step

    return step.run(registry, root, model, evaluation, claim, promote)


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
    """Looks up the champion of a registry, or a given version, and the version of the data.

    The step is never cached, so the version of the data is current.

    Args:
        registry: the registry's folder.
        root: pipeline root, where the run's records are stored; "" for no records.
        version: a registered version; "" for the champion.
        data, csv: as of `score`.
        data_version: fingerprint of the data; measured if "".
        cache: False makes every later task run again.

    Returns:
        URI of the model in the registry, the data's version, and the input `attempt` of later tasks, which is part of
        the engine's cache key.
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
    """Resolves the inputs of a training: the version of the data.

    The step is never cached, so its outputs are current.

    Args:
        registry: the registry's folder.
        root: pipeline root, where the run's records are stored; "" for no records.
        champion: a Model; a folder has no names for models, so it is not changed.
        training: the options of the training; its `warm_start` is not changed either.
        data, csv: as of `preprocess`.
        data_version: fingerprint of the data; measured if "".
        cache: False makes every later task run again.

    Returns:
        The data's version, and the input `attempt` of later tasks, which is part of the engine's cache key.
    """
    from headrace.components.registry.folder import step

    return step.resolve(registry, root, champion, training, data, data_version, csv, cache)
