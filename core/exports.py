"""Lazy exports: names of a package that are imported at first use, and take precedence over equally named submodules.

`headrace.components.train` is a package and a component, `headrace.pipelines.lint` a package and a function. Python
sets a submodule as an attribute of its package when it is imported, so what the attribute is would depend on what was
imported before. Here it is the export in every order. The submodule stays importable under its own name, and its
contents can be reached through the export too.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Mapping
from types import FunctionType, ModuleType
from typing import Any


def export(package: str, names: Mapping[str, str]) -> None:
    """Makes objects attributes of a package, each imported when it is first used.

    Args:
        package: the package's name; it calls this while it is imported.
        names: MODULE:ATTRIBUTE by the name of the export.
    """
    namespace = {name: _Export(f"{package}.{name}", target) for name, target in names.items()}
    sys.modules[package].__class__ = type("Package", (_Package,), namespace)


class _Package(ModuleType):
    __all__: list[str]

    def __dir__(self) -> list[str]:
        return self.__all__

    def __reduce__(self) -> Any:
        # Modules are pickled by their names, which picklers do for the class of plain modules alone.
        return importlib.import_module, (self.__name__,)


class _Export:
    """A data descriptor: it wins over what is in the package's `__dict__`, where Python puts the submodule."""

    def __init__(self, name: str, target: str) -> None:
        self._name = name
        self._module, _, self._attribute = target.partition(":")

    def __get__(self, package: ModuleType | None, owner: type) -> Any:
        return self if package is None else self._exported

    def __set__(self, package: ModuleType, value: Any) -> None:
        # The import system and pytest's monkeypatch set attributes; the submodule is found in sys.modules.
        if not isinstance(value, ModuleType):
            self.__dict__["_exported"] = value

    def __delete__(self, package: ModuleType) -> None:
        self.__dict__.pop("_exported", None)

    @functools.cached_property
    def _exported(self) -> Any:
        found = getattr(importlib.import_module(self._module), self._attribute)
        return _with_contents(found, self._name) if self._name in sys.modules else found


def _with_contents(exported: Any, submodule: str) -> Any:
    """An export by which the contents of the submodule of its name are reached too."""

    def contents(_: Any, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(sys.modules[submodule], name)

    if isinstance(exported, FunctionType):
        wrapper = type("Function", (_Function,), {"__getattr__": contents})(exported)
        return functools.update_wrapper(wrapper, exported)
    # A component of kfp is an object: it becomes one of a class of its own, and is the same object still.
    exported.__class__ = type(type(exported).__name__, (type(exported),), {"__getattr__": contents})
    return exported


class _Function:
    def __init__(self, function: FunctionType) -> None:
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)
