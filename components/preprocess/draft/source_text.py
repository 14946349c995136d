"""Source text of a Problem file: the inferred declaration of a table, as Python with comments."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from headrace.components.preprocess.draft import probe
from headrace.components.preprocess.draft.bounds import bounds
from headrace.components.preprocess.draft.infer import InferredColumn, quoted
from headrace.components.preprocess.draft.names import feature_names
from headrace.components.preprocess.draft.read import FirstRows
from headrace.components.preprocess.draft.split_advice import about_splits
from headrace.components.preprocess.draft.time_features import TimeFeatures
from headrace.core.problem import Splits
from headrace.core.rules.fault import listed

_WIDTH = 120
# Maximum number of values in a vocabulary; columns with more are hashed and embedded.
_VOCABULARY = 50
# The fraction of future rows that may have values outside a vocabulary.
_MAX_UNKNOWN = 0.05
# Names of the negative of two classes; the other one is the positive class.
_NEGATIVE = ("0", "false", "no", "n", "f", "negative", "none")
# With fewer rows, eval and test have larger fractions; below the second limit, training has more epochs.
_TINY, _SMALL, _FEW_ROWS = 40, 200, 5_000
# The default quarantine budget; it must also cover rows without a label.
_BUDGET = 0.05
# As evaluation warns: with fewer test rows, the confidence interval of an improvement is too wide to decide by.
_MEASURABLE = 100
# With fewer rows of a class on the test split, the area under the curve is too inaccurate.
_CLASS_ROWS = 5
_IMPORTS = ("Categorical", "Gate", "Numeric", "Splits", "Training")


class SourceText:
    """Writes the file's text."""

    def __init__(
        self,
        read: FirstRows,
        missing: Sequence[str],
        columns: Sequence[InferredColumn],
        key: InferredColumn | None,
        label: InferredColumn,
        target: probe.Label,
        suspects: Mapping[str, float],
        of_time: TimeFeatures | None = None,
    ) -> None:
        self._read, self._missing, self._columns = read, missing, columns
        self._key, self._label, self._target, self._suspects = key, label, target, suspects
        self._of_time = of_time
        usable = [column.name for column in columns if column is not key and (column.usable or column is label)]
        self.names = feature_names(usable, taken=[key.name] if key is not None else [])
        # If there are no other columns, these are the features.
        self.keeps_suspects = {c.name for c in columns if c.usable and c not in (key, label)} == set(suspects)

    def text(
        self,
        problem: str,
        data: str,
        keys: Sequence[InferredColumn],
        labels: Sequence[InferredColumn],
        *,
        asked_key: bool,
        asked_label: bool,
        splits: Splits | None = None,
    ) -> str:
        """The text of the file; with `splits`, these are the fractions in place of the usual ones."""
        rows, complete = self._read.table.num_rows, self._read.complete
        seen = f"{'all' if complete else 'the first'} {rows:,}"
        label = self.names[self._label.name]
        body = [
            f'    name="{problem}",',
            *_comment(_about_key(keys, self._key, asked_key)),
            f"    key={'None' if self._key is None else quoted(self._key.name)},",
            *_comment(_about_label(labels, self._label, asked_label)),
            *self._declaration(self._label, "label=", as_label=True),
            "    features=[",
            *(line for column in self._columns for line in self._feature(column)),
            *(f"        # {quoted(name)} is left out: {why}" for name, why in self._read.unusable.items()),
            *self._time_features(),
            "    ],",
            *self._derive(),
            *self._about_missing(),
            *self._splits(splits),
            *self._budget(),
            *self._training(),
            *self._gate(),
        ]
        used = [name for name in _IMPORTS if any(f"{name}(" in line.partition("#")[0] for line in body)]
        # Proposed in comments, which are to run when they are uncommented.
        used += ["Splits"] if "Splits" not in used and any("# splits=Splits(" in line for line in body) else []
        return "\n".join(
            [
                f'"""{problem}: predicts {label}. A first draft by `headrace init`: read it, and correct it."""',
                "",
                f"# Inferred from {seen} rows of {quoted(PurePath(data).name)}. Bounds are wider than what was seen.",
                "",
                f"from headrace import {', '.join(sorted([*used, 'Problem']))}",
                *self._imports(),
                "",
                "problem = Problem(",
                *body,
                ")",
                "",
            ]
        )

    def _feature(self, column: InferredColumn) -> list[str]:
        if column is self._key or column is self._label:
            return []
        if self._of_time is not None and column.name == self._of_time.column:
            return []
        if not column.usable:
            why = column.note or "every row has a unique value: a model would memorize it"
            return [f"        # {quoted(column.name)} is left out: {why}"]
        lines = self._declaration(column, "    ")
        share = self._suspects.get(column.name)
        if share is None:
            return lines
        measure = f"{'accuracy over the commonest class' if self._target.classes else 'r_squared'} {share:.4f}"
        why = f"It alone predicts {self.names[self._label.name]} almost perfectly ({measure})"
        if self.keeps_suspects:
            return [*_comment(f"LEAK? {why}, and no other column is left.", 8), *lines]
        asked = "is it known before the label is? If so, uncomment it."
        return [*_comment(f"LEAK? {why}: {asked}", 8), *(f"        # {line.strip()}" for line in lines)]

    def _declaration(self, column: InferredColumn, indent: str, *, as_label: bool = False) -> list[str]:
        """The lines that declare a column, indented by 4 and by `indent`, which for the label is its argument."""
        name = self.names[column.name]
        arguments = [quoted(name)] + ([f"column={quoted(column.name)}"] if column.name != name else [])
        notes = [column.note] if column.note and column.usable else []
        if column.kind == "numeric":
            low, high = bounds(column)
            arguments += [f"minimum={low}", f"maximum={high}"]
            notes.append(f"{column.low:.6g} to {column.high:.6g}")
            if column.wrong:
                kind = "value is not a number, and goes" if column.wrong == 1 else "values are not numbers, and go"
                notes.append(f"{column.wrong:,} {kind} to quarantine")
        elif as_label or column.distinct <= _VOCABULARY:
            values = _classes(column.values) if as_label else column.values
            arguments.append(_list("vocabulary", values))
            if as_label and len(values) == 2:
                notes.append(f"{quoted(values[1])} is the positive class")
            elif as_label and column.whole:
                notes.append("a few whole numbers are classes; of an amount say Numeric")
            if not as_label:
                arguments.append(f"max_unknown={_MAX_UNKNOWN}")
        else:
            buckets = min(1 << (2 * column.distinct - 1).bit_length(), 1 << 20)
            # The fourth root of the number of categories: a rule of thumb from TensorFlow's feature columns.
            arguments += [f"hash_buckets={buckets}", f"embedding={max(4, math.ceil(column.distinct**0.25))}"]
            notes.append(f"{column.distinct:,} values")
        if column.missing:
            share = f"{column.missing / column.rows:.1%} missing"
            notes.append(f"{share}, which go to quarantine" if as_label else share)
            if not as_label:
                arguments.append("optional=True")
        start = f"    {indent}{'Numeric' if column.kind == 'numeric' else 'Categorical'}("
        comment = f"  # {'; '.join(notes)}" if notes else ""
        line = f"{start}{', '.join(arguments)}),{comment}"
        if len(line) <= _WIDTH and "\n" not in line:
            return [line]
        outer = " " * (len(start) - len(start.lstrip()))
        inner = f"{outer}    "
        joined = f"{inner}{', '.join(arguments)},"
        if len(joined) <= _WIDTH and "\n" not in joined:
            return [f"{start}{comment}", joined, f"{outer}),"]
        return [f"{start}{comment}", *(f"{inner}{row}" for a in arguments for row in f"{a},".split("\n")), f"{outer}),"]

    def _about_missing(self) -> list[str]:
        if not self._missing:
            return []
        return [
            "    # How this table writes a missing value; an empty field always is one.",
            f"    {_list('missing', self._missing)},",
        ]

    def _time_features(self) -> list[str]:
        if self._of_time is None:
            return []
        time = quoted(self._of_time.column)
        about = f"No other column can be a feature: these are derived from the time {time}."
        return [*_comment(about, 8), *(f"        {feature}," for feature in self._of_time.features)]

    def _imports(self) -> list[str]:
        return (
            [] if self._of_time is None else [f"from headrace.expressions import {', '.join(self._of_time.functions)}"]
        )

    def _derive(self) -> list[str]:
        if self._of_time is None:
            return []
        lines = [f"        {quoted(name)}: {expression}," for name, expression in self._of_time.derive.items()]
        about = 'Times are in UTC if they have no offset: zone="Europe/Berlin" is local time.'
        return [*_comment(about), "    derive={", *lines, "    },"]

    @property
    def has_few_rows(self) -> bool:
        """Whether all rows are known and so few that the usual fractions of the splits are too small."""
        return self._read.table.num_rows < _SMALL and self._read.complete

    def _splits(self, fitting: Splits | None) -> list[str]:
        """The splits, and advice on others."""
        lines, arguments = [], []
        if fitting is not None:
            arguments = [f"train={fitting.train:g}", f"eval={fitting.eval:g}", f"test={fitting.test:g}"]
            lines += ["    # There are few rows: with other fractions, a split may have none."]
        elif self.has_few_rows:
            tiny = self._read.table.num_rows < _TINY
            arguments = ["train=0.5", "eval=0.25", "test=0.25"] if tiny else ["train=0.6", "eval=0.2", "test=0.2"]
            lines += ["    # There are few rows: with less of them in eval and test, metrics would say little."]
        if self._of_time is not None:
            arguments.append(f"time={quoted(self._of_time.column)}")
            lines += ["    # The newest rows are the test split, as a model is used."]
        lines += [f"    splits=Splits({', '.join(arguments)}),"] if arguments else []
        advice = about_splits(self._columns, self._key, self._read.table) if self._of_time is None else ()
        return [*lines, *advice]

    def _budget(self) -> list[str]:
        untimed = 0 if self._of_time is None else self._of_time.untimed
        lost = (self._label.missing + self._label.wrong + untimed) / self._label.rows
        if lost <= _BUDGET / 2:
            return []
        budget = min(1.0, math.ceil(round(20 * (lost + _BUDGET), 6)) / 20)
        what = "label or no time" if untimed else "label"
        return [*_comment(f"{lost:.1%} of the rows have no {what}."), f"    quarantine_budget={budget:g},"]

    def _training(self) -> list[str]:
        rows = self._read.table.num_rows
        if rows >= _FEW_ROWS or not self._read.complete:
            return []
        return [
            "    # There are few rows, and so few steps in an epoch.",
            "    training=Training(batch_size=32, epochs=200, patience=20, learning_rate=0.003),",
        ]

    def _gate(self) -> list[str]:
        """The gate of the model: it must be better than a constant prediction, with its confidence interval."""
        label, rows = self._target, self._read.table.num_rows
        test = rows * (0.1 if rows >= _SMALL or not self._read.complete else 0.2 if rows >= _TINY else 0.25)
        constant = (
            f"Predicting the commonest class for every row has an accuracy of {label.baseline:.1%}"
            if label.classes
            else f"Predicting the mean for every row has a root mean squared error of {label.baseline:.4g}"
        )
        ranked = self._label.distinct == 2 and (1 - label.baseline) * test >= _CLASS_ROWS
        constant += " and an auc of 0.5" if ranked else ""
        if test >= _MEASURABLE or not self._read.complete:
            better = "A model must be better on the test rows, with the confidence interval of the difference."
            return [*_comment(f"{constant}. {better}"), f"    gate=Gate({quoted('auc') if ranked else ''}),"]
        metric, bound = "auc" if ranked else "accuracy" if label.classes else "r_squared", 0.5 if ranked else 0.0
        if label.classes and not ranked:
            # The random variation of the baseline on the test split: its standard error.
            chance = math.sqrt(label.baseline * (1 - label.baseline) / max(test, 1))
            bound = max(0.0, math.floor(100 * (label.baseline - chance)) / 100)
        few = (
            f"Some {test:,.0f} test rows are too few to tell with confidence whether a model is better: this gate "
            "only refuses one that is worse. With more rows, remove it: by default, a model must be clearly better."
        )
        return [*_comment(f"{constant}. {few}"), f'    gate=Gate("{metric}", at_least={bound:g}),']


def _list(name: str, values: Sequence[str]) -> str:
    """An argument that is a list of strings, wrapped to several lines if necessary."""
    line = f"{name}=[{', '.join(map(quoted, values))}]"
    if len(line) <= 90:
        return line
    lines, current = [], ""
    for value in map(quoted, values):
        if current and len(current) + len(value) > 90:
            lines.append(current)
            current = ""
        current += f"{value}, "
    return "\n".join([f"{name}=[", *(f"    {line.rstrip()}" for line in [*lines, current]), "]"])


def _classes(values: Sequence[str]) -> list[str]:
    ordered = sorted(values, key=_class_order)
    if len(ordered) == 2 and ordered[1].lower() in _NEGATIVE and ordered[0].lower() not in _NEGATIVE:
        ordered.reverse()
    return ordered


def _class_order(value: str) -> tuple[bool, float, str]:
    """Sort key: numbers first, in their order."""
    try:
        return False, float(value), value
    except ValueError:
        return True, 0.0, value


def _about_key(candidates: Sequence[InferredColumn], chosen: InferredColumn | None, asked: bool) -> str:
    if chosen is None:
        return (
            "No column identifies rows: each is numbered by its content; its number and split stay when rows are added."
        )
    others = [quoted(c.name) for c in candidates if c is not chosen]
    said = "Every row has a value of its own in it."
    return (said if asked else f"Chosen: {said[0].lower()}{said[1:]}") + (
        f" So has {listed(others)}." if others else ""
    )


def _about_label(candidates: Sequence[InferredColumn], chosen: InferredColumn, asked: bool) -> str:
    if asked:
        return "What is predicted."
    others = [quoted(c.name) for c in candidates if c is not chosen]
    return "CHOSEN by its name and place: is it what you want to predict?" + (
        f" Others that could be: {listed(others)}." if others else ""
    )


def _comment(text: str, indent: int = 4) -> list[str]:
    return [f"{' ' * indent}# {line}" for line in textwrap.wrap(text, 106)]
