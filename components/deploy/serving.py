"""Serving options of an endpoint: what every server of its versions is started with, and a rollback keeps."""

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
        table: folder of published prediction tables, which the servers answer from first; "" for none.
        cache_rows: maximum number of fresh answers that a server with a table caches.
        log_share: fraction of the predicted rows that the servers log, in [0, 1]; 0 for none.

    Raises:
        UsageError: the mode of rules does not exist, there is a cache without a table, or a fraction is none.
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
            # The endpoint decides, also where the Model's Problem declares a mode.
            return ("--rules", self.rules, "--mode", "dynamic")
        cache = ("--answer-cache", str(self.cache_rows)) if self.cache_rows else ()
        # A new version is served before its table is there, which follows.
        hybrid = ("--mode", "hybrid", "--prediction-table", self.table, "--follow-every", str(FOLLOW_S))
        return ("--rules", self.rules, *hybrid, *cache)

    def log_arguments(self, folder: str) -> Sequence[str]:
        """Options of the server's command line for a request log in `folder`; none where nothing is logged."""
        return ("--request-log", folder, "--request-log-share", str(self.log_share)) if self.log_share else ()
