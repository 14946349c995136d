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
    registry: str, root: str = "", version: str = "", data: str = "", data_version: str = "", csv: str = ""
) -> NamedTuple(  # type: ignore[valid-type]
    "Champion", [("model", str), ("registered", str), ("data_version", str)]
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

    Returns:
        Where the model is, on gs://, its name in the registry with the version's number, and the data's version.
    """
    from headrace.components.registry.vertex import lookup

    return lookup.champion(registry, root, version, data, data_version, csv)


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def models(
    registry: str, root: str = "", champion: str = "", warm_start: str = "", warm_start_version: str = ""
) -> NamedTuple(  # type: ignore[valid-type]
    "Models", [("champion", str), ("warm_start", str), ("warm_start_version", str)]
):
    """Finds the models that a training is given by their names: the one to beat, and the one to start from.

    Args:
        registry: the entry, as projects/PROJECT/locations/REGION/models/ID.
        root: where the run's records are kept; "" keeps none.
        champion: a place on gs:// or a path below /gcs, or an alias, a version, or a whole name in the registry, with @
            and one of them; "" for none.
        warm_start: the same.
        warm_start_version: the version that the warm start must have; "" for the one that it has.

    Returns:
        Where both are, as paths that every task and job sees, and the version of the warm start.
    """
    from headrace.components.registry.vertex import lookup

    given = {"champion": champion, "warm_start": warm_start}
    return lookup.models(registry, root, given, warm_start_version)
