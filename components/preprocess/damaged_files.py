"""Damaged files: a file that turns out damaged is left out as a whole, and the others are read again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from headrace.components.preprocess.accounts import Summary
from headrace.components.preprocess.check import check_files
from headrace.components.preprocess.stage_context import PreprocessContext
from headrace.core import storage
from headrace.core.artifacts.budget import left_out
from headrace.core.errors import HeadraceError, UnreadableFile
from headrace.core.problem import Problem
from headrace.core.sources.source import Part, file_name


class PassResult(NamedTuple):
    """The result of one pass."""

    context: PreprocessContext
    summary: Summary
    metrics: Mapping[str, int]


def read_whole_files(
    problem: Problem,
    data: str,
    parts: Sequence[Part],
    damaged: dict[str, UnreadableFile],
    work: Callable[[list[Part]], PassResult],
    tell: Callable[[str], None],
) -> PassResult:
    """Runs the work over the parts of all undamaged files, again whenever more files turn out damaged.

    Half a file would be worse than none: nobody would know which of its rows are included.

    Args:
        problem: has the quarantine budget.
        data: the data, for errors.
        parts: of all files.
        damaged: the errors of files known to be damaged, by path; newly found ones are added.
        work: reads parts; raises UnreadableFile, or has it among its summary's errors.
        tell: receives a warning if files are left out.

    Returns:
        The result of `work` without further damaged files.

    Raises:
        DataError: more files are damaged than the budget allows, or the only file is.
        HeadraceError: another error of `work`.
    """
    while True:
        readable = [part for part in parts if part.path not in damaged]
        try:
            done = work(readable)
            errors = [HeadraceError.from_json(error) for error in done.summary.errors]
        except UnreadableFile as error:
            errors = [error]
        if not errors:
            if damaged:
                tell(left_out([(file_name(path), error.paragraph) for path, error in damaged.items()]))
            return done
        for found in errors:
            if not isinstance(found, UnreadableFile):
                raise found
        for found in errors:
            if isinstance(found, UnreadableFile):
                damaged[_path_of(found, readable)] = found
        check_files(problem, data, len({part.path for part in parts}), list(damaged.values()))


def clear(context: PreprocessContext) -> None:
    """Removes the files of an earlier pass from the work folder."""
    for pattern in ("piece-*.arrow", "quarantine-*.jsonl", "duplicates-*.arrow", "*.u64", "summary.json"):
        for uri in context.aside(pattern):
            storage.remove(uri)


def _path_of(error: UnreadableFile, parts: Sequence[Part]) -> str:
    """The file that an error is about: it names the file, or a place in it as "FILE, byte 17"."""
    where = error.where or ""
    named = [part.path for part in parts if where == part.path or where.startswith(f"{part.path}, ")]
    if not named:
        raise error
    return max(named, key=len)
