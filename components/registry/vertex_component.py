"""The KFP face of Vertex AI's Model Registry."""

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def register(
    registry: str,
    root: str,
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    serving_image: str,
    aliases: list,  # type: ignore[type-arg]
    labels: dict,  # type: ignore[type-arg]
    encryption_key: str = "",
) -> str:
    """Uploads a blessed model as a version of its entry in the Model Registry; the first one makes the entry.

    A version is uploaded once: a task that is tried again finds the one that it made.

    Args:
        registry: the entry, as projects/PROJECT/locations/REGION/models/ID.
        root: where the run's records are kept.
        model: what training made.
        evaluation: what evaluation made.
        serving_image: the image of the server that answers for the model.
        aliases: of the version; they move from the one that had them.
        labels: of the model, for the bill.
        encryption_key: a key of Cloud KMS, or "".

    Returns:
        The version, as projects/PROJECT/locations/REGION/models/ID@VERSION.
    """
    from headrace.components.registry import vertex

    return vertex.run(registry, root, model, evaluation, serving_image, aliases, labels, encryption_key)
