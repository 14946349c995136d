"""Version of a model: the one that it declares, else a digest of its files; the model is not loaded."""

from __future__ import annotations


def version_of(model: str) -> str:
    """The version of a Model, an endpoint's folder or a SavedModel.

    Raises:
        UsageError: the folder holds no model.
        DataError: the model is damaged.
    """
    # Model readers need NumPy, which tasks that only compute identities may lack.
    from headrace.core.saved_model.digest import saved_model_digest
    from headrace.core.saved_model.find import find_source

    source = find_source(model, name="model")
    return source.version if source.interface is not None else saved_model_digest(source.saved_model)
