"""PyArrow in images without it: what a Problem file imports for its prepare function, which does not run there."""

from __future__ import annotations

from types import ModuleType
from typing import Any, NoReturn, Self


class AbsentPyarrow(ModuleType):
    """A module in the place of pyarrow: its names can be imported and annotate, and not be called."""

    def __getattr__(self, name: str) -> Self:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(self)(f"{self.__name__}.{name}")

    def __or__(self, other: Any) -> Self:
        return self

    __ror__ = __or__

    def __call__(self, *arguments: Any, **named: Any) -> NoReturn:
        """Refuses to be used.

        Raises:
            ModuleNotFoundError: always.
        """
        raise ModuleNotFoundError(
            f"pyarrow is not installed here, where {self.__name__} is called: only prepare can use it",
            name="pyarrow",
        )
