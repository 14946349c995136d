"""Serving options of an endpoint: what every server of its versions is started with, and a rollback keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.core.artifacts import published
from headrace.core.errors import UsageError
from headrace.core.rules.mode import Mode, check_mode

# A table of the live version is looked for this often.
FOLLOW_S = 30


@dataclass(frozen=True)
class Serving:
    """Options of the servers.

    Args:
        rules: mode of the Model's rules.
        table: folder of published prediction tables, which the servers answer from first; "" for none.
        cache_rows: maximum number of fresh answers that a server with a table caches.

    Raises:
        UsageError: the mode of rules does not exist, or there is a cache without a table.
    """

    rules: Mode = "enforce"
    table: str = ""
    cache_rows: int = 0

    def __post_init__(self) -> None:
        check_mode(self.rules)
        if self.cache_rows and not self.table:
            raise UsageError("a cache belongs to a table", where="--cache", expected="--table TABLE", received="none")

    def check_table(self) -> None:
        """Checks that there is a table, before a server is started.

        Raises:
            UsageError: nothing is published there.
            DataError: the published folder is damaged.
        """
        if self.table:
            published.look(self.table)

    @property
    def arguments(self) -> Sequence[str]:
        """Options of the server's command line."""
        if not self.table:
            return ("--rules", self.rules)
        cache = ("--cache", str(self.cache_rows)) if self.cache_rows else ()
        # A new version is served before its table is there, which follows.
        hybrid = ("--mode", "hybrid", "--table", self.table, "--follow", str(FOLLOW_S))
        return ("--rules", self.rules, *hybrid, *cache)
