"""User modules: the user's Python files that a Problem file imports.

They are in the Problem file's folder, below it, or on the import path outside of installed packages. Their names in
sys.modules are unique: helpers of the same name of two Problem files do not conflict, and imports of other code do not
change. They are copied together with the Problem file, into its folder, so that no task needs a PYTHONPATH.
"""

from __future__ import annotations

import ast
import builtins
import importlib.util
import linecache
import posixpath
import sys
import sysconfig
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from headrace.core import storage
from headrace.core.errors import ProblemError
from headrace.core.pyarrow_import import AbsentPyarrow
from headrace.core.text import counted

MAX_MODULES = 200
MAX_BYTES = 4 << 20
# Never the user's modules, although a folder next to the Problem file may have the name.
_OURS = frozenset({"headrace", "__future__", "__main__", *sys.builtin_module_names})
_INSTALLED = frozenset({"site-packages", "dist-packages"})


@dataclass(frozen=True)
class UserModule:
    """A user's module.

    Attributes:
        name: in import statements, such as `helpers` or `parts.layers`.
        file: its path relative to the Problem file's folder, such as `helpers.py` or `parts/__init__.py`.
        place: the path from which it was read.
        source: its text.
    """

    name: str
    file: str
    place: str
    source: str

    @property
    def is_package(self) -> bool:
        """Whether the module is a folder's `__init__.py`."""
        return posixpath.basename(self.file) == "__init__.py"


class UserModules:
    """The modules that one Problem file imports, and the import function of its code.

    Args:
        path: the Problem file, whose folder is the first on the import path of its code.
        known: all of its modules, if they were read before; no other module is looked up then.
    """

    def __init__(self, path: str, known: Sequence[UserModule] | None = None) -> None:
        self._path = path
        self._folder = folder_of(path)
        self._roots: dict[str, str] = {}
        self._known: dict[str, UserModule | None] = {}
        self._loaded: dict[str, ModuleType] = {}
        self._prefix, self._scanned = "", False
        self._complete = known is not None
        self._known.update({module.name: module for module in known or ()})
        # A user's function may import modules when it is called, in any thread.
        self._lock = threading.RLock()
        self._builtins = {**vars(builtins), "__import__": self._import}

    @property
    def found(self) -> tuple[UserModule, ...]:
        """The modules found so far, by name."""
        with self._lock:
            return tuple(module for _, module in sorted(self._known.items()) if module is not None)

    def scan(self, source: str) -> None:
        """Finds the modules in the import statements of a Problem file and of the modules that it imports.

        Statements within functions are included, because a function may be called after the file is loaded.

        Raises:
            ProblemError: there are too many modules, or one cannot be read.
        """
        pending: list[tuple[str, str]] = [(source, "")]
        while pending:
            text, package = pending.pop()
            for name in _imported(text, package):
                for each in _prefixes(name):
                    seen = each in self._known
                    module = self._find(each)
                    if module is None:
                        break
                    if not seen:
                        pending.append((module.source, each if module.is_package else each.rpartition(".")[0]))
        self._scanned = True

    def execute(self, source: str, name: str) -> dict[str, Any]:
        """Runs the Problem file.

        Args:
            source: its text.
            name: of its module, the prefix of the user's modules' names.

        Returns:
            The names that the file defines.

        Raises:
            BaseException: the exception of the user's code.
        """
        self._prefix = name
        module = ModuleType(name)
        module.__dict__.update(__file__=self._path, __package__="", __builtins__=self._builtins)
        self._run(module, source, self._path)
        return module.__dict__

    def _run(self, module: ModuleType, source: str, place: str) -> None:
        # inspect, tracebacks and Keras' serialization read source from here; the file may be remote.
        linecache.cache[place] = (len(source), None, source.splitlines(keepends=True), place)
        # Libraries look a class's module up by its name, as dataclasses do.
        sys.modules[module.__name__] = module
        exec(compile(source, place, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - the user's own code

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002 - the names of `__import__`
        locals: Mapping[str, Any] | None = None,  # noqa: A002 - likewise
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """The `builtins.__import__` of the user's code."""
        wanted = name
        if level:
            package = str((globals or {}).get("__package__") or "").removeprefix(self._prefix).removeprefix(".")
            base = package.split(".")[: len(package.split(".")) - level + 1]
            if not package or not base:
                raise ImportError("attempted relative import beyond the user's package", name=name)
            wanted = ".".join([*base, name] if name else base)
        with self._lock:
            module = self._load(wanted)
            if module is None:
                return _installed(name, globals, locals, fromlist or ())
            if not fromlist:
                return module if level else self._loaded[wanted.partition(".")[0]]
            if hasattr(module, "__path__"):
                every = [*fromlist, *(getattr(module, "__all__", ()) if "*" in fromlist else ())]
                for each in every:
                    if each != "*" and not hasattr(module, each) and self._find(f"{wanted}.{each}") is not None:
                        self._load(f"{wanted}.{each}")
            return module

    def _load(self, name: str) -> ModuleType | None:
        """Imports a user's module, if it is not yet imported; None for other modules."""
        if name in self._loaded:
            return self._loaded[name]
        parent, _, last = name.rpartition(".")
        owner = self._load(parent) if parent else None
        if parent and owner is None:
            return None
        if name in self._loaded:
            return self._loaded[name]
        found = self._find(name)
        if found is None:
            if parent:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            self._refuse(name)
            return None
        qualified = f"{self._prefix}.{name}"
        module = ModuleType(qualified)
        module.__spec__ = ModuleSpec(qualified, None, origin=found.place, is_package=found.is_package)
        module.__dict__.update(
            __file__=found.place,
            __package__=qualified if found.is_package else qualified.rpartition(".")[0],
            __builtins__=self._builtins,
        )
        if found.is_package:
            module.__dict__["__path__"] = [posixpath.dirname(found.place)]
        self._loaded[name] = module
        try:
            self._run(module, found.source, found.place)
        except BaseException:
            del self._loaded[name]
            sys.modules.pop(qualified, None)
            raise
        if owner is not None:
            setattr(owner, last, module)
        return module

    def _find(self, name: str) -> UserModule | None:
        with self._lock:
            if name not in self._known:
                found = self._look_up(name)
                if found is not None and self._scanned:
                    raise ImportError(
                        f"{name} is your module, and no import statement names it, so it would not be copied with the"
                        f" Problem file: write `import {name}`",
                        name=name,
                    )
                self._known[name] = found
            return self._known[name]

    def _look_up(self, name: str) -> UserModule | None:
        top = name.partition(".")[0]
        if top in _OURS or self._complete:
            return None
        path = name.replace(".", "/")
        roots = [self._roots[top]] if top in self._roots else [self._folder, *_on_import_path(top)]
        for root in roots:
            for file in (f"{path}/__init__.py", f"{path}.py"):
                place = storage.join(root, file)
                if storage.exists(place):
                    self._roots[top] = root
                    return UserModule(name, file, place, self._read(place))
        return None

    def _read(self, place: str) -> str:
        others = [module for module in self._known.values() if module is not None]
        size = sum(len(module.source) for module in others) + storage.size(place)
        if len(others) >= MAX_MODULES or size > MAX_BYTES:
            raise ProblemError(
                "the Problem file imports too many of your modules",
                where=self._path,
                expected=f"at most {MAX_MODULES} modules of {MAX_BYTES:,} bytes in total",
                received=f"{counted(len(others) + 1, 'module')} of {size:,} bytes, {place} the last",
                fix="Install the code as a package, also in the images",
            )
        try:
            return storage.read_bytes(place).decode("utf-8")
        except UnicodeDecodeError as error:
            raise ProblemError(
                "your module cannot be read", where=place, expected="UTF-8", received=str(error)
            ) from error

    def _refuse(self, name: str) -> None:
        """Explains why a file of this name next to the Problem file cannot be imported.

        Raises:
            ImportError: there is such a file, and no installed module has the name.
        """
        if name in _OURS or self._complete or storage.is_remote(self._folder):
            return
        beside = storage.local_path(self._folder) / name
        spec = _spec_of(name)
        if spec is not None and spec.origin not in (None, "namespace") and Path(spec.origin).parent != beside.parent:
            return
        if beside.is_dir():
            raise ModuleNotFoundError(f"the folder {beside} is not a package: it has no __init__.py", name=name)
        for suffix in EXTENSION_SUFFIXES:
            if beside.with_name(name + suffix).is_file():
                raise ImportError(f"{name}{suffix} is compiled: install it as a package, also in the images", name=name)


def folder_of(path: str) -> str:
    """The folder of a file."""
    return posixpath.dirname(path) or "."


def check_places(path: str, source: str, modules: Sequence[UserModule]) -> None:
    """Refuses modules whose names a Model uses for other files: it stores them next to the Problem file.

    Raises:
        ProblemError: a module has such a name.
    """
    for module in modules:
        if module.file == "saved_model/__init__.py" or (module.file == "problem.py" and module.source != source):
            raise ProblemError(
                "your module has a name that a Model uses",
                where=path,
                expected="another name than problem and saved_model",
                received=module.place,
                fix="Rename it",
            )


def _imported(source: str, package: str) -> Iterator[str]:
    """The names in import statements: of modules, and of attributes that may be modules of a package."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        # Executing it reports the syntax error with its line.
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                above = parts[: len(parts) - node.level + 1]
                if not package or not above:
                    continue
                base = ".".join([*above, base] if base else above)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")


def _prefixes(name: str) -> Iterator[str]:
    """`a`, `a.b` and `a.b.c` of `a.b.c`."""
    parts = name.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _spec_of(top: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return None


def _on_import_path(top: str) -> list[str]:
    """The folder of a module on the import path, if it is neither of Python's library nor installed."""
    if top in sys.stdlib_module_names:
        return []
    spec = _spec_of(top)
    if spec is None or not spec.has_location or spec.origin is None or not spec.origin.endswith(".py"):
        return []
    folder = Path(spec.origin).parent
    root = folder.parent if spec.submodule_search_locations is not None else folder
    own = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")]
    installed = (
        not _INSTALLED.isdisjoint(root.parts)
        or any(root.is_relative_to(each) for each in own)
        or next(root.glob("*.dist-info"), None) is not None
    )
    return [] if installed else [str(root)]


def _installed(name: str, globals: Any, locals: Any, fromlist: Sequence[str]) -> ModuleType:  # noqa: A002 - see `_import`
    try:
        return builtins.__import__(name, globals, locals, fromlist, 0)
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        return AbsentPyarrow("pyarrow")
