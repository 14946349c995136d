"""Input binding: binds a SavedModel's inputs to columns, by a Model's schema and by the user's options."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from headrace.core.errors import DataError, UsageError
from headrace.core.saved_model.find import ServableModel
from headrace.core.saved_model.interface import KEY, SERVING_DEFAULT, ModelBinding, ModelInput, is_key

MODEL_VERSION = "model_version"


def with_key_input(takes: ModelBinding, key: str | None, *, ours: bool = False) -> ModelBinding:
    """Uses the string input `key` for the key, where the model only returns it unchanged.

    A model that computes with it gets the column `key`, as each input gets the column of its name.

    Args:
        takes: the interface of the signature.
        key: the column that identifies a row, or None.
        ours: whether it is a Model, whose schema states that the key passes through.
    """
    passes = ours or takes.key_use == "passes" or (takes.key_use == "repeats" and key == KEY)
    if not passes or not is_key(takes.inputs, takes.outputs):
        return takes
    return replace(
        takes,
        inputs=tuple(taken for taken in takes.inputs if taken.name != KEY),
        outputs=tuple(output for output in takes.outputs if output.name != KEY),
        key_input=KEY,
    )


def and_key(takes: ModelBinding) -> tuple[ModelInput, ...]:
    """The inputs and the key's input, fed from the key's column."""
    if takes.key_input is None or takes.key is None:
        return takes.inputs
    return (*takes.inputs, ModelInput(takes.key_input, "string", None, (takes.key,)))


def declared(takes: ModelBinding, source: ServableModel) -> ModelBinding:
    """Adds the facts of a Model's schema that its SavedModel lacks: optional columns, and column names in files.

    Raises:
        DataError: they disagree.
    """
    schema = source.interface
    if schema is None or takes.signature != SERVING_DEFAULT:
        return takes
    wanted = {i.name: i.dtype if i.kind == "numeric" else "string" for i in schema.inputs}
    found = {taken.name: taken.dtype for taken in takes.inputs}
    if wanted != found or takes.key_input is None:
        raise DataError(
            "the SavedModel and schema.json of the Model disagree",
            where=source.saved_model,
            expected=", ".join(f"{name} {dtype}" for name, dtype in sorted(wanted.items())) + " and a key",
            received=", ".join(f"{name} {dtype}" for name, dtype in sorted(found.items())),
        )
    by_name = {i.name: i for i in schema.inputs}
    columns = {i.name: (i.column,) for i in schema.inputs if i.column is not None}
    inputs = tuple(
        replace(
            taken,
            columns=columns.get(taken.name, taken.columns),
            optional=by_name[taken.name].optional,
            spellings=by_name[taken.name].spellings,
            missing=by_name[taken.name].missing,
            rule=None if source.rules is None else source.rules.inputs.get(taken.name),
        )
        for taken in takes.inputs
    )
    return replace(takes, inputs=inputs, key=schema.key_name, declared=True, rules=source.rules)


def keyed(takes: ModelBinding, key: str | None) -> ModelBinding:
    """Uses the column `key`, or the declared one, for the key.

    Raises:
        UsageError: a column of the predictions would have two sources.
    """
    key = key or takes.key
    named = [*(given.name for given in takes.outputs), MODEL_VERSION]
    if key in named or len(set(named)) < len(named):
        raise UsageError(
            "two columns of the predictions have the same name",
            expected=f"a key of another name than {', '.join(named)}, and no output {MODEL_VERSION}",
            received=key or MODEL_VERSION,
            fix="Rename the key's column, or export the model with other names",
        )
    return replace(takes, key=key)


def with_optional(takes: ModelBinding, optional: Collection[str]) -> ModelBinding:
    names = [taken.name for taken in takes.inputs]
    for name in optional:
        if name not in names:
            raise UsageError(
                "the input does not exist in the model", expected=f"one of {', '.join(names)}", received=name
            )
    inputs = tuple(replace(taken, optional=taken.optional or taken.name in optional) for taken in takes.inputs)
    return replace(takes, inputs=inputs)
