"""Scoring of a Kafka scorer's batches: by models in this process, or by requests to an endpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from headrace.components.stream.models.outcome import ModelOutcome
from headrace.components.stream.models.used import UsedModel
from headrace.components.stream.records.score import RecordResult


class Scoring(Protocol):
    """Scores batches of records of one or more applications; for one thread."""

    def start(self, stopped: Callable[[], bool], tick: Callable[[], None]) -> bool:
        """Learns which models there are, waiting for a broker that is down.

        Args:
            stopped: whether to give up.
            tick: called while waiting.

        Returns:
            Whether it is known.

        Raises:
            UsageError: access is denied, or a topic does not exist.
            PlatformError: no broker answers.
        """

    @property
    def settled(self) -> bool:
        """Whether the models in use are the best that can be had now."""

    def turn(self) -> Sequence[ModelOutcome]:
        """Looks for newer models without waiting; returns what became of model events since the last call."""

    @property
    def in_use(self) -> Mapping[str, UsedModel | None]:
        """The model in use of each application; safe to read from any thread."""

    def has_model(self, app: str) -> bool:
        """Whether records of an application can be scored."""

    def score(
        self, app: str, values: Sequence[bytes | None], wait: Callable[[], None]
    ) -> tuple[UsedModel | None, list[RecordResult]]:
        """Scores a batch.

        Args:
            app: the application.
            values: of the records, one or more.
            wait: called several times a second while another process is waited for; it may raise an error to give up.

        Returns:
            The model that was in use, None without one, and the result of each record, in order.

        Raises:
            UsageError: access to the endpoint is denied, or its address is wrong.
            PlatformError: the model failed for a reason that is not in the records.
        """

    def close(self) -> None:
        """Closes clients."""
