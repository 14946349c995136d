"""The KFP face of Vertex AI's Model Registry."""

from typing import NamedTuple

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def register(
    registry: str,
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    serving_image: str,
    root: str = "",
    aliases: list = ["champion"],  # type: ignore[type-arg]  # noqa: B006 - kfp reads the value
    labels: dict = {},  # type: ignore[type-arg]  # noqa: B006
    encryption_key: str = "",
) -> str:
    """Uploads a blessed model as a version of its entry in the Model Registry; the first one makes the entry.

    A version is uploaded once: a task that is tried again finds the one that it made.

    Args:
        registry: the entry, as projects/PROJECT/locations/REGION/models/ID.
        root: where the run's records are kept; "" keeps none.
        model: what training made.
        evaluation: what evaluation made.
        serving_image: the image of the server that answers for the model.
        aliases: of the version; they move from the one that had them.
        labels: of the model, for the bill.
        encryption_key: a key of Cloud KMS, or "".

    Returns:
        The version, as projects/PROJECT/locations/REGION/models/ID@VERSION.
    """
    from headrace.components.registry.vertex import register as vertex

    return vertex.run(registry, root, model, evaluation, serving_image, aliases, labels, encryption_key)


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
    "Champion", [("model", str), ("registered", str), ("data_version", str), ("attempt", str)]
):
    """Finds the model that is in use: the version that is called champion now, or one that was asked for.

    It is never taken from a cache, so what it says of the data is true now.

    Args:
        registry: the entry, as projects/PROJECT/locations/REGION/models/ID.
        root: where the run's records are kept; "" keeps none.
        version: a version's number, an alias, the version that headrace gave the model, or a whole name with one of
            them; "" for the alias champion.
        data, csv: as `score` takes them.
        data_version: fingerprint of the data; measured if "".
        cache: False makes every later task run again.

    Returns:
        Where the model is, on gs://, its name in the registry with the version's number, the data's version, and the
        input `attempt` of later tasks, by which the engine's cache knows them.
    """
    from headrace.components.registry.vertex import lookup

    return lookup.champion(registry, root, version, data, data_version, csv, cache)


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
    "Resolved",
    [("champion", str), ("training", dict), ("data_version", str), ("attempt", str)],
):
    """Finds what a training's inputs mean now: models that are given by their names, and the version of the data.

    It is never taken from a cache, so what it returns is true now.

    Args:
        registry: the entry, as projects/PROJECT/locations/REGION/models/ID.
        root: where the run's records are kept; "" keeps none.
        champion: a place on gs:// or a path below /gcs, or an alias, a version, or a whole name in the registry, with @
            and one of them; "" for none.
        training: the options of the training, whose `warm_start` is the same.
        data, csv: as `preprocess` takes them.
        data_version: fingerprint of the data; measured if "".
        cache: False makes every later task run again.

    Returns:
        The champion and the options with both as paths that every task and job sees and with the warm start's version,
        the data's version, and the input `attempt` of later tasks, by which the engine's cache knows them.
    """
    from headrace.components.registry.vertex import lookup

    return lookup.resolve(registry, root, champion, training, data, data_version, csv, cache)
