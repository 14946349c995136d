"""Scoring interface of the Kafka scorer: models in this process, or requests to an endpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from headrace.components.stream.models.outcome import ModelOutcome
from headrace.components.stream.models.used import UsedModel
from headrace.components.stream.records.score import RecordResult


class Scoring(Protocol):
    """Scores batches of records of one or more applications. Not thread-safe."""

    def start(self, stopped: Callable[[], bool], tick: Callable[[], None]) -> bool:
        """Reads the known model events, and waits for a broker that is down.

        Args:
            stopped: returns whether to give up.
            tick: called repeatedly while waiting.

        Returns:
            Whether all model events were read; False after giving up.

        Raises:
            UsageError: access is denied, or a topic does not exist.
            PlatformError: no broker responds.
        """

    @property
    def settled(self) -> bool:
        """Whether all known model events were processed, so that the newest usable models are in use."""

    def turn(self) -> Sequence[ModelOutcome]:
        """Checks for newer models without waiting; returns the outcomes of model events since the last call."""

    @property
    def in_use(self) -> Mapping[str, UsedModel | None]:
        """The model in use by application, None without one. Thread-safe."""

    def has_model(self, app: str) -> bool:
        """Whether records of an application can be scored."""

    def score(
        self, app: str, values: Sequence[bytes | None], wait: Callable[[], None]
    ) -> tuple[UsedModel | None, list[RecordResult]]:
        """Scores a batch.

        Args:
            app: name of the application.
            values: values of the records, one or more.
            wait: called several times per second while waiting for an endpoint; it may raise an error to give up.

        Returns:
            The model in use, None without one, and the result of each record, in order.

        Raises:
            UsageError: access to the endpoint is denied, or its URL is wrong.
            PlatformError: the model failed for a reason other than its records.
        """

    def close(self) -> None:
        """Closes clients."""
