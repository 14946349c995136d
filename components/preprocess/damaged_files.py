"""Reads what is not damaged: a file that breaks on the way is left out whole, and the others are read again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from headrace.components.preprocess.accounts import Summary
from headrace.components.preprocess.check import check_files
from headrace.components.preprocess.stage_context import StageContext
from headrace.core import storage
from headrace.core.errors import HeadraceError, UnreadableFile
from headrace.core.problem import Problem
from headrace.core.sources.source import Part


class Done(NamedTuple):
    """What came of one reading."""

    context: StageContext
    summary: Summary
    metrics: Mapping[str, int]


def read_whole_files(
    problem: Problem,
    data: str,
    parts: Sequence[Part],
    damaged: dict[str, UnreadableFile],
    work: Callable[[list[Part]], Done],
) -> Done:
    """Does the work over the parts of all files but the damaged ones, and again where more turn out to be.

    Half a file would be worse than none: nothing would tell which of its rows are there.

    Args:
        problem: whose quarantine budget it is.
        data: where the files are, for errors.
        parts: of all files.
        damaged: what is wrong with those that are known to be damaged, by path; what turns up is added.
        work: reads parts; it raises UnreadableFile, or has it among its summary's errors.

    Returns:
        What `work` returned when it met no damaged file.

    Raises:
        DataError: more files are damaged than the budget allows, or the only one.
        HeadraceError: what else went wrong.
    """
    while True:
        readable = [part for part in parts if part.path not in damaged]
        try:
            done = work(readable)
            errors = [HeadraceError.from_json(error) for error in done.summary.errors]
        except UnreadableFile as error:
            errors = [error]
        if not errors:
            return done
        for found in errors:
            if not isinstance(found, UnreadableFile):
                raise found
        for found in errors:
            if isinstance(found, UnreadableFile):
                damaged[_path_of(found, readable)] = found
        check_files(problem, data, len({part.path for part in parts}), list(damaged.values()))


def clear(context: StageContext) -> None:
    """Removes what an earlier reading left in the work folder."""
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
