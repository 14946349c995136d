"""Problem file: loads and checks the user's code. No other user code is executed, and only from the given path."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, get_args

from headrace.core import storage
from headrace.core.errors import PlatformError, ProblemError
from headrace.core.problem import Numeric, Problem, places
from headrace.core.problem.code import code_digest
from headrace.core.problem.user_modules import UserModule, UserModules, check_places, folder_of

# The note on a Model that expects the columns of `prepare`.
PREPARED_NOTE = "batch scoring runs it, an endpoint does not: its requests must hold the columns that prepare returns"
# The part of a Problem file that a step reads: the whole file, or the part that determines its result.
ProblemPart = Literal["problem", "schema", "training", "tuning", "evaluation"]


@dataclass(frozen=True)
class ProblemFile:
    """A Problem file that was executed and checked.

    Attributes:
        problem: the declared problem.
        path: the path of the file.
        source: its text.
        digest: SHA-256 of its text and of its modules' texts, in hexadecimal.
        build_model: its `build_model(problem, statistics, hyperparameters)`, or None for the default model.
        callbacks: its `callbacks(problem, hyperparameters)`, which returns Keras callbacks, or None.
        modules: the user's modules that it imports.
        code: digest of its code and its modules, without the declaration of the problem.
    """

    problem: Problem
    path: str
    source: str
    digest: str
    build_model: Callable[..., Any] | None
    callbacks: Callable[..., Any] | None = None
    modules: tuple[UserModule, ...] = ()
    code: str = ""

    @property
    def training_digest(self) -> str:
        """Digest of the parts that training reads: the problem without its gate and its search, and the code."""
        return _digest_of(self.problem.training_digest, self.code)

    @property
    def tuning_digest(self) -> str:
        """Digest of the parts that a search reads: those of training, and the search space."""
        tuning = self.problem.tuning
        return _digest_of(self.training_digest, None if tuning is None else tuning.to_json())

    def digest_of(self, part: ProblemPart) -> str:
        """Digest of a part of the file, in hexadecimal."""
        return {
            "problem": lambda: self.digest,
            "schema": lambda: self.problem.schema_digest,
            "training": lambda: self.training_digest,
            "tuning": lambda: self.tuning_digest,
            "evaluation": lambda: self.problem.evaluation_digest,
        }[part]()

    @property
    def digests(self) -> dict[str, str]:
        """The digests of all parts, by the pipelines' parameters."""
        return {f"{part}_digest": self.digest_of(part) for part in get_args(ProblemPart)}

    @property
    def files(self) -> dict[str, str]:
        """The texts of the modules, by their paths relative to the Problem file's folder."""
        return {module.file: module.source for module in self.modules}

    @property
    def code_files(self) -> dict[str, str]:
        """SHA-256 of its text and of its modules' texts, by the files' names in a Model."""
        texts = {**self.files, "problem.py": self.source}
        return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in sorted(texts.items())}

    @property
    def is_together(self) -> bool:
        """Whether all modules are in the Problem file's folder or below it, so that a task that reads it finds them."""
        folder = folder_of(self.path)
        return all(module.place == storage.join(folder, module.file) for module in self.modules)

    def own_line(self, trace: TracebackType | None) -> str | None:
        """The last line of the user's code in a traceback, as `PLACE, line N (TEXT)`."""
        texts = {self.path: self.source, **{module.place: module.source for module in self.modules}}
        return own_line(trace, texts)


def load_problem(path: str, *, digest: str = "", part: ProblemPart = "problem") -> ProblemFile:
    """Reads and executes a Problem file. The user's modules are searched in its folder first.

    Args:
        path: a Python file that defines `problem`, and optionally `build_model` and `callbacks`; or the template of
            `places`, in which `digest` is filled in.
        digest: the required digest of the part, so that the submitted file is the one that runs. "" accepts any.
        part: the part that the caller reads.

    Raises:
        ProblemError: the file is missing, is not Python, fails, or does not define a `problem`; the message has the
            line in the user's file.
    """
    path = places.resolve(path, digest)
    try:
        source = storage.read_bytes(path).decode("utf-8")
    except FileNotFoundError as error:
        raise ProblemError("the Problem file does not exist", where=path, expected="a Python file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ProblemError("the Problem file cannot be read", where=path, received=str(error)) from error
    modules = UserModules(path)
    modules.scan(source)
    if part == "problem":
        # Checked before execution, so that code that was not submitted does not run.
        _check_unchanged(path, digest, _digest_of_texts(source, modules.found))
    namespace = _execute(path, source, modules)
    problem = namespace.get("problem")
    if not isinstance(problem, Problem):
        raise ProblemError(
            "the file does not define a problem",
            where=path,
            expected="problem = Problem(name=..., key=..., label=..., features=[...])",
            received="no `problem`" if problem is None else f"`problem` is of type {type(problem).__name__}",
        )
    _check_declared(path, problem)
    found = modules.found
    check_places(path, source, found)
    prepare = _function(namespace, path, "prepare", "(batch)")
    _check_prepare(path, problem, prepare)
    if prepare is not None:
        digest_of_code = code_digest(source, namespace, found, without=("build_model", "callbacks"))
        problem = dataclasses.replace(problem, prepared_by=digest_of_code)
    file = ProblemFile(
        problem,
        path,
        source,
        _digest_of_texts(source, found),
        _function(namespace, path, "build_model", "(problem, statistics, hyperparameters)"),
        _function(namespace, path, "callbacks", "(problem, hyperparameters)"),
        found,
        code_digest(source, namespace, found),
    )
    _check_unchanged(path, digest, file.digest_of(part))
    return file


def execute(path: str, source: str, modules: Sequence[UserModule]) -> dict[str, Any]:
    """Runs a Problem file and modules that were read before.

    Args:
        path: the path from which it was read, for messages.
        source: its text.
        modules: all of the user's modules that it imports.

    Returns:
        The names that it defines.

    Raises:
        ProblemError: the file fails.
    """
    return _execute(path, source, UserModules(path, modules))


def _check_declared(path: str, problem: Problem) -> None:
    """Refuses arguments that are measured or derived: a Problem stores them later, but users cannot declare them."""
    numbers = [column for column in (*problem.targets, *problem.columns) if isinstance(column, Numeric)]
    given = [
        *(
            f"{name} of {column.name!r}"
            for column in numbers
            for name in ("exponent", "double")
            if getattr(column, name)
        ),
        *(["prepared_by"] if problem.prepared_by else []),
    ]
    if given:
        raise ProblemError(
            "the argument is not for a Problem file",
            where=path,
            expected="no exponent, double or prepared_by, which headrace measures and derives",
            received=", ".join(given),
            fix="Remove it",
        )


def _check_prepare(path: str, problem: Problem, prepare: Callable[..., Any] | None) -> None:
    if bool(problem.reads) == (prepare is not None):
        return
    raise ProblemError(
        "prepare needs the columns that it reads" if prepare else "reads needs a function",
        where=path,
        expected='def prepare(batch), and Problem(..., reads=["pickup", "dropoff"]): columns that it is given',
        received="prepare without reads" if prepare else f"reads={list(problem.reads)!r}, and no prepare",
        fix="Name the columns, or give another name to a function that does not prepare rows" if prepare else None,
    )


def _execute(path: str, source: str, modules: UserModules) -> dict[str, Any]:
    def texts() -> dict[str, str]:
        return {path: source, **{module.place: module.source for module in modules.found}}

    # Equal code has an equal name at any path, because saved models hold the name in their configuration.
    name = f"headrace_problem_{_digest_of_texts(source, modules.found)[:16]}"
    try:
        return modules.execute(source, name)
    except SyntaxError as error:
        own = error.filename in texts()
        raise ProblemError(
            "the Problem file is not Python",
            where=f"{error.filename if own else path}, line {error.lineno}",
            received=f"{error.msg}: {(error.text or '').strip()}",
        ) from error
    except ProblemError as error:
        line = own_line(error.__traceback__, texts()) or path
        where = f"{line}, {error.where}" if error.where else line
        raise ProblemError(
            error.what, where=where, expected=error.expected, received=error.received, fix=error.fix
        ) from error
    except PlatformError:
        # Such as a SIGTERM at this moment, of which the file is not the cause.
        raise
    except Exception as error:
        raise ProblemError(
            "the Problem file failed",
            where=own_line(error.__traceback__, texts()) or path,
            received=f"{type(error).__name__}: {error}",
        ) from error


def _function(namespace: Mapping[str, Any], path: str, name: str, arguments: str) -> Callable[..., Any] | None:
    function: Callable[..., Any] | None = namespace.get(name)
    if function is not None and not callable(function):
        raise ProblemError(
            f"{name} is not a function",
            where=path,
            expected=f"def {name}{arguments}",
            received=f"type {type(function).__name__}",
        )
    return function


def _check_unchanged(path: str, submitted: str, found: str) -> None:
    if submitted and submitted != found:
        raise ProblemError(
            "the Problem file changed after the run was submitted",
            where=path,
            expected=f"SHA-256 {submitted[:12]} of it and of your modules that it imports",
            received=found[:12],
            fix="Submit the run again",
        )


def _digest_of(*facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _digest_of_texts(source: str, modules: tuple[UserModule, ...]) -> str:
    """The digest of the file and its modules; without modules, that of `sha256sum FILE`."""
    total = hashlib.sha256(source.encode())
    for module in modules:
        total.update(f"\0{module.file}\0".encode() + hashlib.sha256(module.source.encode()).digest())
    return total.hexdigest()


def own_line(trace: TracebackType | None, texts: Mapping[str, str]) -> str | None:
    """The last line of some code that an error passed through, as `PLACE, line N (TEXT)`; the texts are by place."""
    line = None
    while trace is not None:
        place = trace.tb_frame.f_code.co_filename
        if place in texts:
            lines = texts[place].splitlines()
            text = lines[trace.tb_lineno - 1].strip() if trace.tb_lineno <= len(lines) else ""
            line = f"{place}, line {trace.tb_lineno} ({text})"
        trace = trace.tb_next
    return line
