"""Split rule: the column or the file that decides each row's split, where that is not the row's own key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.artifacts.examples import SPLITS
from headrace.core.errors import DataError
from headrace.core.expressions.functions import timestamp
from headrace.core.expressions.lower_arrow import ArrowEvaluator, evaluated
from headrace.core.expressions.nodes import ColumnReference
from headrace.core.problem import Problem, Splits
from headrace.core.rows.splits import Fingerprints, fingerprint, split_of
from headrace.core.values.columns import Mask, is_text, logical, texts
from headrace.core.values.numbers import parse_numbers
from headrace.core.values.spellings import typed_text

Codes = npt.NDArray[np.int64]

# Text that may spell the same number or boolean as another text: "7.0", "+7", "1e3", "True".
_RESPELLED = r"^[+-]?[0-9]*\.[0-9]*([eE][+-]?[0-9]+)?$|^[+-]?[0-9]+[eE][+-]?[0-9]+$|^\+[0-9]+$|^[tT][rR][uU][eE]$"
_RESPELLED += r"|^[fF][aA][lL][sS][eE]$"
_MOMENT = timestamp(ColumnReference("time", "text"))


def by_group(splits: Splits, column: pa.Array) -> tuple[Codes, Mask]:
    """The split of each row by its group, and which rows have no group; 7 and "7.0" are one group.

    Args:
        splits: the fractions.
        column: the groups, null where missing.
    """
    text, _ = texts(column)
    text = text.cast(pa.string())
    odd = pc.match_substring_regex(text, _RESPELLED).fill_null(False)
    if pc.any(odd).as_py():
        said = [typed_text(value) or value for value in text.filter(odd).to_pylist()]
        text = pc.replace_with_mask(text, odd, pa.array(said, pa.string()))
    text = pc.fill_null(text, "")
    return split_of(splits, fingerprint(text)), _mask(pc.equal(text, ""))


def moments(column: pa.Array) -> tuple[npt.NDArray[np.int64], Mask]:
    """The times in a column, in microseconds since 1970 in UTC, and which of its values are times.

    Text is read as `headrace.expressions.timestamp` reads it; text without an offset is in UTC.
    """
    if not (is_text(column.type) or pa.types.is_temporal(logical(column).type)):
        return np.zeros(len(column), np.int64), np.zeros(len(column), np.bool_)
    found = ArrowEvaluator({"time": evaluated(texts(column)[0])}, len(column))(_MOMENT)
    return np.where(found.missing, 0, found.values).astype(np.int64), ~found.missing


def numbers(column: pa.Array) -> tuple[npt.NDArray[np.float64], Mask]:
    """The numbers in a column, as float64, and which of its values are numbers."""
    if pa.types.is_temporal(logical(column).type):
        return np.zeros(len(column)), np.zeros(len(column), np.bool_)
    values, missing, wrong = parse_numbers(column)
    return values, ~missing & ~wrong


def by_time(splits: Splits, column: pa.Array) -> tuple[Codes, Mask]:
    """The split of each row by its time, and which rows have no time.

    Args:
        splits: with `eval_from` and `test_from`.
        column: times, or numbers if the boundaries are numbers.
    """
    values: npt.NDArray[np.int64] | npt.NDArray[np.float64]
    if isinstance(splits.eval_from, str):
        values, present = moments(column)
        bounds = moments(pa.array([splits.eval_from, splits.test_from], pa.string()))[0]
    else:
        values, present = numbers(column)
        bounds = np.array([splits.eval_from, splits.test_from], np.float64)
    return np.searchsorted(bounds, values, side="right"), ~present


def by_file(splits: Splits, path: str, prints: Fingerprints) -> Codes:
    """The split of each row of a file.

    Args:
        splits: with `files`.
        path: the file, all of which is in one split; see `split_of_file`.
        prints: fingerprints of the row keys.
    """
    split = split_of_file(splits, path)
    if split == "train" and "eval" not in (splits.files or {}):
        # Low fingerprints are in the train split, as in splits by key.
        return np.minimum(split_of(Splits(1 - splits.eval, splits.eval / 2, splits.eval / 2), prints), 1)
    return np.full(len(prints), SPLITS.index(split), np.int64)


def split_of_file(splits: Splits, path: str) -> str:
    """The split that a file's rows are in.

    Raises:
        DataError: the file matches no pattern, or several.
    """
    patterns = splits.files or {}
    found = [name for name, pattern in patterns.items() if _matches(path, pattern)]
    if len(found) == 1:
        return found[0]
    raise DataError(
        "the file is in no split" if not found else "the file is in several splits",
        where=path,
        expected="one pattern of Splits(files=...) that matches it: "
        + ", ".join(f'{name} "{pattern}"' for name, pattern in patterns.items()),
        received="none" if not found else " and ".join(found),
        fix="Give --data a pattern that leaves the file out, or name it in Splits(files=...)"
        if not found
        else "Make the patterns of Splits(files=...) exclude each other",
    )


def check_files(problem: Problem, data: str, paths: Sequence[str]) -> None:
    """Checks, for splits by file, that each file is in one split and that each split has a file.

    Raises:
        DataError: a file is in no split or in several, or a split has no file.
    """
    if problem.splits.files is None:
        return
    found = {split_of_file(problem.splits, path) for path in paths}
    for name, pattern in problem.splits.files.items():
        if name not in found:
            raise DataError(
                f"no file is in the {name} split",
                where=data,
                expected=f'a file whose path ends as "{pattern}", as Splits(files=...) declares',
                received=", ".join(PurePosixPath(path).name for path in paths[:5])
                + (", ..." if len(paths) > 5 else ""),
                fix="Correct the pattern, or give a --data that covers the files of all splits",
            )


def _matches(path: str, pattern: str) -> bool:
    # Neither the query nor the double slash of a URL is part of a path.
    return PurePosixPath(path.partition("://")[2] or path).match(pattern)


def _mask(values: pa.Array) -> Mask:
    mask: Mask = values.fill_null(False).to_numpy(zero_copy_only=False)
    return mask
