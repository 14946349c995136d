"""Serving options of an endpoint, which apply to the servers of all its versions. A rollback does not change them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.core.artifacts import published
from headrace.core.checks import check_fraction
from headrace.core.errors import UsageError
from headrace.core.rules.mode import Mode, check_mode
from headrace.core.serving_mode import FOLLOW_S


@dataclass(frozen=True)
class ServerOptions:
    """Options of the servers.

    Args:
        rules: mode of the Model's rules.
        table: folder of published prediction tables, in which the servers look up rows first; "" for no table.
        cache_rows: maximum number of computed predictions that a server with a table caches; 0 for no cache.
        log_share: fraction of the predicted rows that the servers log, in [0, 1]; 0 for no log.

    Raises:
        UsageError: the mode of the rules or the fraction is not valid, or there is a cache without a table.
    """

    rules: Mode = "enforce"
    table: str = ""
    cache_rows: int = 0
    log_share: float = 0.0

    def __post_init__(self) -> None:
        check_mode(self.rules)
        check_fraction(self.log_share, "the logged fraction", where="--request-log-share")
        if self.cache_rows and not self.table:
            raise UsageError(
                "a cache belongs to a table",
                where="--answer-cache",
                expected="--prediction-table TABLE",
                received="none",
            )

    def check_table(self) -> None:
        """Checks that the table exists; it is called before a server is started.

        Raises:
            UsageError: the folder contains no published table.
            DataError: the published folder is damaged.
        """
        if self.table:
            published.look(self.table)

    @property
    def arguments(self) -> Sequence[str]:
        """Options of the server's command line."""
        if not self.table:
            # Explicit, because the endpoint's mode overrides the one that the Model's Problem declares.
            return ("--rules", self.rules, "--mode", "dynamic")
        cache = ("--answer-cache", str(self.cache_rows)) if self.cache_rows else ()
        # The server follows the table, because a new version is served before its table is published.
        hybrid = ("--mode", "hybrid", "--prediction-table", self.table, "--follow-every", str(FOLLOW_S))
        return ("--rules", self.rules, *hybrid, *cache)

    def log_arguments(self, folder: str) -> Sequence[str]:
        """Options of the server's command line for a request log in `folder`; empty if nothing is logged."""
        return ("--request-log", folder, "--request-log-share", str(self.log_share)) if self.log_share else ()
