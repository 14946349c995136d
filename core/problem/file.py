"""Loads a Problem file: the only code of the user's that is executed, and only from where the user said."""

from __future__ import annotations

import hashlib
import linecache
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from headrace.core import storage
from headrace.core.errors import ProblemError
from headrace.core.problem import Problem


@dataclass(frozen=True)
class ProblemFile:
    """A Problem file that was read, executed and found right.

    Attributes:
        problem: what it declares.
        path: where it was read from.
        source: its text.
        digest: SHA-256 of its text, in hexadecimal.
        build_model: its `build_model(problem, statistics, hyperparameters)`, or None for the default model.
        callbacks: its `callbacks(problem, hyperparameters)`, which gives Keras callbacks, or None.
    """

    problem: Problem
    path: str
    source: str
    digest: str
    build_model: Callable[..., Any] | None
    callbacks: Callable[..., Any] | None = None


def load_problem(path: str, *, digest: str | None = None, schema_digest: str | None = None) -> ProblemFile:
    """Reads and executes a Problem file.

    Args:
        path: a Python file that defines `problem`, and `build_model` and `callbacks` if it likes.
        digest: SHA-256 that the text must have: what was submitted is what runs. None or "" accepts any.
        schema_digest: the `Problem.schema_digest` that it must have, for work that reads no more than the schema.
            None or "" accepts any.

    Raises:
        ProblemError: the file is missing, is not Python, fails, or does not define a `problem`; the user's own line
            is in the message.
    """
    try:
        source = storage.read_bytes(path).decode("utf-8")
    except FileNotFoundError as error:
        raise ProblemError("there is no such Problem file", where=path, expected="a Python file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ProblemError("the Problem file cannot be read", where=path, received=str(error)) from error
    found = hashlib.sha256(source.encode()).hexdigest()
    _check_unchanged(path, digest, found)
    module = types.ModuleType("headrace_problem")
    module.__file__ = path
    # inspect, tracebacks and Keras' serialization look source up here; the file may not be a local one.
    linecache.cache[path] = (len(source), None, source.splitlines(keepends=True), path)
    try:
        exec(compile(source, path, "exec"), module.__dict__)  # noqa: S102 - the one place that runs the user's file
    except SyntaxError as error:
        raise ProblemError(
            "the Problem file is not Python",
            where=f"{path}, line {error.lineno}",
            received=f"{error.msg}: {(error.text or '').strip()}",
        ) from error
    except ProblemError as error:
        line, text = _own_line(error, path, source)
        raise ProblemError(
            error.what,
            where=f"{path}, line {line} ({text})" + (f", {error.where}" if error.where else ""),
            expected=error.expected,
            received=error.received,
            fix=error.fix,
        ) from error
    except Exception as error:
        line, text = _own_line(error, path, source)
        raise ProblemError(
            "the Problem file failed",
            where=f"{path}, line {line} ({text})",
            received=f"{type(error).__name__}: {error}",
        ) from error
    problem = module.__dict__.get("problem")
    if not isinstance(problem, Problem):
        raise ProblemError(
            "the file does not define a problem",
            where=path,
            expected="problem = Problem(name=..., key=..., label=..., features=[...])",
            received="no `problem`" if problem is None else f"`problem` is of type {type(problem).__name__}",
        )
    _check_unchanged(path, schema_digest, problem.schema_digest)
    build_model = _function(module, path, "build_model", "(problem, statistics, hyperparameters)")
    callbacks = _function(module, path, "callbacks", "(problem, hyperparameters)")
    return ProblemFile(problem, path, source, found, build_model, callbacks)


def _function(module: types.ModuleType, path: str, name: str, arguments: str) -> Callable[..., Any] | None:
    function: Callable[..., Any] | None = module.__dict__.get(name)
    if function is not None and not callable(function):
        raise ProblemError(
            f"{name} is not a function",
            where=path,
            expected=f"def {name}{arguments}",
            received=f"type {type(function).__name__}",
        )
    return function


def _check_unchanged(path: str, submitted: str | None, found: str) -> None:
    if submitted and submitted != found:
        raise ProblemError(
            "the Problem file changed after the run was submitted",
            where=path,
            expected=f"SHA-256 {submitted[:12]}",
            received=found[:12],
            fix="Submit the run again",
        )


def _own_line(error: BaseException, path: str, source: str) -> tuple[int, str]:
    """The last line of the user's own file that the error passed through, and its text."""
    line = 1
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    lines = source.splitlines()
    return line, lines[line - 1].strip() if line <= len(lines) else ""
