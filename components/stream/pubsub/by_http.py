"""Model behind an endpoint. Its deployments change the model, so there is no model pointer to follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.components.score.options import EndpointOptions
from headrace.components.stream.records.by_http import HttpScorer
from headrace.components.stream.records.score import RecordResult


@dataclass(frozen=True)
class ByHttp:
    """An endpoint as a model source.

    Args:
        options: URL, rows per request, concurrent requests, retries, rate limit and token.
    """

    options: EndpointOptions

    def make(self) -> HttpBatchScorer:
        """Creates the scorer of a process.

        Raises:
            UsageError: the token is missing.
        """
        return HttpBatchScorer(self.options)


class HttpBatchScorer:
    """Scores by requests; see `sources.BatchScorer`."""

    def __init__(self, options: EndpointOptions) -> None:
        self._scorer = HttpScorer(options)

    def look(self) -> None:
        """Does nothing, because the endpoint has the model."""

    def score(self, values: Sequence[bytes]) -> tuple[str, list[RecordResult]]:
        """The version that the endpoint reports, and the results. Raises the errors of `HttpScorer.score`."""
        return self._scorer.score(values)

    def alarms(self) -> list[bytes]:
        """Empty, because the endpoint raises its own alarms."""
        return []
