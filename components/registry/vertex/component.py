"""Vertex AI Model Registry components: their interfaces for KFP."""

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
    rules: str = "enforce",
    claim: dict = {},  # type: ignore[type-arg]  # noqa: B006
    traffic_log: str = "",
    serving: dict = {},  # type: ignore[type-arg]  # noqa: B006
    request_log: str = "",
) -> str:
    """Uploads a blessed model as a version of its entry in the Model Registry; creates the entry if needed.

    A version is uploaded once: a retried task finds the version that it created.

    Args:
        registry: the entry, as projects/PROJECT/locations/REGION/models/ID.
        root: pipeline root, where the run's records are stored; "" for no records.
        model: the Model.
        evaluation: its Evaluation.
        serving_image: container image of the model's server.
        aliases: aliases of the version; other versions lose them.
        labels: labels of the model, for billing.
        encryption_key: name of a Cloud KMS key; "" for Google's own key.
        rules: enforce lets the version's server refuse rows that break the rules of the Model's Problem; warn lets it
            predict and count those whose values are out of bounds or unknown.
        claim: output of `claim`, for a run of dynamic training; {} for other runs. A superseded run changes nothing.
        traffic_log: gs:// prefix where the version's servers write their counts of requests, by which a canary is
            decided; "" for no counts.
        serving: mode, table and cache_rows of the version's servers; {} for those of the Model's Problem.
        request_log: gs:// prefix where the version's servers log a sample of their requests, which a canary's replay
            reads; "" for no log.

    Returns:
        The version, as projects/PROJECT/locations/REGION/models/ID@VERSION.
    """
    from headrace.components.registry.vertex import register as vertex

    return vertex.run(
        registry,
        root,
        model,
        evaluation,
        serving_image,
        aliases,
        labels,
        encryption_key,
        rules,
        claim=claim,
        traffic_log=traffic_log,
        serving=serving,
        request_log=request_log,
    )


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
    """Looks up the version with the alias champion, or a given version, and the version of the data.

    The step is never cached, so the version of the data is current.

    Args:
        registry: the entry, as projects/PROJECT/locations/REGION/models/ID.
        root: pipeline root, where the run's records are stored; "" for no records.
        version: a version's number, an alias, the Model's headrace version, or a full resource name with one of them;
            "" for the alias champion.
        data, csv: as of `score`.
        data_version: fingerprint of the data; measured if "".
        cache: False makes every later task run again.

    Returns:
        The gs:// URI of the model, its resource name with the version's number, the data's version, and the input
        `attempt` of later tasks, which is part of the engine's cache key.
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
    """Resolves the inputs of a training: models by their names in the registry, and the version of the data.

    The step is never cached, so its outputs are current.

    Args:
        registry: the entry, as projects/PROJECT/locations/REGION/models/ID.
        root: pipeline root, where the run's records are stored; "" for no records.
        champion: a gs:// URI or a path below /gcs, or an alias, a version, or a full resource name with @ and one of
            them; "" for no champion.
        training: the options of the training; its `warm_start` accepts the same.
        data, csv: as of `preprocess`.
        data_version: fingerprint of the data; measured if "".
        cache: False makes every later task run again.

    Returns:
        The champion and the options, with models as paths that every task and job can read and with the warm start's
        version; the data's version; and the input `attempt` of later tasks, which is part of the engine's cache key.
    """
    from headrace.components.registry.vertex import lookup

    return lookup.resolve(registry, root, champion, training, data, data_version, csv, cache)
