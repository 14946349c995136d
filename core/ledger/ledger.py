"""Ledger of one endpoint: its state and its inbox in a folder or on gs://, changed only by compare-and-set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from headrace.core import storage
from headrace.core.errors import DataError
from headrace.core.ledger.inbox import Arrival, Inbox
from headrace.core.ledger.state import LedgerRun, LedgerState, Outcome, Watch, damaged
from headrace.core.storage.compare_and_set import json_of, read_with_token, update_json


class Ledger:
    """The ledger in a folder, which need not exist.

    Args:
        uri: path of a folder, or gs://BUCKET/FOLDER.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.inbox = Inbox(storage.join(uri, "inbox"))
        self._file = storage.join(uri, "ledger.json")

    def state(self) -> LedgerState:
        """Reads the state; a ledger that does not exist is empty.

        Raises:
            DataError: the file is damaged.
            PlatformError: the disk or the service failed.
        """
        found = read_with_token(self._file)
        return LedgerState.from_json(None if found is None else _parsed(found.content, self._file), self._file)

    def change(self, change: Callable[[LedgerState], LedgerState]) -> LedgerState:
        """Applies a change and returns the new state. If another process wrote in between, applies it again.

        Args:
            change: a pure function, which may be called several times. If it raises, nothing is written.

        Raises:
            DataError: the file is damaged.
            PlatformError: the disk or the service failed. Whether the change was made is unknown; repeat it.
        """
        after = update_json(
            self._file,
            lambda content: change(LedgerState.from_json(content, self._file)).to_json(),
            parse=_parsed,
        )
        return LedgerState.from_json(after, self._file)

    def arrive(self, arrival: Arrival) -> bool:
        """Adds a data version to the inbox; returns whether it is new. Raises the errors of `Inbox.add`."""
        return self.inbox.add(arrival)

    def claim(self, run_id: str, holder: str) -> LedgerRun:
        """Claims the run under way for an execution; see `LedgerState.claimed`."""
        return self.change(lambda state: state.claimed(run_id, holder)).check(run_id, holder)

    def check(self, run_id: str, holder: str) -> LedgerRun:
        """The run under way, if this execution holds it; see `LedgerState.check`."""
        return self.state().check(run_id, holder)

    def watch(self, run_id: str, holder: str, watch: Watch) -> LedgerState:
        """Records that a run left a canary under way; see `LedgerState.watched`."""
        return self.change(lambda state: state.watched(run_id, holder, watch))

    def end(
        self,
        run_id: str,
        epoch: int,
        outcome: Outcome,
        *,
        model: str = "",
        why: str = "",
        others: Mapping[str, Outcome] | None = None,
        bad: bool = False,
    ) -> LedgerState:
        """Records that a run ended without failure; see `LedgerState.ended`. With `bad`, its model is marked as bad."""

        def ended(state: LedgerState) -> LedgerState:
            after = state.ended(run_id, epoch, outcome, model=model, why=why, others=others)
            return after.marked_bad(model) if bad else after

        return self.change(ended)


def _parsed(content: bytes, uri: str) -> Any:
    try:
        return json_of(content, uri)
    except DataError as error:
        raise damaged(uri, error.received or "") from error
