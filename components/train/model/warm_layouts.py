"""Axis labels of weights: the meaning of each position along an axis, by which weights of two models are matched."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from headrace.components.train.model import towers, wide_and_deep
from headrace.components.train.model.towers import Sparse
from headrace.core.errors import UsageError
from headrace.core.problem import Categorical, Crossed, Numeric, Problem, Training

# A position: its kind, the feature, and further values that make it unique. An axis without labels is not matched.
Label = tuple[Any, ...]
Axis = Sequence[Label] | None
# The axes of each weight, by the weight's path in the model.
Axes = Mapping[str, Sequence[Axis]]

_KINDS = {"Numeric": Numeric, "Categorical": Categorical, "Crossed": Crossed}
_NAMED = 5


@dataclasses.dataclass(frozen=True)
class ProblemStatistics:
    """A problem and the statistics of its columns."""

    problem: Problem
    statistics: Mapping[str, Mapping[str, Any]]

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], statistics: Mapping[str, Mapping[str, Any]]) -> ProblemStatistics:
        """Reads the part of a problem.json that determines the meaning of the default model's weights."""
        features = [_feature(feature) for feature in plain["features"]]
        # Older files have no cross layers and do not mention them.
        training = Training(cross_layers=plain["training"].get("cross_layers", 1))
        label = _feature(plain["label"])
        return cls(Problem(plain["name"], plain["key"], label, features, training=training), statistics)

    @property
    def classes(self) -> list[Label] | None:
        """The labels of the outputs if there is one output per class."""
        label = self.problem.label
        if self.problem.task != "multiclass" or not isinstance(label, Categorical):
            return None
        return [("class", name) for name in label.vocabulary or ()]


def axes(declared: ProblemStatistics) -> Axes:
    """The axes of the default model's weights whose positions stand for features or classes."""
    problem, statistics = declared.problem, declared.statistics
    tables = wide_and_deep.sparse_features(problem, statistics)
    rows = {table.name: _rows(declared, table) for table in tables}
    one_hot = towers.one_hot_of(tables)
    one_hot_rows: list[Label] = [label for table in one_hot for label in rows[table.name]]
    numbers: list[Label] = [("number", c.name) for c in problem.columns if isinstance(c, Numeric)]
    vectors = [label for table in tables if table.embedding for label in _places(declared, [table], table.embedding)]
    parts: list[Label] = [*numbers, *vectors]
    base: list[Label] = [*parts, *_places(declared, one_hot, towers.CROSSED_WIDTH)]
    labelled: dict[str, list[Axis]] = {
        "wide_numeric/kernel": [numbers, declared.classes],
        "wide_numeric/bias": [declared.classes],
        "wide_one_hot/embeddings": [[label for table in tables for label in rows[table.name]], declared.classes],
        "hidden_1_dense/kernel": [parts, None],
        "hidden_1_one_hot/embeddings": [one_hot_rows, None],
        "deep_out/kernel": [None, declared.classes],
        "deep_out/bias": [declared.classes],
        "cross_one_hot/embeddings": [one_hot_rows, None],
        "cross_out/kernel": [base, declared.classes],
        "cross_out/bias": [declared.classes],
    }
    for number in range(1, problem.training.cross_layers + 1):
        labelled[f"cross_{number}_dense/kernel"] = [base, base]
        labelled[f"cross_{number}_dense/bias"] = [base]
    for table in tables:
        if table.embedding is not None:
            labelled[f"embedding_{table.name}_table/embeddings"] = [rows[table.name], None]
    return labelled


def matched(before: Sequence[Label], after: Sequence[Label]) -> list[int]:
    """For each position of `after`, the position of `before` with the same meaning, or -1.

    A value that `before` lacks is matched with its unknown value.
    """
    places = {label: place for place, label in enumerate(before)}
    return [places.get(label, places.get(_unknown(label), -1)) for label in after]


def differences(old: ProblemStatistics, new: ProblemStatistics) -> Iterator[str]:
    """The features with weights that are not carried over, or not only, as sentences."""
    before = {feature.name: feature for feature in old.problem.features}
    for feature in new.problem.features:
        if feature.name not in before:
            yield f"{feature.name}: a new feature; it starts without effect"
        elif type(feature) is not type(before[feature.name]):
            yield f"{feature.name}: now declared as {type(feature).__name__}; it starts without effect"
        else:
            yield from _difference(old, new, feature.name)
    for name in before.keys() - {feature.name for feature in new.problem.features}:
        yield f"{name}: no longer a feature; its weights are dropped"
    if old.classes and new.classes:
        yield from _values("the label", old.classes, new.classes, "starts at its frequency in these rows")


def _difference(old: ProblemStatistics, new: ProblemStatistics, name: str) -> Iterator[str]:
    """The changes of a feature that both problems declare with the same kind."""
    before, after = _declaration(old, name), _declaration(new, name)
    if before != after:
        if before and after:
            yield f"{name}: the buckets differ from the Model's; they are initialized"
        elif before or after:
            yield f"{name}: {'no longer has buckets' if before else 'buckets are new, and start without effect'}"
        return
    feature = next(f for f in new.problem.features if f.name == name)
    if isinstance(feature, Categorical) and feature.hash_buckets is None:
        known, wanted = (_value_labels(declared, name) for declared in (old, new))
        yield from _values(name, known, wanted, "starts as the unknown value")


def _values(name: str, old: Sequence[Label], new: Sequence[Label], beginning: str) -> Iterator[str]:
    known, wanted = set(old), set(new)
    added = [str(label[-1]) for label in new if label not in known]
    gone = [str(label[-1]) for label in old if label not in wanted]
    if added:
        yield f"{name}: {_counted(added, 'new value')}; each {beginning}"
    if gone:
        yield f"{name}: {_counted(gone, 'known value')} no longer present; dropped"


def _counted(values: Sequence[str], what: str) -> str:
    shown = ", ".join(f'"{value}"' for value in values[:_NAMED]) + (", ..." if len(values) > _NAMED else "")
    return f"{len(values)} {what}{'' if len(values) == 1 else 's'} ({shown})"


def _rows(declared: ProblemStatistics, table: Sparse) -> list[Label]:
    feature = next(f for f in declared.problem.features if f.name == table.name)
    if isinstance(feature, Categorical) and feature.hash_buckets is None:
        return [("missing", table.name), ("unknown", table.name), *_value_labels(declared, table.name)]
    return [("row", table.name, _declaration(declared, table.name), row) for row in range(table.rows)]


def _places(declared: ProblemStatistics, tables: Sequence[Sparse], length: int) -> list[Label]:
    """The positions of the concatenated vectors of tables."""
    return [
        ("vector", table.name, length, _declaration(declared, table.name), place)
        for table in tables
        for place in range(length)
    ]


def _value_labels(declared: ProblemStatistics, name: str) -> list[Label]:
    values = wide_and_deep.vocabulary_of(_of(declared, name), declared.statistics)
    return [("value", name, value) for value in values]


def _declaration(declared: ProblemStatistics, name: str) -> Label:
    """The declaration that must be equal for bucket numbers to have the same meaning; () for vocabularies."""
    feature = next(f for f in declared.problem.features if f.name == name)
    if isinstance(feature, Numeric):
        return () if feature.boundaries is None else ("buckets", *feature.boundaries)
    if isinstance(feature, Categorical):
        return () if feature.hash_buckets is None else ("hash", feature.hash_buckets)
    parts = ((part, *_boundaries(declared, part)) for part in feature.features)
    return ("cross", feature.hash_buckets, *parts)


def _boundaries(declared: ProblemStatistics, name: str) -> Label:
    """The boundaries of a part of a cross: categories are crossed by their text, numbers by their bucket."""
    feature = _of(declared, name)
    return tuple(feature.boundaries or ()) if isinstance(feature, Numeric) else ("text",)


def _of(declared: ProblemStatistics, name: str) -> Any:
    return next(column for column in declared.problem.columns if column.name == name)


def _unknown(label: Label) -> Label:
    return ("unknown", label[1]) if label[0] == "value" else label


def _feature(plain: Mapping[str, Any]) -> Any:
    kind = _KINDS[plain["kind"]]
    known = {field.name for field in dataclasses.fields(kind)} - {"_"}
    values = {name: value for name, value in plain.items() if name in known}
    names = values.pop("features", ())
    return kind(*names, **values)


def vocabulary_axes(old: Any, new: Any, where: str) -> tuple[Axes, Axes]:
    """The axes of a user's models that depend on changed vocabularies of lookup layers.

    An Embedding on top of a StringLookup is matched by the vocabulary's values. Other weights that depend on a changed
    vocabulary have another meaning: the labels of their axes differ, so nothing is carried.

    Raises:
        UsageError: a vocabulary changed in a model whose graph of layers is unknown.
    """
    before, after = _lookups(old), _lookups(new)
    changed = {name for name in before.keys() & after.keys() if _vocabulary(before[name]) != _vocabulary(after[name])}
    labelled: list[dict[str, Sequence[Axis]]] = [{}, {}]
    for name in sorted(changed):
        for side, lookup in enumerate((before[name], after[name])):
            layers = _first_with_weights(lookup)
            if not layers:
                raise UsageError(
                    f'training cannot start from this Model: the vocabulary of "{name}" changed',
                    where=where,
                    expected="a functional model, whose graph shows which layers depend on the vocabulary",
                    received="a subclassed model, whose code connects the layers",
                    fix="Use the vocabulary of the earlier model in this layer, or train without --warm-start",
                )
            for layer in layers:
                for path, axis in _axes_of(layer, name, lookup, side):
                    labelled[side][path] = axis
    return labelled[0], labelled[1]


def _axes_of(layer: Any, name: str, lookup: Any, side: int) -> Iterator[tuple[str, Sequence[Axis]]]:
    vocabulary = _vocabulary(lookup)
    for variable in layer.weights:
        by_value = type(layer).__name__ == "Embedding" and int(variable.shape[0]) == len(vocabulary)
        labels: list[Label] = [("value", name, value) for value in vocabulary]
        if by_value and lookup.num_oov_indices == 1:
            labels[0 if lookup.mask_token is None else 1] = ("unknown", name)
        elif not by_value:
            labels = [("changed", name, side, place) for place in range(int(variable.shape[0]))]
        yield variable.path, [labels]


def _vocabulary(lookup: Any) -> list[str]:
    return [str(value) for value in lookup.get_vocabulary()]


def _lookups(layer: Any) -> dict[str, Any]:
    lookups = {layer.name: layer} if hasattr(layer, "get_vocabulary") and hasattr(layer, "num_oov_indices") else {}
    for inner in getattr(layer, "_layers", ()):
        lookups |= _lookups(inner)
    return lookups


def _first_with_weights(lookup: Any) -> list[Any]:
    """The first layers with weights on each path from a lookup to the outputs; none if the graph is unknown."""
    layers: list[Any] = []
    waiting, seen = [lookup], set()
    while waiting:
        operation = waiting.pop()
        for node in getattr(operation, "_outbound_nodes", ()):
            following = node.operation
            if id(following) in seen:
                continue
            seen.add(id(following))
            if getattr(following, "weights", None):
                layers.append(following)
            else:
                waiting.append(following)
    return layers
