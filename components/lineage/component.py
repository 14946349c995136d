"""Lineage component of dynamic training: its interface for KFP."""

from typing import NamedTuple

from kfp import dsl


@dsl.component(base_image="python:3.11-slim", packages_to_install=[], install_kfp_package=False)
def lineage(
    problem: str,
    examples: dsl.Input[dsl.Dataset],
    registry: str,
    root: str,
    claim: dict,  # type: ignore[type-arg]
    champion: str,
    base: dict,  # type: ignore[type-arg]
    schema_digest: str = "",
    training: dict = {},  # type: ignore[type-arg]  # noqa: B006 - an engine reads the default
    withdrawn: list = [],  # type: ignore[type-arg]  # noqa: B006
    from_scratch_every: int = 0,
    challenge: dict = {},  # type: ignore[type-arg]  # noqa: B006
    training_digest: str = "",
    canary: dict = {},  # type: ignore[type-arg]  # noqa: B006
) -> NamedTuple(  # type: ignore[valid-type]
    "Lineage", [("training", dict), ("champion", str), ("comparison", dict)]
):
    """Records the spans that a version is trained on, and chooses the version whose weights its training starts from.

    It is the last version that was trained on no span that is quarantined or withdrawn now, and that does not descend
    from a version that is marked as bad. If no such version exists, training starts from scratch.

    Args:
        problem: URI of the Problem file.
        examples: output of `ingest`.
        registry: of the models: a folder, or projects/PROJECT/locations/REGION/models/ID.
        root: pipeline root, where spans and the run's records are stored.
        claim, champion, base: outputs of `claim`.
        schema_digest: `Problem.schema_digest` at submission; "" accepts any.
        training: the options of the training.
        withdrawn: names of spans, or versions of arrivals, that are excluded from training.
        from_scratch_every: interval, in versions, of trainings from scratch; 0 for never.
        challenge: rule by which a challenger is compared with the champion.
        training_digest: `Problem.training_digest` at submission: if it changed since a version, training does not start
            from that version's weights. "" accepts any.
        canary: settings of the canary, for which the run's deadline must leave time after the training; or {}.

    Returns:
        The options of the training, with its warm start; the champion to compare with, "" if the schema has changed
        since; and the input `comparison` of `evaluate`.
    """
    from headrace.components.lineage import step

    return step.run(
        problem,
        schema_digest,
        examples,
        registry,
        root,
        claim,
        champion,
        base,
        training,
        withdrawn,
        from_scratch_every,
        challenge,
        training_digest,
        canary,
    )
