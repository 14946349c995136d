"""Table follower: looks for a newly published table every few seconds, and switches to it between two batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from headrace.components.serve.follow import Follower
from headrace.components.serve.tables.place import ServedTable, current_version, open_table


class TableAnswerer(Protocol):
    """An answerer with a table."""

    @property
    def table(self) -> ServedTable:
        """The table in use."""

    def use(self, table: ServedTable) -> None:
        """Uses another table from the next batch on."""


class TableFollower(Follower[str]):
    """Opens, verifies and uses each newly published table.

    Args:
        uri: the published folder.
        seconds: between two looks.
        user: of the table.
        count: as of `Follower`.
    """

    def __init__(
        self, uri: str, seconds: float, user: TableAnswerer, *, count: Callable[[str], None] = lambda _: None
    ) -> None:
        super().__init__("table", seconds, count)
        self._uri = uri
        self._user = user

    @property
    def present(self) -> str:
        """The version of the table in use."""
        return self._user.table.version

    def newest(self) -> tuple[str, str]:
        """The version that is published now; errors as of `current_version`."""
        version = current_version(self._uri)
        return version, version

    def switch(self, found: str) -> str:
        """Opens and verifies the table, and uses it; errors as of `open_table`."""
        new = open_table(self._uri, found)
        self._user.use(new)
        return f"{found} of model version {new.model_version}, with {len(new.table)} keys,"
