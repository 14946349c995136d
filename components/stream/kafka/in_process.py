"""Scoring in this process, with models that follow the model topic."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from headrace.components.stream.kafka.model_topic import ModelTopic
from headrace.components.stream.metrics import StreamMetrics
from headrace.components.stream.models.fold import StreamModels
from headrace.components.stream.models.outcome import ModelOutcome
from headrace.components.stream.models.used import UsedModel
from headrace.components.stream.records.codec import Codec
from headrace.components.stream.records.score import RecordResult, no_model, score_records


class InProcessScoring:
    """Scores with models in memory; see `Scoring`.

    Args:
        codec: codec of records.
        models: models of the applications.
        topic: reader of the model topic, not yet started.
        metrics: metrics of the scorer.
    """

    def __init__(self, codec: Codec, models: StreamModels, topic: ModelTopic, metrics: StreamMetrics) -> None:
        self._codec = codec
        self._models = models
        self._topic = topic
        self._metrics = metrics

    def start(self, stopped: Callable[[], bool], tick: Callable[[], None]) -> bool:
        """Reads the model topic to its end."""
        self._topic.start()
        return self._topic.read_to_end(stopped, tick=tick)

    @property
    def settled(self) -> bool:
        """Whether all known model events were processed."""
        return self._models.settled

    def turn(self) -> Sequence[ModelOutcome]:
        """Reads new model events, and starts to load a newer model in a thread."""
        self._topic.poll()
        self._models.tend()
        return self._models.outcomes()

    @property
    def in_use(self) -> Mapping[str, UsedModel | None]:
        """The model in use of each application."""
        return self._models.in_use

    def has_model(self, app: str) -> bool:
        """Whether the application has a model."""
        return self._models[app].model is not None

    def score(
        self, app: str, values: Sequence[bytes | None], wait: Callable[[], None]
    ) -> tuple[UsedModel | None, list[RecordResult]]:
        """Scores a batch in one call of the model in use."""
        del wait
        loaded = self._models[app].model
        if loaded is None:
            return None, no_model(values, app)
        begin = time.perf_counter()
        with self._models.scoring():
            scored = score_records(values, loaded, self._codec, lambda counts: self._metrics.rules(app, counts))
        self._metrics.batch(len(values), time.perf_counter() - begin)
        return loaded.used, scored

    def close(self) -> None:
        """Closes the reader of the model topic."""
        self._topic.close()
